"""Effects of server faults on the shop, for each backend."""
