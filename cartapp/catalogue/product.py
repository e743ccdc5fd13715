"""What the catalogue says of a product."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Product:
    """One product; the price is in cents."""

    id: int
    name: str
    price: int
    description: str
