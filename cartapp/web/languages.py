"""Language tags, and the language that a page is in."""

import re

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

DEFAULT = "en"
COOKIE = "language"
MAX_TAG = 35
"""Characters in a language tag that are always enough (RFC 5646, section 4.4.1)."""

# RFC 5646, section 2.1. The grandfathered tags are those that the general form does not cover.
_TAG = re.compile(
    r"""
    (?: [a-z]{2,3} (?:-[a-z]{3}){0,3} | [a-z]{4} | [a-z]{5,8} )  # language, with its extensions
    (?: -[a-z]{4} )?                                             # script
    (?: -(?:[a-z]{2}|[0-9]{3}) )?                                # region
    (?: -(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}) )*                   # variants
    (?: -[0-9a-wy-z](?:-[a-z0-9]{2,8})+ )*                       # extensions
    (?: -x(?:-[a-z0-9]{1,8})+ )?                                 # private use
    | x(?:-[a-z0-9]{1,8})+
    | en-gb-oed | sgn-be-fr | sgn-be-nl | sgn-ch-de
    | i-(?:ami|bnn|default|enochian|hak|klingon|lux|mingo|navajo|pwn|tao|tay|tsu)
    """,
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)


def is_tag(text: str) -> bool:
    """Whether the text is a well-formed BCP 47 tag of at most `MAX_TAG` characters."""
    return len(text) <= MAX_TAG and _TAG.fullmatch(text) is not None


def from_cookie(headers: Headers) -> str | None:
    """The language of the cookie; None without one, or when it holds no tag."""
    tag = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
    return tag if is_tag(tag) else None


def from_accept_language(header: str) -> str | None:
    """The tag that the browser likes best (RFC 9110, section 12.5.4); of equals, the first."""
    best, highest = None, 0.0
    for choice in header.split(","):
        tag, _, parameter = choice.strip().partition(";")
        weight = _weight(parameter.strip())
        if weight > highest and is_tag(tag.strip()):
            best, highest = tag.strip(), weight
    return best


def _weight(parameter: str) -> float:
    if not parameter:
        return 1.0
    matched = re.fullmatch(r"q=([01](?:\.[0-9]{0,3})?)", parameter, re.ASCII | re.IGNORECASE)
    return float(matched[1]) if matched else 0.0


def page_language(preference: str | None, headers: Headers) -> str:
    """The session's preference, then the cookie, then what the browser accepts, then English."""
    return (
        preference
        or from_cookie(headers)
        or from_accept_language(headers.get("accept-language", ""))
        or DEFAULT
    )
