"""`/inspect`: the session of this browser, for developers."""
