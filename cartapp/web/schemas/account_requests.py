"""Request bodies and path parameters of accounts."""

import re
from typing import Annotated

from fastapi import Path

from .requests import RequestModel
from .types import MAX_EMAIL, Email, Flag, Password, PersonName, text, text_schema

_OWN_PATH = re.compile(r"/(?!/)[!-\[\]-~]*")  # no backslash, which browsers take for a slash


class Registration(RequestModel):
    """A new user."""

    name: PersonName
    email: Email
    password: Password


class Credentials(RequestModel):
    """A log-in. A malformed address gets the same response as an unknown one."""

    email: Annotated[str, text(MAX_EMAIL), text_schema(MAX_EMAIL)]
    password: Password
    remember_me: Flag = False
    next: Annotated[str, text(2000), text_schema(2000)] = ""


class PasswordChange(RequestModel):
    """A new password, and the current one."""

    current_password: Password
    new_password: Password


class UserProfileUpdate(RequestModel):
    """A user's profile; a new address requires the password."""

    name: PersonName = ""
    email: Email = ""
    current_password: Password = ""


SessionHandlePath = Annotated[
    str,
    Path(description="The session's handle", openapi_examples={"one": {"value": "AAAAAAAAAAAAAAAAAAAAAA"}}),
]


def own_path(text: str) -> str | None:
    """Return the text if it is a path of this shop; None for anything that could lead elsewhere (CWE-601)."""
    return text if _OWN_PATH.fullmatch(text) else None
