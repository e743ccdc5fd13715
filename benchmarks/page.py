"""The start page of the shop: time to first byte and size."""

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
    """Cost of a first visit."""

    first_byte: float
    """Median time to first byte in milliseconds."""
    parts: dict[str, int]
    """Bytes on the wire by path: the page and everything it loads except images."""

    @property
    def size(self) -> int:
        return sum(self.parts.values())


class _Links(HTMLParser):
    """Collect the stylesheets and scripts of a page."""

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
    """Return the URLs that a page loads, without images and duplicates."""
    parser = _Links()
    parser.feed(text)
    return list(dict.fromkeys(parser.found))


def measure(address: str) -> Page:
    """Request the page as new visitors, one after another. Raises `BenchmarkError` unless 200."""
    place = urlsplit(address)
    client = http.client.HTTPConnection(str(place.hostname), place.port, timeout=10)
    try:
        times = [_first_byte(client) for _ in range(TIMES)]
        body = _get(client, "/")
        parts = {"/": len(body)}
        for link in links(body.decode()):
            path = urlsplit(urljoin(address, link))
            parts[path.path] = len(_get(client, link))
    finally:
        client.close()
    return Page(median(times) * 1000, parts)


def _first_byte(client: http.client.HTTPConnection) -> float:
    begin = perf_counter()
    client.request("GET", "/")
    response = client.getresponse()
    elapsed = perf_counter() - begin
    response.read()
    return elapsed


def _get(client: http.client.HTTPConnection, path: str) -> bytes:
    client.request("GET", path)
    response = client.getresponse()
    body = response.read()
    if response.status != 200:
        raise BenchmarkError(f"GET {path} of the start page: status {response.status}")
    return body
