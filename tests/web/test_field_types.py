"""Field types: every outcome of `field_types.json` stays as it was recorded.

`python -m tests.web.test_field_types` writes the file again; its diff then shows the change in acceptance.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import TypeAdapter, ValidationError

from cartapp.cart import parse_decimal
from cartapp.web.schemas import account_requests, requests
from cartapp.web.schemas.requests import RequestModel

RECORDED = Path(__file__).with_name("field_types.json")

MODELS: dict[str, dict[str, Any]] = {
    "CartItemCreate": {"product_id": 1, "name": "Wireless Keyboard", "price": 79.99},
    "CatalogueItemCreate": {"product_id": 1},
    "QuantityUpdate": {"quantity": 1},
    "PreferencesUpdate": {},
    "LanguageUpdate": {},
    "ProfileUpdate": {},
    "Registration": {"name": "Alice", "email": "alice@example.com", "password": "a long phrase"},
    "Credentials": {"email": "alice@example.com", "password": "a long phrase"},
    "PasswordChange": {"current_password": "a long phrase", "new_password": "a longer phrase"},
    "UserProfileUpdate": {},
}
"""Every request model, with the required fields of a valid body."""

PATHS = ("ProductIdPath", "PreferenceNamePath")

NUMBERS = """
    0 1 -1 2 99 100 101 9999 10000 10001 999999 1000000 1000001 9007199254740991 9007199254740992
    99999999999999999999 1.0 2.0 -1.0 1.5 0.0 -0.0 -0 1e0 1e2 1E+2 1e-2 10e-1 1e999999999 1e-999999999
    1E1000000000000000000 0.01 0.001 0.010 0.011 79.99 79.990 79.999 999999.99 1000000.00 1000000.01
    0.0100000000000000000000000000000000000001 -0.01 1e6 1e7
"""
"""JSON numbers as a client writes them."""

TEXTS = [
    *("", " ", "  ", "\t", "\n", "0", "1", "-1", "+1", " 1", "1 ", "1\n", "01", "007", "2", "100", "101"),
    *("10000", "10001", "9007199254740991", "9007199254740992", "0000000000000001", "00000000000000001"),
    *("9" * 17, "9" * 99, "1.0", "2.0", "1.5", "0.0", "-0", "1e3", "1E3", "0x10", "1_000", "1,5", "½", "٣"),
    *("１", "²", "0.01", "0.001", "79.99", "79.990", "79.999", ".5", "5.", "1000000", "1000000.01", "NaN"),
    *("nan", "Infinity", "inf", "0." + "0" * 16, "0." + "0" * 17, "1" * 16 + ".0", "null", "None"),
    *("true", "True", "TRUE", "false", "False", "on", "On", "ON", "off", "yes", "no", "y", "t"),
    *("light", "dark", "auto", "Light", "dark ", "blue", "language", "theme", "items_per_page", "add"),
    *("en", "EN", "de-AT", "de_AT", "de-", "-de", "e", "english", "zh-Hant-TW", "x-private", "i-klingon"),
    *("en-gb-oed", "de-CH-1996", "fr\n", "fr ", "a-b", "en-" + "a" * 8, "abcdefghi", "en-US-u-ca-buddhist"),
    *("en-x-" + "a" * 8 + "-" + "b" * 8 + "-" + "c" * 8, "en-x-" + "a" * 8 + "-" + "b" * 8 + "-" + "c" * 12),
    *(
        "Alice",
        "Ærøskøbing",
        "日本語",
        "e\u0301",
        "😀",
        " Alice ",
        "Ali\u200bce",
        "Ali\u202ece",
        "\u200b",
        "\u3164",
    ),
    *("\u00a0", "\u2028", "\x00", "Ali\x00ce", "Ali\x7fce", "Ali\x85ce", "Ali\nce", "\ufeffAlice", "\ufe0f"),
    *("a" * 64, "a" * 65, "a" * 199, "a" * 200, "a" * 201, " " * 200, " " + "a" * 200, "é" * 200, "😀" * 200),
    *("a" * 2000, "a" * 2001, "a" * 20_000),
    *("alice@example.com", "Alice@EXAMPLE.com", "alice@example", "alice@", "@example.com", "alice"),
    *(
        "a@b.c",
        "a@b..c",
        "a@.b.c",
        "a@b.c.",
        "a b@c.de",
        "a@b c.de",
        " a@b.de",
        "a@b.de ",
        "a@b.de\n",
        "a@@b.de",
    ),
    *("a@b@c.de", "älice@exämple.de", "alice@例え.jp", "al\u200bice@example.com", "alice@exam\u00adple.com"),
    *("alice@example.com\x00", "al\x7fice@example.com", "alice@ex\u180bample.com", "alice+tag@example.com"),
    *(
        "a" * 64 + "@example.com",
        "a" * 65 + "@example.com",
        "a@" + "b" * 248 + ".com",
        "a@" + "b" * 249 + ".com",
    ),
    *("/", "/cart", "//evil.example", "https://evil.example"),
]

VALUES = [
    *("null", "true", "false", "[]", "{}", "[1]", '["a"]', '{"a":1}', "[null]"),
    *NUMBERS.split(),
    *(json.dumps(text, ensure_ascii=False) for text in TEXTS),
]
"""JSON texts of a field's value."""

