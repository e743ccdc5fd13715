"""Server-side sessions for any Starlette or FastAPI application: no lost update, no resurrected session.

    app.add_middleware(SessionMiddleware, store="file:///var/lib/shop/sessions")

Further packages: `cartapp.session.fastapi` (dependencies), `cartapp.session.stores` (backends and wrappers),
`cartapp.session.admin` (sessions outside a request).
"""

import os

if os.name != "posix":  # file locks, and generators that a forked process seeds again
    raise ImportError("cartapp.session requires Linux or macOS.")

from .admin.sessions import SessionInfo, Sessions
from .commit import OnCount
from .cookies import CookieOptions, Headers, cookie_values, read_cookie
from .crypto import KeyRing, is_strong, new_secret
from .error_responses import (
    HANDLED_ERRORS,
    RETRY_AFTER,
    default_error_response,
    error_message,
    error_status,
)
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
    UnusableURL,
)
from .hooks import Hooks
from .lifespan import session_lifespan
from .manager import SessionManager
from .middleware import SessionMiddleware, is_prefetch, session_of
from .operations import REMOVE
from .policy import IsCurrent, SessionPolicy
from .record import Clock, now
from .session import Session
from .stores.registry import open_store

__all__ = [
    "HANDLED_ERRORS",
    "REMOVE",
    "RETRY_AFTER",
    "Clock",
    "CookieOptions",
    "Headers",
    "Hooks",
    "InvalidStoreURL",
    "IsCurrent",
    "KeyRing",
    "MissingDriver",
    "OnCount",
    "Session",
    "SessionBusy",
    "SessionEnded",
    "SessionError",
    "SessionInfo",
    "SessionManager",
    "SessionMiddleware",
    "SessionNotLoaded",
    "SessionPolicy",
    "SessionTooLarge",
    "Sessions",
    "StoreNotSupported",
    "StoreUnavailable",
    "UnreadableRecord",
    "UnsupportedValue",
    "UnusableURL",
    "cookie_values",
    "default_error_response",
    "error_message",
    "error_status",
    "is_prefetch",
    "is_strong",
    "new_secret",
    "now",
    "open_store",
    "read_cookie",
    "session_lifespan",
    "session_of",
]
