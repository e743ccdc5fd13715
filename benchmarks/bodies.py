"""Request bodies of the FastAPI peers."""

from pydantic import BaseModel


class Item(BaseModel):
    product_id: int
    name: str
    price: float
    quantity: int = 1


class Quantity(BaseModel):
    quantity: int
