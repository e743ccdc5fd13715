"""A product of the catalogue."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Product:
    """Product with its price in cents."""

    id: int
    name: str
    price: int
    description: str
    category: str = ""
    """Empty for none."""
