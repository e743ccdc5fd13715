"""Parse the URL of a Redis or Valkey store."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote

from ...errors import InvalidStoreURL
from ..base import PREFIX
from ..urls import format_host, parse_hosts

PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_TLS_SCHEMES: Final = ("rediss", "valkeys")
_TLS_OPTIONS: Final = (
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_cert_reqs",
    "ssl_check_hostname",
)
_TRUTH: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of the URL. Logins and TLS are arguments of the driver's connections, and never shown."""

    backend: str
    """`redis` or `valkey`, by the scheme; both use the same protocol."""
    kind: str
    """Empty for one server on TCP, or `unix`, `sentinel`, `cluster`."""
    hosts: tuple[tuple[str, int], ...] = ()
    """The server, the sentinels, or some nodes of the cluster."""
    path: str = ""
    """The Unix socket."""
    master: str = ""
    """The master's name at the sentinels."""
    database: int = 0
    prefix: str = PREFIX
    """Prefix of every key."""
    login: Mapping[str, str] = field(default_factory=dict, repr=False)
    sentinel_login: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: Mapping[str, Any] | None = field(default=None, repr=False)
    """None for a connection without TLS."""

    def __str__(self) -> str:
        where = self.path or ",".join(format_host(*host) for host in self.hosts)
        return f"{where}/{self.master}" if self.master else where


def parse(url: SplitResult) -> Address:
    """Return the address in a URL. Raises `InvalidStoreURL`; its message never contains the password.

    redis://[[user]:password@]host[:port][/database]
    redis+unix://[[user]:password@]/path/of/socket
    redis+sentinel://[[user]:password@]host[:port],host[:port]/master[/database]
    redis+cluster://[[user]:password@]host[:port],host[:port]

    `valkey` is an alias of `redis`; `rediss` and `valkeys` use TLS. Options after `?`: `prefix` for all,
    `db` where there is a database, `sentinel_username` and `sentinel_password`, and redis-py's own
    `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, `ssl_cert_reqs` and `ssl_check_hostname`.
    """
    scheme, _, kind = url.scheme.partition("+")
    login, _, hosts = url.netloc.rpartition("@")
    options = dict(parse_qsl(url.query, keep_blank_values=True))
    prefix = options.pop("prefix", PREFIX)
    tls = _tls(options) if scheme in _TLS_SCHEMES else None
    sentinel_login = _sentinel_login(options) if kind == "sentinel" else {}
    path = [unquote(part) for part in url.path.split("/")[1:]]
    master = path.pop(0) if kind == "sentinel" and path else ""
    in_path = "" if kind == "unix" or not path else path.pop(0)
    database = options.pop("db", "") or in_path or "0"
    if options:
        raise InvalidStoreURL(
            f"A {url.scheme} store's URL has no option {next(iter(options))!r} after the ?."
        )
    if not prefix:
        raise InvalidStoreURL("The prefix of a store's keys must not be empty.")
    if (path and kind != "unix") or url.fragment:
        raise InvalidStoreURL(f"A {url.scheme} store's URL has something too much at its end.")
    if not database.isdecimal() or (kind == "cluster" and int(database)):
        raise InvalidStoreURL(
            f"A {url.scheme} store's database must be {'0' if kind == 'cluster' else 'a number'}."
        )
    address = Address(
        "valkey" if scheme.startswith("valkey") else "redis",
        kind,
        () if kind == "unix" else parse_hosts(hosts, _SENTINEL_PORT if kind == "sentinel" else PORT),
        unquote(url.path) if kind == "unix" else "",
        master,
        int(database),
        prefix,
        _login(login),
        sentinel_login,
        tls,
    )
    _check(address, hosts, url.scheme)
    return address


def _check(address: Address, hosts: str, scheme: str) -> None:
    if address.kind == "unix" and (hosts or address.path in ("", "/")):
        raise InvalidStoreURL(f"A {scheme} store's URL is {scheme}:/// and the absolute path of a socket.")
    if address.kind == "" and len(address.hosts) > 1:
        raise InvalidStoreURL(
            f"A {scheme} store has one server; {scheme}+sentinel and {scheme}+cluster have several."
        )
    if address.kind == "sentinel" and not address.master:
        raise InvalidStoreURL(
            f"A {scheme} store's URL needs the master's name after the sentinels: /mymaster, for one."
        )


def _login(text: str) -> dict[str, str]:
    username, _, password = (unquote(part) for part in text.partition(":"))
    return _filled(username=username, password=password)


def _sentinel_login(options: dict[str, str]) -> dict[str, str]:
    username, password = options.pop("sentinel_username", ""), options.pop("sentinel_password", "")
    return _filled(username=username, password=password)


def _filled(**given: str) -> dict[str, str]:
    return {name: value for name, value in given.items() if value}


def _tls(options: dict[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {name: options.pop(name) for name in _TLS_OPTIONS if name in options}
    if given.get("ssl_cert_reqs", "required") not in ("required", "optional", "none"):
        raise InvalidStoreURL("ssl_cert_reqs in a store's URL must be required, optional or none.")
    if "ssl_check_hostname" in given:
        check = given["ssl_check_hostname"].lower()
        if check not in _TRUTH:
            raise InvalidStoreURL("ssl_check_hostname in a store's URL must be true or false.")
        given["ssl_check_hostname"] = _TRUTH[check]
    return given
