"""Sessions in memcached."""
