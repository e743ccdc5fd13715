"""Security events in the log: who did what from where, never an id, a token or a password.

Each is one line, `event=login_failed account=… network=…`; with JSON logs the fields stand beside the message
too. An account that may not exist is named by a hash of what was typed, since people also type their password
there by mistake; a session is named by its public handle.
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
    """Write one event with the fields that are known."""
    known = {"event": event, **{name: value for name, value in fields.items() if value is not None}}
    line = " ".join(f"{name}={_quoted(value)}" for name, value in known.items())
    logger.log(logging.WARNING if event in _WARNINGS else logging.INFO, "%s", line, extra={"fields": known})


def account(email: str) -> str:
    """The name of an account in the log."""
    return email_key(email)[:12]


def _quoted(value: str) -> str:
    """The value as one word, so that nobody can write a line or a field of their own into the log."""
    plain = value.isascii() and value.isprintable() and not set(value) & set(' "=\\')
    return value if plain and value else json.dumps(value)
