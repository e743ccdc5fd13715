"""The pictures of products: SVG files under `static/products/`, found by a product's name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .static import static_url


def _(text: str) -> str:
    """Mark a text for extraction."""
    return text


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture: its address, and what it shows, in English."""

    address: str
    shows: str


_SHOWS: Mapping[str, str] = {}
"""The pictures that there are, and what each shows to somebody who cannot see it."""

_OTHER = "other"  # a parcel, for products that somebody else put into the catalogue


def picture_of(name: str) -> Picture:
    """The picture of a product."""
    drawn = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    file = drawn if drawn in _SHOWS else _OTHER
    return Picture(static_url(f"products/{file}.svg"), _SHOWS.get(drawn, ""))
