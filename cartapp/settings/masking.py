"""Masking of secrets in settings and URLs."""

import re
from typing import Any, Final
from urllib.parse import unquote

from .model import SECRET_FIELDS, VARIABLES, Settings

_SECRET_OPTION: Final = re.compile("pass|pwd|secret|token|connect|auth|cred|key|sign", re.IGNORECASE)
"""Names of URL options with masked values: passwords, connection strings, keys, and authentication mechanisms
with properties such as MongoDB's AWS_SESSION_TOKEN."""

_LOGIN: Final = re.compile("(:/*[^:]*?(?::|%3a))(.*)@(.*)", re.IGNORECASE | re.DOTALL)
"""User name, password up to the last `@`, and the rest of a URL."""


def masked_values(settings: Settings) -> dict[str, Any]:
    """Return the value of each variable as JSON types, secrets masked."""
    values = settings.model_dump(mode="json")
    for field in SECRET_FIELDS & {field for field, value in values.items() if value}:
        values[field] = masked_url(values[field]) if field.endswith("_url") else "***"
    return {VARIABLES[field]: value for field, value in values.items()}


def masked_url(url: str) -> str:
    """Return the URL with every possible password masked; in doubt, more is masked.

    Special characters may lack their percent-encoding: `@` in a user name, `?` in a password, or `;` instead
    of `&` between options.
    """
    url = _LOGIN.sub(_mask_login, url, count=1)
    url, fragment, _ = url.partition("#")
    base, question, query = url.partition("?")
    if _is_secret(base):
        base = re.sub("[;=].*", "***", base)
    options = re.split("([&;])", query) if question else []
    masked = (part if part in ("", "&", ";") else _mask_option(part) for part in options)
    return f"{base}{question}{''.join(masked)}{fragment and '#***'}"


def _mask_login(match: re.Match[str]) -> str:
    start, password, rest = match.groups()
    # A password with a question mark may as well be an option with an `@`; then the rest is not the host.
    return f"{start}***" if re.search("[?;]", password) else f"{start}***@{rest}"


def _mask_option(option: str) -> str:
    """Mask the value of an option that may be secret, and text without a name: it may end such a value."""
    name, mark, value = option.partition("=")
    if not mark:
        return "***"
    return f"{name}=***" if value and _is_secret(option) else option


def _is_secret(text: str) -> bool:
    """Return whether a text may contain a secret, also if it was percent-encoded twice."""
    return _SECRET_OPTION.search(unquote(unquote(text))) is not None
