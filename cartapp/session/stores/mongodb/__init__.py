"""Sessions in MongoDB."""
