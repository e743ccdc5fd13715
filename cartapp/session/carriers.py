"""What travels in the cookie: an id beside a store."""

from typing import Protocol

from .record import is_id
from .stores.base import Store


class Carrier(Protocol):
    """Turns a cookie's value into an id and the place its record is kept, and back."""

    def arrive(self, cookie: str | None) -> tuple[str | None, Store]:
        """The id in a cookie, None when it is not well-formed, and where to look for its record."""
        ...

    def leave(self, session_id: str, home: Store) -> str:
        """The cookie's value for a committed session."""
        ...


class IdCarrier:
    """The cookie holds the id; the record is in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def arrive(self, cookie: str | None) -> tuple[str | None, Store]:
        """Only the exact form of an id is one; anything else never reaches the store."""
        return (cookie if cookie is not None and is_id(cookie) else None), self._store

    def leave(self, session_id: str, home: Store) -> str:  # noqa: ARG002 - the protocol's shape
        """The id itself."""
        return session_id
