"""The catalogue: files that hold one, and the table."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cartapp.catalogue import BUILT_IN, Catalogue, NoSuchProduct, Product, seed
from cartapp.catalogue.files import InvalidCatalogue, read_products
from cartapp.schema import ShopDatabase

from .accounts import made, url_in

HUB = Product(2, "Hub, 7 ports", 4999, "")
DESK = Product(9_007_199_254_740_991, "Tisch „groß“", 0, "Oak\nand steel")


def file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


JSON = """[
  {"id": 2, "name": "Hub, 7 ports", "price": 49.99},
  {"id": 9007199254740991, "name": "Tisch „groß“", "price": "0.00", "description": "Oak\\nand steel"}
]"""
CSV = """id,name,price,description
2,"Hub, 7 ports",49.99,
9007199254740991,Tisch „groß“,0,"Oak
and steel"
"""
SPREADSHEET = """\ufeffprice,id,description,name\r
49.99,2,,"Hub, 7 ports"\r
0,9007199254740991,"Oak
and steel",Tisch „groß“"""


@pytest.mark.parametrize(("name", "text"), [("a.json", JSON), ("a.CSV", CSV), ("a.csv", SPREADSHEET)])
def test_files(tmp_path: Path, name: str, text: str) -> None:
    assert read_products(file(tmp_path, name, text)) == [HUB, DESK]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is not valid JSON"),
        ("{}", "must hold an array"),
        ("[]", "has no product"),
        ("[1]", "product 1 must be an object"),
        ('[{"id": 1, "name": "A", "price": 1, "prize": 2}]', "has a field prize"),
        ('[{"id": 1, "name": "A"}]', "product 1: price must be"),
        ('[{"id": 1, "name": "A", "price": 1.999}]', "price must be"),
        ('[{"id": 1, "name": "A", "price": true}]', "price must be"),
        ('[{"id": 1, "name": "A", "price": "1e999999999"}]', "price must be"),
        ('[{"id": 1, "name": "A", "price": 1e1000000000000000000}]', "price must be"),
        ('[{"id": 1, "name": "A", "price": -1}]', "price must be"),
        ('[{"id": 1, "name": "A", "price": "x"}]', "price must be"),
        ('[{"id": 0, "name": "A", "price": 1}]', "id must be"),
        ('[{"id": true, "name": "A", "price": 1}]', "id must be"),
        ('[{"id": "٣", "name": "A", "price": 1}]', "id must be"),
        ('[{"id": 1, "name": " ", "price": 1}]', "name must be"),
        ('[{"id": 1, "name": "a\\u0000b", "price": 1}]', "name must be"),
        (json.dumps([{"id": 1, "name": "A", "price": 1, "description": "d" * 1001}]), "description must be"),
        ('[{"id": 1, "name": "A", "price": 1}, {"id": "1", "name": "B", "price": 1}]', "two products"),
    ],
)
def test_json_that_is_no_catalogue(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InvalidCatalogue, match=sentence):
        read_products(file(tmp_path, "a.json", text))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must begin with a line"),
        ("id,name\n1,A\n", "must begin with a line"),
        ("id,name,price\n1,A\n", "price must be"),
        ("id,name,price\n1,A,2,3\n", "line 2 has more fields than the first line names"),
        ("id,name,price,\n1,A,2,3\n", "line 2 has more fields than the first line names"),
        ("id,name,price\n1,A,1_000\n", "price must be"),
        ("id,name,price\n1,A,１２\n", "price must be"),
        ("id,name,price\n1,A, 2\n", "price must be"),
        ("id,name,price\n1,A,1e3\n", "price must be"),
        ("id,name,price\n1,A,NaN\n", "price must be"),
        ('id,name,price\n1,"A,2\n', "is not valid CSV"),
    ],
)
def test_csv_that_is_no_catalogue(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InvalidCatalogue, match=sentence):
        read_products(file(tmp_path, "a.csv", text))


@pytest.mark.parametrize(
    "text", ["id,name,price,\n1,A,2,\n", "id,name,price\n1,A,2,\n", "id,name,price\n1,A,2,,\n"]
)
def test_h11_commas_at_the_end_of_a_line_are_no_fields(tmp_path: Path, text: str) -> None:
    assert [product.price for product in read_products(file(tmp_path, "a.csv", text))] == [200]


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,name,price\n1,\xff,2")
    with pytest.raises(InvalidCatalogue, match="UTF-8"):
        read_products(tmp_path / "a.csv")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[ShopDatabase]:
    shop = made(url_in(tmp_path), seed=seed(BUILT_IN))
    yield shop
    await shop.close()


@pytest.mark.anyio
async def test_a_new_shop_has_the_built_in_products(database: ShopDatabase) -> None:
    catalogue = Catalogue(database)
    assert await catalogue.count() == len(BUILT_IN)
    assert [*await catalogue.page(1, 20), *await catalogue.page(2, 20)] == list(BUILT_IN)
    assert await catalogue.page(3, 20) == []
    assert await catalogue.product(2) == BUILT_IN[1]


@pytest.mark.anyio
async def test_what_is_loaded_stays_in_its_order(database: ShopDatabase, tmp_path: Path) -> None:
    catalogue = Catalogue(database)
    assert await catalogue.replace([DESK, HUB]) == len(BUILT_IN) - 1
    again = made(url_in(tmp_path), seed=seed(BUILT_IN))
    assert await Catalogue(again).page(1, 10) == [DESK, HUB]
    with pytest.raises(NoSuchProduct):
        await Catalogue(again).product(1)
    await again.close()
