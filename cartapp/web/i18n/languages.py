"""Language tags, and the choice of a page's language."""

import re

from babel import localedata
from starlette.datastructures import Headers

from cartapp.session import cookie_values

DEFAULT = "en"
TRANSLATED = ("en", "de", "ar")
"""Languages of the pages: English (the templates) and the catalogs in `locales/`."""
COOKIE = "language"
MAX_TAG = 35
"""Maximum length of a language tag in characters (RFC 5646, section 4.4.1)."""

_MAX_CHOICES = 50  # in Accept-Language; browsers send fewer than ten
_REGION = re.compile(r"[a-z]{2}|[0-9]{3}", re.ASCII | re.IGNORECASE)

# RFC 5646, section 2.1. The last two lines are grandfathered tags that the general form does not match.
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
    """The language tag in the cookie; None without a valid one.

    Of several cookies the last counts: browsers send longer paths first, and ours has the path `/`.
    """
    value = next(reversed(cookie_values(headers.raw, COOKIE)), "")
    tag = value[1:-1] if value.startswith('"') and value.endswith('"') else value  # RFC 6265, section 4.1.1
    return tag if is_tag(tag) else None


def from_accept_language(header: str) -> list[str]:
    """The accepted tags by descending quality; equal ones keep their order (RFC 9110, section 12.5.4)."""
    weighed = []
    for choice in header.split(",")[:_MAX_CHOICES]:
        tag, _, parameter = choice.strip().partition(";")
        weight = _weight(parameter.strip())
        if weight > 0 and is_tag(tag.strip()):
            weighed.append((weight, tag.strip()))
    return [tag for _, tag in sorted(weighed, key=lambda one: -one[0])]


def _weight(parameter: str) -> float:
    if not parameter:
        return 1.0
    matched = re.fullmatch(r"q=([01](?:\.[0-9]{0,3})?)", parameter, re.ASCII | re.IGNORECASE)
    return float(matched[1]) if matched else 0.0


def page_language(preference: str | None, headers: Headers) -> str:
    """The tag of a page: a translated language, with a region if Babel knows it.

    Looked up in the session's preference, the cookie and `Accept-Language`, in this order (RFC 4647,
    section 3.4); defaults to English.
    """
    candidates = (preference, from_cookie(headers), *from_accept_language(headers.get("accept-language", "")))
    return next((found for tag in candidates if tag and (found := _lookup(tag))), DEFAULT)


def _lookup(tag: str) -> str | None:
    """The longest supported prefix of a tag: `de-AT` for `de-AT-1996`."""
    language, *others = tag.split("-")
    language = language.lower()
    if language not in TRANSLATED:
        return None
    # A script such as Latn may precede the region; subtags after the region are ignored.
    region = next((other.upper() for other in others[:2] if _REGION.fullmatch(other)), None)
    with_region = region is not None and localedata.exists(f"{language}_{region}")
    return f"{language}-{region}" if with_region else language
