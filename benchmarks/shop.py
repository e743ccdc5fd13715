"""What every peer does: the same products, the same routes, the same JSON."""

from typing import Any

PRODUCTS: list[dict[str, Any]] = [
    {"product_id": 1, "name": "Wireless Keyboard", "price": 79.99},
    {"product_id": 2, "name": "USB-C Cable", "price": 10.0},
    {"product_id": 3, "name": "Desk Lamp", "price": 24.5},
]
"""A session's cart holds one of each."""


def cart_json(items: list[dict[str, Any]]) -> dict[str, Any]:
    """The cart as every peer answers it; an item is a product with its quantity."""
    lines = [item | {"subtotal": round(item["price"] * item["quantity"], 2)} for item in items]
    return {
        "items": lines,
        "item_count": sum(line["quantity"] for line in lines),
        "unique_items": len(lines),
        "total": round(sum(line["subtotal"] for line in lines), 2),
    }


def visits_json(count: int) -> dict[str, Any]:
    times = "1 time" if count == 1 else f"{count} times"
    return {"visit_count": count, "message": f"You have visited this page {times}"}
