"""Product files: a JSON array of objects, or CSV with a header line.

Fields: `id`, `name`, `price` in the currency of the shop (79.99), and optionally `description` and
`category`.
"""

import csv
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec

from cartapp.cart import MAX_NAME, MAX_PRODUCT_ID, InvalidPrice, parse_decimal, parse_price

from .product import Product

MAX_DESCRIPTION = 1000
"""Maximum length in characters."""
MAX_CATEGORY = 100
"""Maximum length in characters."""

_FIELDS = ("id", "name", "price", "description", "category")
_decoder = msgspec.json.Decoder(float_hook=parse_decimal)


class InvalidCatalogue(ValueError):
    """The file is invalid. The message says where and why."""


def read_products(path: Path) -> list[Product]:
    """Read a `.json` or `.csv` file. Raises `InvalidCatalogue` and `OSError`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidCatalogue(f"{path}: expected UTF-8 text.") from None
    match path.suffix.lower():
        case ".json":
            entries = _json_entries(path, text)
        case ".csv":
            entries = _csv_entries(path, text)
        case _:
            raise InvalidCatalogue(f"{path}: expected a .json or .csv file.")
    products = [_product(f"{path}, product {number}", entry) for number, entry in enumerate(entries, 1)]
    if not products:
        raise InvalidCatalogue(f"{path}: no products.")
    seen: set[int] = set()
    for product in products:
        if product.id in seen:
            raise InvalidCatalogue(f"{path}: duplicate id {product.id}.")
        seen.add(product.id)
    return products


def _json_entries(path: Path, text: str) -> Iterable[Any]:
    try:
        entries = _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidCatalogue(f"{path}: invalid JSON: {error}.") from None
    if not isinstance(entries, list):
        raise InvalidCatalogue(f"{path}: expected an array of products.")
    return entries


def _csv_entries(path: Path, text: str) -> Iterable[Any]:
    reader = csv.DictReader(StringIO(text, newline=""), strict=True)
    missing = set(_FIELDS[:3]) - set(reader.fieldnames or ())
    if missing:
        raise InvalidCatalogue(f"{path}: expected a header line with id, name and price.")
    try:
        return [_csv_entry(f"{path}, line {reader.line_num}", row) for row in reader]
    except csv.Error as error:
        raise InvalidCatalogue(f"{path}, line {reader.line_num}: invalid CSV: {error}.") from None


def _csv_entry(where: str, row: dict[str | Any, Any]) -> dict[str, Any]:
    """Return the fields of a line without empty extra fields, as from a trailing comma."""
    if any(row.pop(None, ())) or row.pop("", ""):
        raise InvalidCatalogue(f"{where}: more fields than in the header line.")
    return row


def _product(where: str, entry: Any) -> Product:
    if not isinstance(entry, Mapping):
        raise InvalidCatalogue(f"{where}: expected an object.")
    if unknown := [str(name) for name in entry if name not in _FIELDS]:
        raise InvalidCatalogue(f"{where}: unknown field {unknown[0]}, expected {', '.join(_FIELDS)}.")
    try:
        return Product(
            _id(entry.get("id")),
            _text(entry.get("name"), "name", MAX_NAME),
            _price(entry.get("price")),
            _text(entry.get("description") or "", "description", MAX_DESCRIPTION, blank=True),
            _text(entry.get("category") or "", "category", MAX_CATEGORY, blank=True),
        )
    except InvalidCatalogue as error:
        raise InvalidCatalogue(f"{where}: {error}") from None


def _id(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 16:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_PRODUCT_ID:
        raise InvalidCatalogue(f"id: expected a whole number from 1 to {MAX_PRODUCT_ID}.")
    return value


def _text(value: Any, field: str, limit: int, *, blank: bool = False) -> str:
    if not isinstance(value, str) or len(value) > limit or not (blank or value.strip()) or "\0" in value:
        raise InvalidCatalogue(
            f"{field}: expected text of {'at most' if blank else '1 to'} {limit} characters."
        )
    return value


def _price(value: Any) -> int:
    try:
        return parse_price(value)
    except InvalidPrice:
        raise InvalidCatalogue(
            "price: expected a number from 0 to 1000000 with at most two decimals."
        ) from None