_decoder = msgspec.json.Decoder(float_hook=parse_decimal)  # as `cartapp.web.body` reads a body


def model_of(name: str) -> type[RequestModel]:
    found: type[RequestModel] = getattr(requests, name, None) or getattr(account_requests, name)
    return found


def short(text: str) -> str:
    """A value as the file names it."""
    return text if len(text) <= 60 else f"{text[:12]}… {len(text)} characters …{text[-12:]}"


def problems(error: ValidationError) -> str:
    return " | ".join(one["msg"] for one in error.errors(include_url=False))


def outcomes(parse: Any, values: list[str]) -> dict[str, Any]:
    """Accepted values with what they are read as, and rejected ones by error message."""
    accepted: dict[str, Any] = {}
    rejected: dict[str, list[str]] = {}
    for text in values:
        try:
            read = parse(text)
        except ValidationError as error:
            rejected.setdefault(problems(error), []).append(short(text))
        else:
            written = json.dumps(read, ensure_ascii=False)
            accepted[short(text)] = "unchanged" if written == text else short(written)
    return {"accepted": accepted, "rejected": rejected}


def field_outcomes(name: str) -> dict[str, Any]:
    model, valid = model_of(name), json.dumps(MODELS[name], ensure_ascii=False)

    def read(field: str, text: str) -> Any:
        return getattr(model.model_validate({**_decoder.decode(valid), field: _decoder.decode(text)}), field)

    return {
        field: outcomes(lambda text, field=field: read(field, text), VALUES) for field in model.model_fields
    }


def path_outcomes(name: str) -> dict[str, Any]:
    adapter: TypeAdapter[Any] = TypeAdapter(getattr(requests, name))
    return outcomes(lambda text: adapter.validate_python(json.loads(text)), list(map(json.dumps, TEXTS)))


def body_outcomes(name: str) -> list[Any]:
    """Whole bodies: nothing, null everywhere, unknown fields, each field missing, and all of them wrong."""
    fields, valid = model_of(name).model_fields, MODELS[name]
    bodies: list[dict[str, Any]] = [
        {},
        dict.fromkeys(fields),
        {**valid, "unknown": 1},
        *({key: value for key, value in valid.items() if key != missing} for missing in valid),
        {field: [] for field in fields},
        {field: {"a": "b"} for field in fields},
    ]
    found: list[Any] = []
    for body in bodies:
        try:
            read = model_of(name).model_validate(_decoder.decode(json.dumps(body)))
            result: Any = {"value": read.model_dump(mode="json"), "set": sorted(read.model_fields_set)}
        except ValidationError as error:
            result = [[*one["loc"], one["msg"]] for one in error.errors(include_url=False)]
        found.append([body, result])
    return found


def record() -> dict[str, Any]:
    return {
        "fields": {name: field_outcomes(name) for name in MODELS},
        "paths": {name: path_outcomes(name) for name in PATHS},
        "bodies": {name: body_outcomes(name) for name in MODELS},
    }


def recorded(part: str, name: str) -> Any:
    return json.loads(RECORDED.read_text(encoding="utf-8"))[part][name]


@pytest.mark.parametrize("name", MODELS)
def test_fields(name: str) -> None:
    assert field_outcomes(name) == recorded("fields", name)


@pytest.mark.parametrize("name", PATHS)
def test_path_parameters(name: str) -> None:
    assert path_outcomes(name) == recorded("paths", name)


@pytest.mark.parametrize("name", MODELS)
def test_bodies(name: str) -> None:
    assert body_outcomes(name) == recorded("bodies", name)


def test_every_request_model_is_recorded() -> None:
    # `CartRestore` takes a JSON list in a form field: see tests of undo.
    assert set(MODELS) | {"CartRestore"} == {model.__name__ for model in RequestModel.__subclasses__()}


def lines(value: dict[str, Any], depth: int = 3) -> str:
    """JSON with a line for each entry of the outer levels."""
    if depth == 0 or not isinstance(value, dict):
        return json.dumps(value)
    entries = (f"{json.dumps(key)}: {lines(each, depth - 1)}" for key, each in value.items())
    return "{\n" + ",\n".join(entries) + "\n}"


if __name__ == "__main__":
    RECORDED.write_text(lines(record()) + "\n", encoding="utf-8")
