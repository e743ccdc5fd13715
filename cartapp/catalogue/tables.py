"""Table of the products, as the migrations create it."""

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Unicode

METADATA: Final = MetaData()

PRODUCTS: Final = Table(
    "cart_product",
    METADATA,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("place", Integer, nullable=False),  # display order
    Column("name", Unicode(200), nullable=False),
    Column("price", Integer, nullable=False),  # cents
    Column("description", Unicode(1000), nullable=False),
    Column("category", Unicode(100), nullable=False, server_default=""),
    Index("cart_product_place", "place"),
)
