"""The translations: none missing, none doubtful, up to date with templates and code, and compiled."""

import re
import string
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from cartapp.accounts import (
    EmailTaken,
    InvalidCredentials,
    TooBusy,
    TooManyAttempts,
    WeakPassword,
    WrongPassword,
)
from cartapp.accounts.passwords import check_new
from cartapp.cart import CartFull, NotInCart
from cartapp.catalogue import BUILT_IN, NoSuchProduct
from cartapp.schema import DatabaseUnavailable
from cartapp.session import SessionEnded, SessionTooLarge, StoreUnavailable
from cartapp.session.errors import SessionBusy
from cartapp.session.middleware import message_of
from cartapp.web.account_inputs import Credentials, PasswordChange, Registration, UserProfile
from cartapp.web.browsers import UNKNOWN
from cartapp.web.errors import REFUSALS, Incomplete, Refused, validated
from cartapp.web.inputs import CatalogueItem, Input, NewQuantity, Preferences, Profile
from cartapp.web.languages import DEFAULT, TRANSLATED
from cartapp.web.layers.body_limit import _SENTENCE as TOO_LARGE
from cartapp.web.pictures import _SHOWS, picture_of
from cartapp.web.sentences import recognised
from cartapp.web.static import FOLDER
from cartapp.web.wording import LOCALES, wording

ROOT = Path(__file__).parent.parent
LANGUAGES = [language for language in TRANSLATED if language != DEFAULT]
FORMS = (
    CatalogueItem,
    NewQuantity,
    Preferences,
    Profile,
    UserProfile,
    Registration,
    Credentials,
    PasswordChange,
)


def po_file(language: str) -> Path:
    return LOCALES / language / "LC_MESSAGES" / "messages.po"


def catalog(language: str) -> Catalog:
    with po_file(language).open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


def said(message: Message) -> list[str]:
    """Everything that a message may become."""
    return [message.string] if isinstance(message.string, str) else list(message.string or ())


def holes(text: str) -> set[str]:
    """The names of `{name}` and `%(name)s`."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name} | set(
        re.findall(r"%\((\w+)\)s", text)
    )


def test_every_language_has_its_translations() -> None:
    assert sorted(path.name for path in LOCALES.iterdir() if path.is_dir()) == sorted(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_none_is_missing_or_doubtful(language: str) -> None:
    for message in catalog(language):
        assert not message.fuzzy, message.id
        assert all(said(message)), message.id
        assert not list(message.check(catalog(language))), message.id


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_put_in_stays(language: str) -> None:
    for message in catalog(language):
        if isinstance(message.id, str) and message.id:
            assert [holes(text) for text in said(message)] == [holes(message.id)], message.id


def test_they_are_up_to_date(tmp_path: Path) -> None:
    """As `make messages` would leave them."""
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
def test_they_are_compiled(language: str) -> None:
    compiled = BytesIO()
    write_mo(compiled, catalog(language))
    assert po_file(language).with_suffix(".mo").read_bytes() == compiled.getvalue(), "run `make messages`"


# -- the sentences that come from elsewhere ------------------------------------------------------------------


def refusals(form: type[Input]) -> set[str]:
    """What is said of each field with something wrong in it, and of those that are missing."""
    found: set[str] = set()
    for field in form.model_fields:
        wrongs: tuple[object, ...] = (None, [], "", "\x00", "x" * 20_000, "-1")
        for wrong in wrongs:
            try:
                validated(form, {**dict.fromkeys(form.model_fields, "1"), field: wrong})
            except Refused as refused:
                found |= {refused.sentence, *refused.fields.values()}
    return found


def weak(password: str) -> str:
    with pytest.raises(WeakPassword) as refused:
        check_new(password, words=["alice"])
    return str(refused.value)


SENTENCES = [
    *sorted(set().union(*(refusals(form) for form in FORMS))),
    *[str(kind()) for kind in (NotInCart, NoSuchProduct, InvalidCredentials, WrongPassword, EmailTaken)],
    *[str(TooManyAttempts(seconds)) for seconds in (1, 30)],
    str(TooBusy()),
    *[weak(password) for password in ("short", "ä" * 600, "password", "alicecart")],
    *[
        message_of(error).removesuffix(".")
        for error in (SessionEnded(), SessionBusy(), StoreUnavailable("x"))
    ],
    *[
        str(Incomplete(sentence, error))
        for error in (StoreUnavailable("x"), DatabaseUnavailable("x"), SessionBusy())
        for sentence in (
            "The log-in was not completed",
            "The account was not created",
            "The account was created, but the log-in was not completed",
            "The password was not changed",
            "It is not known whether the password was changed",
            "All other devices are logged out, but sessions of this one may be left",
        )
    ],
    message_of(SessionTooLarge(70_000, 65_536, ["cart", "visits"])).removesuffix("."),
    "A line of the cart holds at most 10000 pieces",
    "The cart holds at most 200 different products",
    "Added to your cart: Desk Lamp",
    TOO_LARGE,
    UNKNOWN,
]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_sentence_is_said_in_every_language(sentence: str) -> None:
    template, _ = recognised(sentence)
    assert template is not None
    spoken = [wording(language).sentence(sentence) for language in TRANSLATED]
    assert len(set(spoken)) == len(TRANSLATED)
    assert "{" not in "".join(spoken)


def test_every_rule_of_the_shop_is_among_them() -> None:
    tested = {NotInCart, NoSuchProduct, CartFull, InvalidCredentials, WrongPassword, WeakPassword, EmailTaken}
    assert tested | {TooBusy, TooManyAttempts, Refused} == set(REFUSALS)


def test_what_nobody_knows_stays_as_it_is() -> None:
    for text in ("Something else", "", "%(name)s {0}", "Quantity must be a whole number from 1 to 2"):
        assert wording("ar").sentence(text) == text
    assert wording("de").sentence("Added to your cart: {product}%s") == "In den Warenkorb gelegt: {product}%s"
    assert wording("de").product("Profile") == "Profile"


def test_formats() -> None:
    assert [wording(tag).money(123_450) for tag in ("en", "de", "de-AT")] == [
        "$1,234.50",
        "1.234,50\N{NO-BREAK SPACE}$",
        "$\N{NO-BREAK SPACE}1.234,50",
    ]
    assert wording("de").moment("2026-11-21T12:00:00+02:00") == "21.11.2026, 10:00:00 UTC"
    assert wording("de").browser("Firefox on Linux") == "Firefox unter Linux"
    products = [wording("ar").texts.ngettext("%(num)s product", "%(num)s products", n) for n in range(120)]
    assert len(set(products)) == 6
    assert [wording(language).direction for language in TRANSLATED] == ["ltr", "ltr", "rtl"]


# -- pictures ------------------------------------------------------------------------------------------------


def test_every_product_has_a_picture_of_its_own() -> None:
    shown = [picture_of(product.name) for product in BUILT_IN]
    assert len({picture.address for picture in shown}) == len(BUILT_IN) == len(_SHOWS)
    assert all(picture.shows for picture in shown)
    assert {path.stem for path in (FOLDER / "products").iterdir()} == {*_SHOWS, "other"}
    assert picture_of("../../Something else").shows == ""
