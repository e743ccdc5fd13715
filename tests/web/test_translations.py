"""The translations are complete, reviewed, up to date with templates and code, and compiled."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.catalog import Message as CatalogMessage
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

from cartapp.accounts import (
    EmailTaken,
    InvalidCredentials,
    TooBusy,
    TooManyAttempts,
    WeakPassword,
    WrongPassword,
)
from cartapp.accounts.passwords import check_strength
from cartapp.cart import MAX_LINES, MAX_QUANTITY, Cart, CartFull, CartItem, NotInCart
from cartapp.catalogue import BUILT_IN, NoSuchProduct
from cartapp.database.shop import DatabaseUnavailable
from cartapp.messages import Message, MessageError
from cartapp.session import SessionEnded, SessionError, SessionTooLarge, StoreUnavailable, error_message
from cartapp.session.errors import SessionBusy
from cartapp.web.account.operations import _NOT_CHANGED, _NOT_COMPLETED, _NOT_KNOWN
from cartapp.web.errors import (
    API_ERRORS,
    STATUS_MESSAGES,
    APIError,
    PartialFailure,
    session_message,
    validated,
)
from cartapp.web.i18n.formatter import LOCALES, formatter_for
from cartapp.web.i18n.labels import UNKNOWN_BROWSER
from cartapp.web.i18n.languages import DEFAULT, TRANSLATED
from cartapp.web.schemas.account_requests import Credentials, PasswordChange, Registration, UserProfileUpdate
from cartapp.web.schemas.requests import (
    CatalogueItemCreate,
    PreferencesUpdate,
    ProfileUpdate,
    QuantityUpdate,
    RequestModel,
)
from cartapp.web.shop.pictures import _SHOWS, get_picture
from cartapp.web.static import FOLDER

ROOT = Path(__file__).parents[2]
LANGUAGES = [language for language in TRANSLATED if language != DEFAULT]
FORMS = (
    CatalogueItemCreate,
    QuantityUpdate,
    PreferencesUpdate,
    ProfileUpdate,
    UserProfileUpdate,
    Registration,
    Credentials,
    PasswordChange,
)


def po_file(language: str) -> Path:
    return LOCALES / language / "LC_MESSAGES" / "messages.po"


def catalog(language: str) -> Catalog:
    with po_file(language).open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


def translations(message: CatalogMessage) -> list[str]:
    """Return all translations of a message, with plural forms."""
    return [message.string] if isinstance(message.string, str) else list(message.string or ())


def placeholders(text: str) -> set[tuple[str, str]]:
    """The names of `{name}` and `%(name)s`."""
    return set(re.findall(r"\{(\w+)\}|%\((\w+)\)s", text))


def test_every_language_has_its_translations() -> None:
    assert sorted(path.name for path in LOCALES.iterdir() if path.is_dir()) == sorted(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_translation_is_missing_or_fuzzy(language: str) -> None:
    for message in catalog(language):
        assert not message.fuzzy, message.id
        assert all(translations(message)), message.id
        assert not list(message.check(catalog(language))), message.id


@pytest.mark.parametrize("language", LANGUAGES)
def test_placeholders_are_kept(language: str) -> None:
    for message in catalog(language):
        if isinstance(message.id, str) and message.id:
            assert [placeholders(text) for text in translations(message)] == [placeholders(message.id)], (
                message.id
            )


def test_catalogues_are_up_to_date(tmp_path: Path) -> None:
    """Compare with a new extraction, as in `make messages`."""
    template = tmp_path / "messages.pot"
    babel = [sys.executable, "-m", "babel.messages.frontend", "--quiet"]
    extract = [*babel, "extract", "--mapping", "pyproject.toml", "--output-file", str(template), "."]
    subprocess.run(extract, cwd=ROOT, check=True, capture_output=True)
    with template.open("rb") as file:
        extracted = {message.id for message in read_po(file)}
    for language in LANGUAGES:
        assert {message.id for message in catalog(language)} == extracted, "run `make messages`"
        assert not catalog(language).obsolete


@pytest.mark.parametrize("language", LANGUAGES)
def test_catalogues_are_compiled(language: str) -> None:
    with po_file(language).with_suffix(".mo").open("rb") as file:
        compiled = read_mo(file)
    assert strings(compiled) == strings(catalog(language)), "run `make messages`"


def strings(catalog: Catalog) -> dict[object, object]:
    """Translations by message ID, without the header, which names the version of Babel."""
    return {str(list(message.id)): list(message.string or ()) for message in catalog if message.id}


# -- messages ------------------------------------------------------------------------------------------------


def validation_messages(form: type[RequestModel]) -> list[Message]:
    """The messages of each field with an invalid value, and of missing fields."""
    found: list[Message] = []
    for field in form.model_fields:
        values: tuple[object, ...] = (None, [], "", "\x00", "x" * 20_000, "-1")
        for invalid in values:
            try:
                validated(form, {**dict.fromkeys(form.model_fields, "1"), field: invalid})
            except APIError as error:
                found += [error.message, *error.fields.values()]
    return found


def weak(password: str) -> WeakPassword:
    with pytest.raises(WeakPassword) as error:
        check_strength(password, words=["alice"])
    return error.value


def cart_full(cart: Cart, item: CartItem) -> CartFull:
    with pytest.raises(CartFull) as error:
        cart.add(item)
    return error.value


ITEM = CartItem(1, "Desk Lamp", 100, MAX_QUANTITY)
ERRORS: list[MessageError] = [
    *(kind() for kind in (NotInCart, NoSuchProduct, InvalidCredentials, WrongPassword, EmailTaken, TooBusy)),
    *(TooManyAttempts(seconds) for seconds in (1, 30)),
    *(weak(password) for password in ("short", "ä" * 600, "eight\nor more", "password", "alicecart")),
    cart_full(Cart((ITEM,)), ITEM),
    cart_full(Cart(tuple(CartItem(number, "x", 1, 1) for number in range(2, MAX_LINES + 2))), ITEM),
    *(
        PartialFailure(template, error)
        for error in (StoreUnavailable("x"), DatabaseUnavailable("x"), SessionBusy())
        for template in (_NOT_COMPLETED, _NOT_CHANGED, _NOT_KNOWN)
    ),
]
SESSION_ERRORS: list[SessionError] = [
    *(SessionEnded(), SessionBusy(), StoreUnavailable("x"), DatabaseUnavailable("x")),
    SessionTooLarge(70_000, 65_536, ["cart", "visits"]),
]
MESSAGES = {
    str(message): message
    for message in [
        *(message for form in FORMS for message in validation_messages(form)),
        *(error.message for error in ERRORS),
        *(session_message(error) for error in SESSION_ERRORS),
        *STATUS_MESSAGES.values(),
        Message("Added to cart: {product}", product="Desk Lamp"),
        Message(UNKNOWN_BROWSER),
    ]
}


@pytest.mark.parametrize("english", MESSAGES)
def test_a_message_is_translated_into_every_language(english: str) -> None:
    translated = [formatter_for(language).translate(MESSAGES[english]) for language in TRANSLATED]
    assert len(set(translated)) == len(TRANSLATED)
    assert "{" not in english + "".join(translated)


def test_every_api_error_is_tested() -> None:
    assert {type(error) for error in ERRORS} - {PartialFailure} == set(API_ERRORS) - {APIError}


@pytest.mark.parametrize("error", SESSION_ERRORS, ids=repr)
def test_library_and_shop_use_the_same_messages(error: SessionError) -> None:
    if not isinstance(error, DatabaseUnavailable):
        assert f"{session_message(error)}." == error_message(error)


@pytest.mark.parametrize("language", TRANSLATED)
def test_an_unknown_text_stays(language: str) -> None:
    for text in ("Something else", "", "%(name)s {0}", "Quantity must be a whole number from 1 to 2"):
        assert formatter_for(language).translate(Message(text)) == text


def test_values_are_formatted_for_the_language() -> None:
    german = formatter_for("de")
    added = Message("Added to cart: {product}", product="{product}%s")
    assert german.translate(added) == "In den Warenkorb gelegt: {product}%s"
    assert german.product("Profile") == "Profile"
    assert german.browser("Profile") == "Profile"
    assert "10.000" in german.translate(cart_full(Cart((ITEM,)), ITEM).message)
    assert "30 Sekunden" in german.translate(TooManyAttempts(30).message)


def unmarked(tree: ast.AST) -> Iterator[int]:
    """Lines where a message is made of a text that is not marked with `_`."""
    makers = (
        "Message",
        "APIError",
        "PartialFailure",
        "error_response",
        "flash",
        *(kind.__name__ for kind in API_ERRORS),
    )
    for node in ast.walk(tree):
        name = getattr(getattr(node, "func", None), "id", getattr(getattr(node, "func", None), "attr", None))
        if isinstance(node, ast.Call) and name in makers:
            texts = [each for each in node.args if isinstance(each, ast.JoinedStr) or _is_text(each)]
            # of session.flash(key, message, category), only the key and the category are plain
            yield from (each.lineno for each in texts if name != "flash" or each is node.args[1])


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@pytest.mark.parametrize("room", ["accounts", "cart", "catalogue", "web"])
def test_every_message_is_marked_for_extraction(room: str) -> None:
    for path in (ROOT / "cartapp" / room).rglob("*.py"):
        assert list(unmarked(ast.parse(path.read_text(encoding="utf-8")))) == [], path


def test_formats() -> None:
    assert [formatter_for(tag).money(123_450) for tag in ("en", "de", "de-AT")] == [
        "$1,234.50",
        "1.234,50\N{NO-BREAK SPACE}$",
        "$\N{NO-BREAK SPACE}1.234,50",
    ]
    assert formatter_for("de").moment("2026-11-21T12:00:00+02:00") == "21.11.2026, 10:00 UTC"
    assert formatter_for("de").browser("Firefox on Linux") == "Firefox unter Linux"
    products = [
        formatter_for("ar").texts.ngettext("%(num)s product", "%(num)s products", n) for n in range(120)
    ]
    assert len(set(products)) == 6
    assert [formatter_for(language).direction for language in TRANSLATED] == ["ltr", "ltr", "rtl"]


# -- pictures ------------------------------------------------------------------------------------------------


def test_every_product_has_its_own_picture() -> None:
    shown = [get_picture(product.name) for product in BUILT_IN]
    assert len({picture.address for picture in shown}) == len(BUILT_IN) == len(_SHOWS)
    assert all(picture.shows for picture in shown)
    assert {path.stem for path in (FOLDER / "products").iterdir()} == {*_SHOWS, "other"}
    assert get_picture("../../Something else").shows == ""
