"""Users, their passwords and log-ins, remembered devices, and limits for guessing."""

from .accounts import Accounts, LoggedIn, PendingPassword
from .administration import UserAdministration
from .attempts import Limit, network_of
from .errors import (
    AccountError,
    EmailTaken,
    InvalidCredentials,
    NoSuchUser,
    TooBusy,
    TooManyAttempts,
    WeakPassword,
    WrongPassword,
)
from .logins import TOKEN_LIFE, Recognised, Token, parse_token
from .users import User

__all__ = [
    "TOKEN_LIFE",
    "AccountError",
    "Accounts",
    "EmailTaken",
    "InvalidCredentials",
    "Limit",
    "LoggedIn",
    "NoSuchUser",
    "PendingPassword",
    "Recognised",
    "Token",
    "TooBusy",
    "TooManyAttempts",
    "User",
    "UserAdministration",
    "WeakPassword",
    "WrongPassword",
    "network_of",
    "parse_token",
]
