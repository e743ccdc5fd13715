"""How `cart serve` runs uvicorn: the protocol, and the limits of connections and requests."""
