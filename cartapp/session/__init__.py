"""A session layer for any Starlette or FastAPI application: no lost update, no resurrected session.

app.add_middleware(SessionMiddleware, store=open_store("file:///var/lib/shop/sessions"))
"""

from .cookies import CookieOptions
from .errors import (
    InvalidStoreURL,
    MissingDriver,
    SessionBusy,
    SessionEnded,
    SessionError,
    SessionNotLoaded,
    SessionTooLarge,
    StoreNotSupported,
    StoreUnavailable,
    UnreadableRecord,
    UnsupportedValue,
)
from .hooks import Hooks
from .middleware import SessionMiddleware
from .operations import GONE
from .session import Session
from .sessions import SessionInfo, Sessions
from .stores import open_store

__all__ = [
    "GONE",
    "CookieOptions",
    "Hooks",
    "InvalidStoreURL",
    "MissingDriver",
    "Session",
    "SessionBusy",
    "SessionEnded",
    "SessionError",
    "SessionInfo",
    "SessionMiddleware",
    "SessionNotLoaded",
    "SessionTooLarge",
    "Sessions",
    "StoreNotSupported",
    "StoreUnavailable",
    "UnreadableRecord",
    "UnsupportedValue",
    "open_store",
]
