"""What requests bring, for the peers on FastAPI."""

from pydantic import BaseModel


class Item(BaseModel):
    product_id: int
    name: str
    price: float
    quantity: int = 1


class Quantity(BaseModel):
    quantity: int
