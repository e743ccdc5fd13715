"""A plain session: a request loads it, changes it, and stores it again.

The last writer replaces what others stored in between, and a late writer revives a session that has ended.
Never use it outside this comparison.
"""

import secrets
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any

import msgspec

from cartapp.session import now
from cartapp.session.stores import Record, Store


class PlainSessions:
    """Plain sessions in a session store."""

    def __init__(self, store: Store, *, ttl: float) -> None:
        self._store, self._ttl = store, round(ttl * 1000)

    @staticmethod
    def new_id() -> str:
        """Return a new session ID."""
        return secrets.token_urlsafe()

    async def load(self, session_id: str) -> dict[str, Any]:
        """Return the data of a session; empty without one."""
        record = await self._store.load(_key(session_id))
        data: dict[str, Any] = msgspec.json.decode(record.data) if record else {}
        return data

    async def write(self, session_id: str, data: dict[str, Any]) -> None:
        """Store the data, whatever is stored now: a store's usual SET with an expiry."""
        key = _key(session_id)
        while True:
            present = await self._store.load(key)
            time = now()
            record = Record(key, time, time, time + self._ttl, msgspec.json.encode(data))
            if present is None:
                version = await self._store.create(record)
            else:
                version = await self._store.save(record, expected=present.version)
            if version is not None:
                return

    async def delete(self, session_id: str) -> None:
        """Remove the session."""
        await self._store.delete(_key(session_id))


def _key(session_id: str) -> str:
    """Return the key in the store, which no ID shares with a session of the application."""
    digest = sha256(f"plain {session_id}".encode()).digest()[:16]
    return urlsafe_b64encode(digest).decode().rstrip("=")
