"""Sessions in Redis and Valkey."""
