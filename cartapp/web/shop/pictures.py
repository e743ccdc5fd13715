"""Product pictures: SVG files in `static/products/`, found by the product's name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cartapp.messages import _

from ..static import static_url


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's URL, and its alternative text in English."""

    address: str
    shows: str


_SHOWS: Mapping[str, str] = {
    "wireless-keyboard": _("A long white keyboard with one green key"),
    "usb-c-hub": _("A slim grey box with a cable and a row of sockets"),
    "wireless-mouse": _("A rounded grey mouse seen from above"),
    "27-inch-monitor": _("A wide screen on a stand, with a hilly landscape on it"),
    "laptop-stand": _("A laptop raised on a folded metal stand"),
    "webcam": _("A round camera on a foot, its shutter half closed"),
    "headset": _("Closed headphones with a microphone on an arm"),
    "desk-lamp": _("A jointed lamp that throws a cone of warm light"),
    "desk-mat": _("A grey felt mat half rolled up"),
    "usb-c-cable-2-m": _("A coiled green cable with two metal plugs"),
    "charger-65-w": _("A small white plug with three sockets"),
    "power-bank-20-ah": _("A dark battery with four lights"),
    "portable-ssd-1-tb": _("A small blue box with a loop to carry it by"),
    "usb-stick-128-gb": _("A green stick with a plug at each end"),
    "memory-card-256-gb": _("A memory card next to its larger adapter"),
    "network-cable-5-m": _("A blue cable with the clear plug of a network"),
    "wi-fi-router": _("A flat white router with two aerials and waves above it"),
    "bluetooth-speaker": _("A red speaker with a strap"),
    "e-book-reader": _("A flat reader with a page of text on it"),
    "screen-cleaning-kit": _("A spray bottle next to two folded cloths"),
    "cable-clips-20-pieces": _("Three small clips that hold cables"),
    "monitor-arm": _("A jointed arm that carries a screen over the edge of a desk"),
    "backpack-22-l": _("A green backpack with a front pocket"),
    "notebook-dotted": _("A green notebook with a ribbon and a pencil on it"),
    "fountain-pen": _("A dark pen with a golden nib, drawing a line"),
    "ceramic-mug": _("A mug with a wavy stripe, steaming"),
    "wall-clock": _("A round clock that shows ten past ten"),
    "desk-fan": _("A small fan on a round foot"),
    "footrest": _("A tilted wooden board on two feet"),
    "usb-microphone": _("A microphone on a low stand"),
    "graphics-tablet": _("A dark tablet with a drawn leaf, and a pen"),
    "power-strip": _("A white strip with a row of sockets and a red switch"),
    "sticky-notes-12-pads": _("Four pads of sticky notes in four colours"),
    "bookends-pair": _("A row of books between two bookends"),
    "water-bottle-0-75-l": _("A blue bottle with a green lid"),
    "pothos-in-a-pot": _("A pot with long hanging leaves"),
}
"""Alternative texts by file name."""

_OTHER = "other"  # a parcel, for products without a picture


def get_picture(name: str) -> Picture:
    """The picture of the product with this name."""
    drawn = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    file = drawn if drawn in _SHOWS else _OTHER
    return Picture(static_url(f"products/{file}.svg"), _SHOWS.get(drawn, ""))
