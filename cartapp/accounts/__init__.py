"""Users, passwords, log-ins, remember-me tokens and the login rate limit."""

from .accounts import Accounts, NewLogin, PendingPasswordChange
from .administration import UserAdministration
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
from .logins import TOKEN_LIFETIME, RememberedLogin, Token, parse_token
from .rate_limit import RateLimit, network_from_host
from .users import User

__all__ = [
    "TOKEN_LIFETIME",
    "AccountError",
    "Accounts",
    "EmailTaken",
    "InvalidCredentials",
    "NewLogin",
    "NoSuchUser",
    "PendingPasswordChange",
    "RateLimit",
    "RememberedLogin",
    "Token",
    "TooBusy",
    "TooManyAttempts",
    "User",
    "UserAdministration",
    "WeakPassword",
    "WrongPassword",
    "network_from_host",
    "parse_token",
]
