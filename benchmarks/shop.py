"""What every peer does: the same products, the same routes, the same JSON."""

from typing import Any

PRODUCTS: list[dict[str, Any]] = [
    {"product_id": 1, "name": "Wireless Keyboard", "price": 79.99},
    {"product_id": 2, "name": "USB-C Cable", "price": 10.0},
    {"product_id": 3, "name": "Desk Lamp", "price": 24.5},
]
"""A session's cart holds one of each."""

Items = list[dict[str, Any]]
"""A cart as every peer keeps it: products with their quantities."""


def with_product(items: Items, new: dict[str, Any]) -> Items:
    """The cart with a product more; of one that is there already, the quantity grows."""
    line = _line(items, new["product_id"])
    if line is None:
        return [*items, new]
    line["quantity"] += new["quantity"]
    return items


def with_quantity(items: Items, product_id: int, quantity: int) -> Items | None:
    """The cart with so many of a product; None when that is not in it."""
    line = _line(items, product_id)
    if line is None:
        return None
    line["quantity"] = quantity
    return items


def _line(items: Items, product_id: int) -> dict[str, Any] | None:
    return next((item for item in items if item["product_id"] == product_id), None)


def cart_json(items: Items) -> dict[str, Any]:
    """The cart as every peer answers it."""
    lines = [item | {"subtotal": round(item["price"] * item["quantity"], 2)} for item in items]
    return {
        "items": lines,
        "item_count": sum(line["quantity"] for line in lines),
        "unique_items": len(lines),
        "total": round(sum(line["subtotal"] for line in lines), 2),
    }


def full_cart() -> dict[str, Any]:
    """The answer for a session as the benchmark makes it, for those peers that have no sessions."""
    return cart_json([product | {"quantity": 1} for product in PRODUCTS])


def visits_json(count: int) -> dict[str, Any]:
    times = "1 time" if count == 1 else f"{count} times"
    return {"visit_count": count, "message": f"You have visited this page {times}"}
