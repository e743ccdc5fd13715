"""Registration, log-in, log-out, and a user's own account."""
