"""The products of `DATABASE_URL`: looking them up, and replacing them all."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, func, insert, select

from cartapp.cart import Offer
from cartapp.schema import Seed, ShopDatabase

from .product import Product
from .tables import PRODUCTS

_BATCH = 1000  # rows that one statement adds
_COLUMNS = (PRODUCTS.c.id, PRODUCTS.c.name, PRODUCTS.c.price, PRODUCTS.c.description)


class NoSuchProduct(LookupError):
    """The catalogue does not have this product."""

    def __init__(self) -> None:
        super().__init__("Product not in the catalogue")


class Catalogue:
    """The products in their order of display. Every method may raise `StoreUnavailable`."""

    def __init__(self, database: ShopDatabase) -> None:
        self._database = database

    async def product(self, product_id: int) -> Product:
        """One product. Raises `NoSuchProduct`."""
        rows = await self._database.fetch(select(*_COLUMNS).where(PRODUCTS.c.id == product_id))
        if not rows:
            raise NoSuchProduct
        return Product(**rows[0]._mapping)

    async def offers(self, product_ids: Iterable[int]) -> dict[int, Offer | None]:
        """The present name and price of each of these products; None for one that there is not."""
        columns = (PRODUCTS.c.id, PRODUCTS.c.name, PRODUCTS.c.price)
        offers: dict[int, Offer | None] = dict.fromkeys(product_ids)
        if offers:
            rows = await self._database.fetch(select(*columns).where(PRODUCTS.c.id.in_(offers)))
            offers.update({row.id: Offer(row.name, row.price) for row in rows})
        return offers

    async def count(self) -> int:
        """How many products there are."""
        ((number,),) = await self._database.fetch(select(func.count()).select_from(PRODUCTS))
        return int(number)

    async def page(self, number: int, size: int) -> list[Product]:
        """The products of one page; pages count from 1."""
        ordered = select(*_COLUMNS).order_by(PRODUCTS.c.place, PRODUCTS.c.id)
        return [
            Product(**row._mapping)
            for row in await self._database.fetch(ordered.limit(size).offset((number - 1) * size))
        ]

    async def replace(self, products: Sequence[Product]) -> int:
        """Let these be all products there are, at once; returns how many there were that are gone.

        However many they are: visitors see the former ones until then.
        """

        def replace(connection: Connection) -> int:
            before = set(connection.execute(select(PRODUCTS.c.id)).scalars())
            connection.execute(delete(PRODUCTS))
            _add(connection, products)
            return len(before - {product.id for product in products})

        return await self._database.run(replace, patient=True)


def seed(products: Sequence[Product]) -> Seed:
    """The first step of a new shop: a table without products gets these."""
    any_product = select(PRODUCTS.c.id).limit(1)

    def add_to_empty(connection: Connection) -> None:
        if connection.execute(any_product).first() is None:
            _add(connection, products)

    return Seed(any_product, add_to_empty)


def _add(connection: Connection, products: Sequence[Product]) -> None:
    rows = [
        {"id": one.id, "place": place, "name": one.name, "price": one.price, "description": one.description}
        for place, one in enumerate(products)
    ]
    for start in range(0, len(rows), _BATCH):
        connection.execute(insert(PRODUCTS), rows[start : start + _BATCH])
