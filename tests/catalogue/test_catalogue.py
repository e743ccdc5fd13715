"""Product files and the catalogue's table."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cartapp.catalogue import BUILT_IN, Catalogue, NoSuchProduct, Product, Selection, seed
from cartapp.catalogue.files import InvalidCatalogue, read_products
from cartapp.database.shop import ShopDatabase
from tests.support.accounts import create_database, sqlite_url

HUB = Product(2, "Hub, 7 ports", 4999, "")
DESK = Product(9_007_199_254_740_991, "Tisch „groß“", 0, "Oak\nand steel", "Furniture")


def file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


JSON = """[
  {"id": 2, "name": "Hub, 7 ports", "price": 49.99},
  {"id": 9007199254740991, "name": "Tisch „groß“", "price": "0.00", "description": "Oak\\nand steel",
   "category": "Furniture"}
]"""
CSV = """id,name,price,description,category
2,"Hub, 7 ports",49.99,,
9007199254740991,Tisch „groß“,0,"Oak
and steel",Furniture
"""
SPREADSHEET = """\ufeffprice,id,description,name,category\r
49.99,2,,"Hub, 7 ports"\r
0,9007199254740991,"Oak
and steel",Tisch „groß“,Furniture"""


@pytest.mark.parametrize(("name", "text"), [("a.json", JSON), ("a.CSV", CSV), ("a.csv", SPREADSHEET)])
def test_files(tmp_path: Path, name: str, text: str) -> None:
    assert read_products(file(tmp_path, name, text)) == [HUB, DESK]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "invalid JSON"),
        ("{}", "expected an array of products"),
        ("[]", "no products"),
        ("[1]", "product 1: expected an object"),
        ('[{"id": 1, "name": "A", "price": 1, "prize": 2}]', "unknown field prize"),
        ('[{"id": 1, "name": "A"}]', "product 1: price: expected"),
        ('[{"id": 1, "name": "A", "price": 1.999}]', "price: expected"),
        ('[{"id": 1, "name": "A", "price": true}]', "price: expected"),
        ('[{"id": 1, "name": "A", "price": "1e999999999"}]', "price: expected"),
        ('[{"id": 1, "name": "A", "price": 1e1000000000000000000}]', "price: expected"),
        ('[{"id": 1, "name": "A", "price": -1}]', "price: expected"),
        ('[{"id": 1, "name": "A", "price": "x"}]', "price: expected"),
        ('[{"id": 0, "name": "A", "price": 1}]', "id: expected"),
        ('[{"id": true, "name": "A", "price": 1}]', "id: expected"),
        ('[{"id": "٣", "name": "A", "price": 1}]', "id: expected"),
        ('[{"id": 1, "name": " ", "price": 1}]', "name: expected"),
        ('[{"id": 1, "name": "a\\u0000b", "price": 1}]', "name: expected"),
        (
            json.dumps([{"id": 1, "name": "A", "price": 1, "description": "d" * 1001}]),
            "description: expected",
        ),
        ('[{"id": 1, "name": "A", "price": 1}, {"id": "1", "name": "B", "price": 1}]', "duplicate id 1"),
    ],
)
def test_invalid_json_catalogue(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InvalidCatalogue, match=sentence):
        read_products(file(tmp_path, "a.json", text))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "expected a header line"),
        ("id,name\n1,A\n", "expected a header line"),
        ("id,name,price\n1,A\n", "price: expected"),
        ("id,name,price\n1,A,2,3\n", "line 2: more fields than in the header line"),
        ("id,name,price,\n1,A,2,3\n", "line 2: more fields than in the header line"),
        ("id,name,price\n1,A,1_000\n", "price: expected"),
        ("id,name,price\n1,A,１２\n", "price: expected"),
        ("id,name,price\n1,A, 2\n", "price: expected"),
        ("id,name,price\n1,A,1e3\n", "price: expected"),
        ("id,name,price\n1,A,NaN\n", "price: expected"),
        ('id,name,price\n1,"A,2\n', "invalid CSV"),
    ],
)
def test_invalid_csv_catalogue(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InvalidCatalogue, match=sentence):
        read_products(file(tmp_path, "a.csv", text))


@pytest.mark.parametrize(
    "text", ["id,name,price,\n1,A,2,\n", "id,name,price\n1,A,2,\n", "id,name,price\n1,A,2,,\n"]
)
def test_h11_trailing_commas_are_ignored(tmp_path: Path, text: str) -> None:
    assert [product.price for product in read_products(file(tmp_path, "a.csv", text))] == [200]


def test_binary_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,name,price\n1,\xff,2")
    with pytest.raises(InvalidCatalogue, match="UTF-8"):
        read_products(tmp_path / "a.csv")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[ShopDatabase]:
    shop = create_database(sqlite_url(tmp_path), seed=seed(BUILT_IN))
    yield shop
    await shop.close()


@pytest.mark.anyio
async def test_new_shop_has_the_sample_products(database: ShopDatabase) -> None:
    catalogue = Catalogue(database)
    assert await catalogue.count() == len(BUILT_IN)
    assert [*await catalogue.get_page(1, 20), *await catalogue.get_page(2, 20)] == list(BUILT_IN)
    assert await catalogue.get_page(3, 20) == []
    assert await catalogue.get(2) == BUILT_IN[1]


@pytest.mark.anyio
async def test_loaded_products_keep_their_order(database: ShopDatabase, tmp_path: Path) -> None:
    catalogue = Catalogue(database)
    assert await catalogue.replace([DESK, HUB]) == len(BUILT_IN) - 1
    again = create_database(sqlite_url(tmp_path), seed=seed(BUILT_IN))
    assert await Catalogue(again).get_page(1, 10) == [DESK, HUB]
    with pytest.raises(NoSuchProduct):
        await Catalogue(again).get(1)
    await again.close()


@pytest.mark.anyio
async def test_selection(database: ShopDatabase) -> None:
    """A text in the name or description, a category, an order; special characters match themselves."""
    catalogue = Catalogue(database)

    async def names(**chosen: Any) -> list[str]:
        selection = Selection(**chosen)
        found = await catalogue.get_page(1, 100, selection)
        assert await catalogue.count(selection) == len(found)
        return [product.name for product in found]

    assert await names(text="wireless") == ["Wireless Keyboard", "Wireless Mouse"]
    assert "Desk Lamp" in await names(text="dimmed BY touch")
    assert await names(text="_") == await names(text="%") == await names(text="/x") == []
    assert await names(text="nothing", texts=frozenset({"Headset"})) == ["Headset"]
    assert await names(category="Audio") == ["Headset", "Bluetooth Speaker", "USB Microphone"]
    assert await names(category="Audio", text="usb") == ["USB Microphone"]
    cheapest = await names(order="price")
    assert cheapest[:2] == ["Cable Clips, 20 pieces", "Network Cable, 5 m"]
    assert (await names(order="-price"))[0] == "27-inch Monitor"
    assert (await catalogue.list_categories())[:2] == ["Devices", "Around the desk"]
    await catalogue.replace([HUB])
    assert await catalogue.list_categories() == []
