"""URLs of Redis and Valkey stores."""

from typing import Any

import pytest

from cartapp.session import InvalidStoreURL, open_store
from cartapp.session.stores.base import PREFIX
from cartapp.session.stores.redis.url import Address, parse
from cartapp.session.stores.urls import split_url

LOCAL = (("localhost", 6379),)


def address(**fields: Any) -> Address:
    return Address(**{"backend": "redis", "kind": "", "hosts": LOCAL, **fields})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", address()),
        ("redis://localhost:6379/0", address()),
        ("redis://example.org/15", address(hosts=(("example.org", 6379),), database=15)),
        ("redis://[::1]:7000?db=3", address(hosts=(("::1", 7000),), database=3)),
        ("redis://:p%40ss%3A%2F@h", address(hosts=(("h", 6379),), login={"password": "p@ss:/"})),
        (
            "redis://shop:secret@h",
            address(hosts=(("h", 6379),), login={"username": "shop", "password": "secret"}),
        ),
        ("redis://h?prefix=a%20b:", address(hosts=(("h", 6379),), prefix="a b:")),
        ("rediss://", address(tls={})),
        (
            "rediss://?ssl_ca_certs=/ca.pem&ssl_cert_reqs=none&ssl_check_hostname=False",
            address(tls={"ssl_ca_certs": "/ca.pem", "ssl_cert_reqs": "none", "ssl_check_hostname": False}),
        ),
        ("redis+unix:///run/redis/a%20b.sock", address(kind="unix", hosts=(), path="/run/redis/a b.sock")),
        (
            "redis+unix://:secret@/run/redis.sock?db=2",
            address(kind="unix", hosts=(), path="/run/redis.sock", database=2, login={"password": "secret"}),
        ),
        (
            "redis+sentinel://:a@h1,h2:5000/mymaster/4?sentinel_username=u&sentinel_password=b",
            address(
                kind="sentinel",
                hosts=(("h1", 26379), ("h2", 5000)),
                master="mymaster",
                database=4,
                login={"password": "a"},
                sentinel_login={"username": "u", "password": "b"},
            ),
        ),
        ("redis+cluster://h1:7000,h2", address(kind="cluster", hosts=(("h1", 7000), ("h2", 6379)))),
        ("rediss+cluster://h/0", address(kind="cluster", hosts=(("h", 6379),), tls={})),
        ("valkey://", address(backend="valkey")),
        (
            "valkeys+sentinel://h/m",
            address(backend="valkey", kind="sentinel", hosts=(("h", 26379),), master="m", tls={}),
        ),
    ],
)
def test_parts_of_a_url(url: str, expected: Address) -> None:
    assert parse(split_url(url)) == expected


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis://h1,h2", "A redis store has one server; redis+sentinel and redis+cluster have several."),
        ("redis+cluster://a,,b", "Invalid store URL: a comma without a host before or after it."),
        ("redis://h:0", "Invalid port in store URL: expected a number from 1 to 65535."),
        ("redis://[::1", "Invalid host in store URL."),
        ("redis://h:port", "Invalid port in store URL: expected a number from 1 to 65535."),
        ("redis://h/shop", "A redis store's database must be a number."),
        ("redis://h/-1", "A redis store's database must be a number."),
        ("redis://h/1/2", "A redis store's URL has something too much at its end."),
        ("redis://h/1#2", "A redis store's URL has something too much at its end."),
        ("redis://h?pool=3", "A redis store's URL has no option 'pool' after the ?."),
        ("redis://h?ssl_ca_certs=/ca.pem", "A redis store's URL has no option 'ssl_ca_certs' after the ?."),
        ("redis://h?prefix=", "The prefix of a store's keys must not be empty."),
        ("rediss://h?ssl_cert_reqs=no", "ssl_cert_reqs in a store's URL must be required, optional or none."),
        ("rediss://h?ssl_check_hostname=1", "ssl_check_hostname in a store's URL must be true or false."),
        (
            "redis+unix://h/run/a.sock",
            "A redis+unix store's URL is redis+unix:/// and the absolute path of a socket.",
        ),
        ("redis+unix://", "A redis+unix store's URL is redis+unix:/// and the absolute path of a socket."),
        (
            "redis+sentinel://h",
            "A redis+sentinel store's URL needs the master's name after the sentinels: /mymaster, for one.",
        ),
        ("redis+cluster://h/1", "A redis+cluster store's database must be 0."),
        (
            "redis+cluster://h?sentinel_password=x",
            "A redis+cluster store's URL has no option 'sentinel_password' after the ?.",
        ),
    ],
)
def test_invalid_parts_of_a_url(url: str, sentence: str) -> None:
    with pytest.raises(InvalidStoreURL) as error:
        open_store(url)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    "url",
    ["redis://shop:secret@h:x", "redis://:secret@h/x", "redis://:secret@a,b", "redis+unix://:secret@h/a"],
)
def test_no_message_contains_the_password(url: str) -> None:
    with pytest.raises(InvalidStoreURL) as error:
        open_store(url)
    assert "secret" not in str(error.value)


def test_an_address_is_shown_without_credentials() -> None:
    whole = parse(split_url("rediss+sentinel://shop:secret@h1,[::1]:5/m?sentinel_password=geheim"))
    assert str(whole) == "h1:26379,[::1]:5/m"
    for secret in ("secret", "geheim"):
        assert secret not in repr(whole)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://", "redis"),
        ("rediss+cluster://h", "redis"),
        ("valkeys+unix:///a", ""),
        ("valkey+unix:///a", "valkey"),
    ],
)
def test_the_scheme_chooses_the_store(url: str, name: str) -> None:
    if not name:
        with pytest.raises(InvalidStoreURL, match="No session store for"):
            open_store(url)
        return
    assert open_store(url).name == name


def test_the_default_prefix() -> None:
    assert parse(split_url("redis://")).prefix == PREFIX == "cart:session:"


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:se?cret@h/0",
        "redis://u:12?cret=x@h/0",
        "redis+sentinel://u:se?cret@h/m",
        "mongodb://u:se/cret@h/cart",
        "mongodb://u:se?cret@h/cart",
        "mongodb://h/cart?authMechanismProperties=AWS_SESSION_TOKEN:se&cret",
        "mongodb://h/cart?maxPoolSize=1;password=secret",
        "memcached://u:se?cret@h",
        "postgresql://u:se@cret@h/d",
        "postgresql://u/v:se?cret=x@h/d",
        "mysql://h:1/d?password=se@cret",
        "mssql://?odbc_connect=PWD%3Dse@cret",
    ],
)
def test_errors_quote_no_part_of_a_password(url: str) -> None:
    with pytest.raises(InvalidStoreURL) as caught:
        open_store(url)
    assert "cret" not in str(caught.value).lower()
