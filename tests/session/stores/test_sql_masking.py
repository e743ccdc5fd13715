"""Passwords in the messages of SQL drivers: none is shown, and no other word is masked."""

import asyncio

import pytest
from sqlalchemy import make_url, select

from cartapp.session.errors import StoreUnavailable
from cartapp.session.stores.sql.engine import Database
from cartapp.session.stores.sql.masking import mask
from tests.support.databases import DATABASES
from tests.support.polling import STORE_TIMEOUT


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        ("postgresql", 'password authentication failed for user "cart"'),
        ("mariadb", "Access denied for user 'cart'@'localhost' (using password: YES)"),
    ],
)
def test_a_password_that_is_a_word_garbles_no_message(
    engine: str, reason: str, request: pytest.FixtureRequest
) -> None:
    right = make_url(DATABASES[engine](request))
    for word in ("a", "cart", "for", "password", "YES"):
        url = right.set(password=word).render_as_string(hide_password=False)
        assert asyncio.run(_failure(url)).endswith(f" cannot be used: {reason}.")


async def _failure(url: str) -> str:
    database = Database(url, timeout=STORE_TIMEOUT)
    with pytest.raises(StoreUnavailable) as raised:
        await database.fetch(select(1))
    await database.close()
    return str(raised.value)


@pytest.mark.parametrize(
    ("password", "message", "masked"),
    [
        ("hush-hush", "cannot use hush-hush", "cannot use ***"),
        ("p@ss:w/rd%", "p%40ss%3Aw%2Frd%25 and p@ss:w/rd%", "*** and ***"),
        (
            "p",
            "rejected SSL upgrade at postgresql://p:p@h/p",
            "rejected SSL upgrade at postgresql://p:***@h/p",
        ),
        ("geheim", "host=h password=geheim pwd=geheime", "host=h password=*** pwd=geheime"),
        ("yes", "SERVER=h;PWD=yes;TRUST=yes", "SERVER=h;PWD=***;TRUST=yes"),
        ("7921", "no answer of postgresql://u@h:7921", "no answer of postgresql://u@h:7921"),
        ("", "anything", "anything"),
    ],
)
def test_a_password_is_masked(password: str, message: str, masked: str) -> None:
    assert mask(message, password) == masked
