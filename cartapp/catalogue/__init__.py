"""The products that the shop sells."""

from .catalogue import Catalogue, NoSuchProduct, seed
from .product import Product
from .products import BUILT_IN, TEXTS

__all__ = ["BUILT_IN", "TEXTS", "Catalogue", "NoSuchProduct", "Product", "seed"]
