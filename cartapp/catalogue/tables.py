"""The products' table, as the migrations make it."""

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Unicode

METADATA: Final = MetaData()

PRODUCTS: Final = Table(
    "cart_product",
    METADATA,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("place", Integer, nullable=False),  # in the order of display
    Column("name", Unicode(200), nullable=False),
    Column("price", Integer, nullable=False),  # cents
    Column("description", Unicode(1000), nullable=False),
    Index("cart_product_place", "place"),
)
