"""Parse the URL of a MongoDB store."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode

from ...errors import InvalidStoreURL

DATABASE: Final = "cart"
PORT: Final = 27017
_COLLECTION: Final = "sessions"


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of the URL."""

    uri: str = field(repr=False)
    """The URL for the driver, without the options of the store."""
    options: frozenset[str]
    """Names of the driver options that the URL sets, in lower case."""
    hosts: str
    """The servers, without user and password."""
    database: str = DATABASE
    collection: str = _COLLECTION

    def __str__(self) -> str:
        return f"{self.hosts}/{self.database}"


def parse(url: SplitResult) -> Address:
    """Return the address in a URL. Raises `InvalidStoreURL`; its message never contains the password.

    mongodb://[user:password@]host[:port][,host[:port]…][/database][?collection=…&…]
    mongodb+srv://[user:password@]name[/database][?collection=…&…]

    All other options are the driver's own.
    """
    options = parse_qsl(url.query, keep_blank_values=True)
    collection = dict(options).get("collection", _COLLECTION)
    rest = [(name, value) for name, value in options if name != "collection"]
    database = unquote(url.path[1:]) or DATABASE
    if url.fragment:
        raise InvalidStoreURL(f"A {url.scheme} store's URL has no part after a #.")
    if set(database) & set('/\\. "$\0'):
        raise InvalidStoreURL(f"{database!r} in a {url.scheme} store's URL is no name of a database.")
    no_name = collection.startswith("system.") or "" in collection.split(".")
    if no_name or set(collection) & set("$\0"):
        raise InvalidStoreURL(f"{collection!r} in a {url.scheme} store's URL is no name of a collection.")
    query = f"?{urlencode(rest)}" if rest else ""
    return Address(
        # The path is kept: the driver authenticates against this database.
        f"{url.scheme}://{url.netloc}{url.path or '/'}{query}",
        frozenset(name.lower() for name, _ in rest),
        url.netloc.rpartition("@")[2],
        database,
        collection,
    )
