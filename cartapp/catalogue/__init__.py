"""The products that the shop sells."""

from .catalogue import Catalogue, NoSuchProduct, seed
from .product import Product
from .products import BUILT_IN

__all__ = ["BUILT_IN", "Catalogue", "NoSuchProduct", "Product", "seed"]
