"""The start page of the shop: how soon its first byte comes, and how heavy it is."""

import http.client
from dataclasses import dataclass
from html.parser import HTMLParser
from statistics import median
from time import perf_counter
from urllib.parse import urljoin, urlsplit

from .wrk import BenchmarkError

TIMES = 100


@dataclass(frozen=True)
class Page:
    """What a browser's first visit costs."""

    first_byte: float
    """Milliseconds, the median of many visits."""
    parts: dict[str, int]
    """Bytes as sent, of the page and of all that it loads but pictures."""

    @property
    def size(self) -> int:
        return sum(self.parts.values())


class _Links(HTMLParser):
    """The stylesheets and scripts that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script" and given.get("src"):
            self.found.append(given["src"] or "")
        if tag == "link" and given.get("rel") in ("stylesheet", "modulepreload", "preload"):
            self.found.append(given.get("href") or "")


def links(text: str) -> list[str]:
    """What a browser loads for a page, pictures left out; each once."""
    parser = _Links()
    parser.feed(text)
    return list(dict.fromkeys(parser.found))


def visit(address: str) -> Page:
    """Visit the page as one new visitor after the other. Raises `BenchmarkError` when it is not there."""
    place = urlsplit(address)
    client = http.client.HTTPConnection(str(place.hostname), place.port, timeout=10)
    try:
        taken = [_first_byte(client) for _ in range(TIMES)]
        body = _get(client, "/")
        parts = {"/": len(body)}
        for link in links(body.decode()):
            path = urlsplit(urljoin(address, link))
            parts[path.path] = len(_get(client, link))
    finally:
        client.close()
    return Page(median(taken) * 1000, parts)


def _first_byte(client: http.client.HTTPConnection) -> float:
    begin = perf_counter()
    client.request("GET", "/")
    answer = client.getresponse()
    taken = perf_counter() - begin
    answer.read()
    return taken


def _get(client: http.client.HTTPConnection, path: str) -> bytes:
    client.request("GET", path)
    answer = client.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise BenchmarkError(f"The start page's {path} is answered with {answer.status}.")
    return body
