"""What a fault of its server does to the shop, for each backend: the faults, the places, the figures."""
