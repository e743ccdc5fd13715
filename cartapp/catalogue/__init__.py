"""The products of the shop."""

from .catalogue import Catalogue, NoSuchProduct, Order, Selection, seed
from .product import Product
from .products import BUILT_IN, TEXTS

__all__ = ["BUILT_IN", "TEXTS", "Catalogue", "NoSuchProduct", "Order", "Product", "Selection", "seed"]
