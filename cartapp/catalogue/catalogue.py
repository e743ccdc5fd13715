"""Queries for the products in `DATABASE_URL`, and their replacement."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, delete, func, insert, or_, select

from cartapp.cart import Offer
from cartapp.database.shop import Seed, ShopDatabase
from cartapp.messages import MessageError, _

from .product import Product
from .tables import PRODUCTS

_BATCH = 1000  # rows per INSERT
_COLUMNS = (PRODUCTS.c.id, PRODUCTS.c.name, PRODUCTS.c.price, PRODUCTS.c.description, PRODUCTS.c.category)

Order = Literal["", "price", "-price"]
_ORDERS: dict[Order, list[ColumnElement[Any]]] = {
    "": [],
    "price": [PRODUCTS.c.price.asc()],
    "-price": [PRODUCTS.c.price.desc()],
}
"""Orders of the products, by their name in a query; the default is the order of the catalogue's file."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Products with a text in their name or description, of one category, in an order."""

    text: str = ""
    texts: frozenset[str] = frozenset()
    """Names and descriptions that also match: texts with the searched one in their translation."""
    category: str = ""
    order: Order = ""

    def where(self, query: Select[Any]) -> Select[Any]:
        """Return the query with the conditions."""
        if self.text:
            query = query.where(or_(*self._matches()))
        return query.where(PRODUCTS.c.category == self.category) if self.category else query

    def _matches(self) -> Iterable[ColumnElement[bool]]:
        escaped = self.text.lower().replace("/", "//").replace("%", "/%").replace("_", "/_")
        for column in (PRODUCTS.c.name, PRODUCTS.c.description):
            yield func.lower(column).like(f"%{escaped}%", escape="/")
            if self.texts:
                yield column.in_(sorted(self.texts))


ALL = Selection()


class NoSuchProduct(MessageError):
    """The catalogue has no such product."""

    def __init__(self) -> None:
        super().__init__(_("Product not in the catalogue"))


class Catalogue:
    """Products in display order. Every method may raise `StoreUnavailable`."""

    def __init__(self, database: ShopDatabase) -> None:
        self._database = database

    async def get(self, product_id: int) -> Product:
        """Return a product. Raises `NoSuchProduct`."""
        found = await self._fetch(select(*_COLUMNS).where(PRODUCTS.c.id == product_id))
        if not found:
            raise NoSuchProduct
        return found[0]

    async def get_offers(self, product_ids: Iterable[int]) -> dict[int, Offer | None]:
        """Return the current name and price of each product; None for one that does not exist."""
        columns = (PRODUCTS.c.id, PRODUCTS.c.name, PRODUCTS.c.price)
        offers: dict[int, Offer | None] = dict.fromkeys(product_ids)
        if offers:
            rows = await self._database.fetch(select(*columns).where(PRODUCTS.c.id.in_(offers)))
            offers.update({row.id: Offer(row.name, row.price) for row in rows})
        return offers

    async def count(self, selection: Selection = ALL) -> int:
        """Return the number of products."""
        query = selection.where(select(func.count()).select_from(PRODUCTS))
        ((number,),) = await self._database.fetch(query)
        return int(number)

    async def list_categories(self) -> list[str]:
        """Return the categories, in the order of their first products."""
        query = select(PRODUCTS.c.category).where(PRODUCTS.c.category != "").group_by(PRODUCTS.c.category)
        rows = await self._database.fetch(query.order_by(func.min(PRODUCTS.c.place)))
        return [row.category for row in rows]

    async def get_page(self, number: int, size: int, selection: Selection = ALL) -> list[Product]:
        """Return the products of a page, counted from 1."""
        order = (*_ORDERS[selection.order], PRODUCTS.c.place, PRODUCTS.c.id)
        ordered = selection.where(select(*_COLUMNS)).order_by(*order)
        return await self._fetch(ordered.limit(size).offset((number - 1) * size))

    async def _fetch(self, query: Select[Any]) -> list[Product]:
        return [Product(**row._mapping) for row in await self._database.fetch(query)]

    async def count_others(self, ids: Collection[int]) -> int:
        """Return the number of products without one of these IDs."""
        found = await self._database.fetch(select(PRODUCTS.c.id))
        return sum(row.id not in ids for row in found)

    async def replace(
        self, products: Sequence[Product], progress: Callable[[int], None] = lambda _: None
    ) -> int:
        """Replace all products in one transaction. Return the number of former products that were removed.

        `progress` is called with the number of products written so far, in the database's thread.
        """

        def replace(connection: Connection) -> int:
            before = set(connection.execute(select(PRODUCTS.c.id)).scalars())
            connection.execute(delete(PRODUCTS))
            _add(connection, products, progress)
            return len(before - {product.id for product in products})

        return await self._database.run(replace, unbounded=True)


def seed(products: Sequence[Product]) -> Seed:
    """Create the seed that adds products to an empty table."""
    any_product = select(PRODUCTS.c.id).limit(1)

    def add_to_empty(connection: Connection) -> None:
        if connection.execute(any_product).first() is None:
            _add(connection, products)

    return Seed(any_product, add_to_empty)


def _add(
    connection: Connection, products: Sequence[Product], progress: Callable[[int], None] = lambda _: None
) -> None:
    rows = [
        {
            "id": one.id,
            "place": place,
            "name": one.name,
            "price": one.price,
            "description": one.description,
            "category": one.category,
        }
        for place, one in enumerate(products)
    ]
    for start in range(0, len(rows), _BATCH):
        connection.execute(insert(PRODUCTS), rows[start : start + _BATCH])
        progress(min(start + _BATCH, len(rows)))
