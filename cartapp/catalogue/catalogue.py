"""Looking products up."""

from collections.abc import Iterable

from .product import Product


class NoSuchProduct(LookupError):
    """The catalogue does not have this product."""

    def __init__(self) -> None:
        super().__init__("Product not in the catalogue")


class Catalogue:
    """The products in their order of display. Its questions are asynchronous, as a database's are."""

    def __init__(self, products: Iterable[Product]) -> None:
        self._products = {product.id: product for product in products}

    async def product(self, product_id: int) -> Product:
        """One product. Raises `NoSuchProduct`."""
        try:
            return self._products[product_id]
        except KeyError:
            raise NoSuchProduct from None

    async def count(self) -> int:
        """How many products there are."""
        return len(self._products)

    async def page(self, number: int, size: int) -> list[Product]:
        """The products of one page; pages count from 1."""
        first = (number - 1) * size
        return list(self._products.values())[first : first + size]
