"""Products from a file: JSON, an array of objects, or CSV, whose first line names the fields.

A product has `id`, `name`, `price` in the shop's currency (79.99) and perhaps a `description`.
"""

import csv
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec

from cartapp.cart import MAX_NAME, MAX_PRODUCT_ID, InvalidPrice, decimal_of, read_price

from .product import Product

MAX_DESCRIPTION = 1000
"""Characters."""

_FIELDS = ("id", "name", "price", "description")
_decoder = msgspec.json.Decoder(float_hook=decimal_of)


class InvalidCatalogue(ValueError):
    """The file holds no catalogue; the sentence says where and why."""


def read_products(path: Path) -> list[Product]:
    """The products of a file that ends with `.json` or `.csv`. Raises `InvalidCatalogue` and `OSError`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidCatalogue(f"{path} must be UTF-8 text.") from None
    match path.suffix.lower():
        case ".json":
            entries = _json_entries(path, text)
        case ".csv":
            entries = _csv_entries(path, text)
        case _:
            raise InvalidCatalogue(f"{path} must end with .json or .csv.")
    products = [_product(f"{path}, product {number}", entry) for number, entry in enumerate(entries, 1)]
    if not products:
        raise InvalidCatalogue(f"{path} has no product.")
    seen: set[int] = set()
    for product in products:
        if product.id in seen:
            raise InvalidCatalogue(f"{path} has two products with the id {product.id}.")
        seen.add(product.id)
    return products


def _json_entries(path: Path, text: str) -> Iterable[Any]:
    try:
        entries = _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidCatalogue(f"{path} is not valid JSON: {error}.") from None
    if not isinstance(entries, list):
        raise InvalidCatalogue(f"{path} must hold an array of products.")
    return entries


def _csv_entries(path: Path, text: str) -> Iterable[Any]:
    reader = csv.DictReader(StringIO(text, newline=""), strict=True)
    missing = set(_FIELDS[:3]) - set(reader.fieldnames or ())
    if missing:
        raise InvalidCatalogue(f"{path} must begin with a line that names id, name and price.")
    try:
        return [_csv_entry(f"{path}, line {reader.line_num}", row) for row in reader]
    except csv.Error as error:
        raise InvalidCatalogue(f"{path} is not valid CSV: {error} (line {reader.line_num}).") from None


def _csv_entry(where: str, row: dict[str | Any, Any]) -> dict[str, Any]:
    """Return the fields of a line, without the empty ones of a trailing comma."""
    if any(row.pop(None, ())) or row.pop("", ""):
        raise InvalidCatalogue(f"{where} has more fields than the first line names.")
    return row


def _product(where: str, entry: Any) -> Product:
    if not isinstance(entry, Mapping):
        raise InvalidCatalogue(f"{where} must be an object.")
    if unknown := [str(name) for name in entry if name not in _FIELDS]:
        raise InvalidCatalogue(f"{where} has a field {unknown[0]}, which is none of {', '.join(_FIELDS)}.")
    try:
        return Product(
            _id(entry.get("id")),
            _text(entry.get("name"), "name", MAX_NAME),
            _price(entry.get("price")),
            _text(entry.get("description") or "", "description", MAX_DESCRIPTION, blank=True),
        )
    except InvalidCatalogue as error:
        raise InvalidCatalogue(f"{where}: {error}") from None


def _id(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 16:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_PRODUCT_ID:
        raise InvalidCatalogue(f"id must be a whole number from 1 to {MAX_PRODUCT_ID}.")
    return value


def _text(value: Any, field: str, most: int, *, blank: bool = False) -> str:
    if not isinstance(value, str) or len(value) > most or not (blank or value.strip()) or "\0" in value:
        raise InvalidCatalogue(f"{field} must be text of {'at most' if blank else '1 to'} {most} characters.")
    return value


def _price(value: Any) -> int:
    try:
        return read_price(value)
    except InvalidPrice:
        raise InvalidCatalogue(
            "price must be a number from 0 to 1000000 with at most two decimals."
        ) from None
