"""Security events in the log. They hold no session ID, token or password.

Each is one line, `event=login_failed account=… network=…`; JSON logs have the fields separately as well. An
account that may not exist is logged as a hash of the input, since users sometimes enter the password there. A
session is logged by its public handle.
"""

import json
import logging
from typing import Literal

from .users import email_key

logger = logging.getLogger("cartapp.security")

Event = Literal[
    "registered",
    "registration_refused",
    "registration_limited",
    "login_succeeded",
    "login_failed",
    "login_incomplete",
    "login_limited",
    "password_queue_full",
    "login_remembered",
    "logged_out",
    "remember_me_theft",
    "session_ended",
    "other_sessions_ended",
    "password_changed",
    "password_change_failed",
    "email_changed",
    "email_change_failed",
    "user_disabled",
    "user_enabled",
    "user_logged_out",
    "user_removed",
]

_WARNINGS = (
    "registration_limited",
    "login_failed",
    "login_incomplete",
    "login_limited",
    "password_queue_full",
    "remember_me_theft",
    "password_change_failed",
    "email_change_failed",
)


def record(event: Event, **fields: str | None) -> None:
    """Log an event. Fields that are None are left out."""
    known = {"event": event, **{name: value for name, value in fields.items() if value is not None}}
    line = " ".join(f"{name}={_quoted(value)}" for name, value in known.items())
    logger.log(logging.WARNING if event in _WARNINGS else logging.INFO, "%s", line, extra={"fields": known})


def account(email: str) -> str:
    """Return the identifier of an account in the log."""
    return email_key(email)[:12]


def _quoted(value: str) -> str:
    """Return the value as one word, so that it cannot forge a line or field of the log."""
    plain = value.isascii() and value.isprintable() and not set(value) & set(' "=\\')
    return value if plain and value else json.dumps(value)
