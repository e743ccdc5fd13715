"""Products, cart logic and JSON shared by all peers."""

from typing import Any

PRODUCTS: list[dict[str, Any]] = [
    {"product_id": 1, "name": "Wireless Keyboard", "price": 79.99},
    {"product_id": 2, "name": "USB-C Cable", "price": 10.0},
    {"product_id": 3, "name": "Desk Lamp", "price": 24.5},
]
"""The cart of each session holds one of each."""

Items = list[dict[str, Any]]
"""A cart: products with quantities."""


def with_product(items: Items, new: dict[str, Any]) -> Items:
    """Return the cart with a product added; an existing line grows by the quantity."""
    line = _line(items, new["product_id"])
    if line is None:
        return [*items, new]
    line["quantity"] += new["quantity"]
    return items


def with_quantity(items: Items, product_id: int, quantity: int) -> Items | None:
    """Return the cart with the quantity of a product set; None if it is not in the cart."""
    line = _line(items, product_id)
    if line is None:
        return None
    line["quantity"] = quantity
    return items


def _line(items: Items, product_id: int) -> dict[str, Any] | None:
    return next((item for item in items if item["product_id"] == product_id), None)


def cart_json(items: Items) -> dict[str, Any]:
    """Return the cart as JSON."""
    lines = [item | {"subtotal": round(item["price"] * item["quantity"], 2)} for item in items]
    return {
        "items": lines,
        "item_count": sum(line["quantity"] for line in lines),
        "unique_items": len(lines),
        "total": round(sum(line["subtotal"] for line in lines), 2),
    }


def full_cart() -> dict[str, Any]:
    """Return the JSON of a cart with one of each product, for peers without sessions."""
    return cart_json([product | {"quantity": 1} for product in PRODUCTS])


def visits_json(count: int) -> dict[str, Any]:
    times = "1 time" if count == 1 else f"{count} times"
    return {"visit_count": count, "message": f"You have visited this page {times}"}
