"""What requests about accounts may say."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Path

from cartapp.cart import MAX_NAME

from .fields import MAX_EMAIL, Email, Kind, Secret, Text
from .inputs import Input

_OWN_PATH = re.compile(r"/(?!/)[!-\[\]-~]*")  # no backslash, which browsers take for a slash


@dataclass(frozen=True)
class PersonName(Text):
    """A name as people write it: no control characters."""

    high: int = MAX_NAME

    @property
    def problem(self) -> str:
        """The limit."""
        return f"{super().problem} without control characters"

    def read(self, value: object) -> str:
        """The name without blanks around it."""
        name = super().read(value).strip()
        if any(unicodedata.category(character) == "Cc" for character in name):
            raise ValueError
        return name

    def schema(self) -> Mapping[str, Any]:
        """A string; the pattern is the common form."""
        return {"type": "string", "maxLength": self.high, "pattern": "^[A-Za-z]{1,40}$"}


@dataclass(frozen=True)
class Address(Email):
    """An e-mail address that must be given."""

    def read(self, value: object) -> str:
        """The address."""
        if value == "":
            raise ValueError
        return super().read(value)

    def schema(self) -> Mapping[str, Any]:
        """A string; the pattern is the common form."""
        return {"type": "string", "pattern": r"^[a-z]{1,20}@[a-z]{1,20}\.[a-z]{2,20}$"}


@dataclass(frozen=True)
class Flag(Kind):
    """A box that is ticked or not, or JSON's true and false."""

    @property
    def problem(self) -> str:
        """The words."""
        return "must be true or false"

    def read(self, value: object) -> bool:
        """Whether it is ticked; forms say `on`."""
        words = {"": False, "false": False, "0": False, "off": False, "true": True, "1": True, "on": True}
        if isinstance(value, bool):
            return value
        if not isinstance(value, str) or value.lower() not in words:
            raise ValueError
        return words[value.lower()]

    def schema(self) -> Mapping[str, Any]:
        """A boolean, or its words."""
        return {"anyOf": [{"type": "boolean"}, {"type": "string", "enum": ["true", "false", "on", "off"]}]}


class Registration(Input):
    """A new user."""

    name: Annotated[str, PersonName()]
    email: Annotated[str, Address()]
    password: Annotated[str, Secret()]


class Credentials(Input):
    """A log-in. An address that cannot be one is as wrong as any other."""

    email: Annotated[str, Text(MAX_EMAIL, blank=True)]
    password: Annotated[str, Secret()]
    remember_me: Annotated[bool, Flag()] = False
    next: Annotated[str, Text(2000, blank=True)] = ""


class PasswordChange(Input):
    """A new password, and the one that it replaces."""

    current_password: Annotated[str, Secret()]
    new_password: Annotated[str, Secret()]


class UserProfile(Input):
    """What a user may change; another address takes the password."""

    name: Annotated[str, PersonName()] = ""
    email: Annotated[str, Address()] = ""
    current_password: Annotated[str, Secret()] = ""


HandleInPath = Annotated[
    str,
    Path(description="The session's handle", openapi_examples={"one": {"value": "AAAAAAAAAAAAAAAAAAAAAA"}}),
]


def own_path(text: str) -> str | None:
    """Return the text if it is a path of this shop; None for anything that could lead elsewhere (CWE-601)."""
    return text if _OWN_PATH.fullmatch(text) else None
