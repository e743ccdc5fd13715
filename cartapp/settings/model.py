"""The settings: one field per variable, with its type, default and validation."""

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_serializer, model_validator

from cartapp.session.stores import (
    BACKENDS,
    InvalidPart,
    URLParts,
    base_scheme,
    find_backend,
    get_backend,
    split_url,
)

from . import types as kind

SameSite = Literal["Lax", "Strict", "None"]
Access = Literal["open", "closed"]
Environment = Literal["development", "production"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
Origin = Literal["default", ".env", ".env.local", "environment", "command line"]
"""Source of a value, in order of precedence, lowest first."""

_SCHEMES = dict.fromkeys(base_scheme(scheme) for backend in BACKENDS for scheme in backend.schemes)


class SettingsError(Exception):
    """Invalid settings. Each message names a variable and the expected value."""

    def __init__(self, *messages: str) -> None:
        super().__init__("\n".join(messages))
        self.messages = messages


class Settings(BaseModel):
    """All settings. `session_ttl` is `CART_SESSION_TTL`; `.env` documents each variable.

    Immutable. Times are in seconds, sizes in bytes. Secrets are left out of `repr`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    session_backend: Annotated[str, kind.one_of(*(backend.name for backend in BACKENDS))] = "file"
    session_url: Annotated[str | None, kind.url(*_SCHEMES)] = Field(None, repr=False)
    session_host: Annotated[str, kind.HOST] = "localhost"
    session_port: Annotated[int | None, kind.integer(1, 65535)] = None
    session_password: Annotated[str | None, kind.PASSWORD] = Field(None, repr=False)
    session_database: Annotated[str | None, kind.pattern("a name or number", r"[A-Za-z0-9_-]{1,63}")] = None
    session_collection: Annotated[str, kind.COLLECTION] = "sessions"
    session_path: Annotated[str, kind.PATH] = "data/sessions"
    session_pool_size: Annotated[int, kind.integer(1, 1000)] = 10
    session_timeout: Annotated[float, kind.SECONDS] = 2.0
    session_eager: Annotated[bool, kind.BOOLEAN] = False
    session_ttl: Annotated[int, kind.integer(1, kind.TEN_YEARS)] = 3600
    session_max_age: Annotated[int, kind.integer(1, kind.TEN_YEARS)] = 604800
    session_name: Annotated[str, kind.COOKIE_NAME] = "cart_session"
    session_samesite: Annotated[SameSite, kind.one_of(*get_args(SameSite))] = "Lax"
    session_httponly: Annotated[bool, kind.BOOLEAN] = True
    session_secure: Annotated[Literal["auto"] | bool, kind.AUTO_OR_BOOLEAN] = "auto"
    session_cookie_domain: Annotated[str | None, kind.COOKIE_DOMAIN] = None
    session_cookie_path: Annotated[str, kind.COOKIE_PATH] = "/"
    session_max_bytes: Annotated[int, kind.integer(64, 16_777_216)] = 65536
    session_encrypt: Annotated[bool, kind.BOOLEAN] = False
    session_sweep: Annotated[bool, kind.BOOLEAN] = True
    secret_key: Annotated[str | None, kind.SECRET] = Field(None, repr=False)
    secret_keys_old: Annotated[tuple[str, ...], kind.SECRETS] = Field((), repr=False)
    database_url: Annotated[str, kind.url(*get_backend("database").schemes)] = Field(
        "sqlite+aiosqlite:///data/cart.db", repr=False
    )
    catalog: Annotated[Access, kind.one_of(*get_args(Access))] = "open"
    registration: Annotated[Access, kind.one_of(*get_args(Access))] = "open"
    metrics: Annotated[bool, kind.BOOLEAN] = False
    audit_log: Annotated[str, kind.FILE] = "data/audit.log"
    drain: Annotated[int, kind.integer(0, 300)] = 0
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], kind.NETWORKS] = ()
    trusted_origins: Annotated[tuple[str, ...], kind.ORIGINS] = ()
    login_limit: Annotated[kind.Rate, kind.RATE] = kind.Rate(10, "minute")
    env: Annotated[Environment, kind.one_of(*get_args(Environment))] = "development"
    log_level: Annotated[LogLevel, kind.one_of(*get_args(LogLevel))] = "INFO"

    _origins: dict[str, Origin] = PrivateAttr(default_factory=dict)
    _argument: str | None = PrivateAttr(None)
    _notices: list[str] = PrivateAttr(default_factory=list)

    @field_serializer("login_limit")
    def _rate_as_text(self, rate: kind.Rate) -> str:
        return str(rate)

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if problems := _conflicts(self):
            raise ValueError("\n".join(problems))
        return self

    @property
    def production(self) -> bool:
        """Whether `CART_ENV` is `production`."""
        return self.env == "production"

    @property
    def backend(self) -> str:
        """Name of the backend that `CART_SESSION_URL` or `CART_SESSION_BACKEND` selects."""
        return find_backend(_get_scheme(self.store_url)).name

    @property
    def store_url(self) -> str:
        """URL of the session store: `CART_SESSION_URL`, or one built from the backend and its parts."""
        if self.session_url:
            return self.session_url
        return get_backend(self.session_backend).build_url(
            URLParts(
                host=self.session_host,
                port=self.session_port,
                password=self.session_password,
                database=self.session_database,
                collection=self.session_collection,
                path=self.session_path,
                database_url=self.database_url,
            )
        )

    @property
    def store_source(self) -> str:
        """What `store_url` comes from, as the start of a message: an argument or a variable."""
        variable = "CART_SESSION_URL" if self.session_url else "CART_SESSION_BACKEND"
        if variable == "CART_SESSION_BACKEND" and self.backend == "database":
            return "DATABASE_URL"
        return name_in_messages(variable, self.get_origin(variable), self._argument)

    @property
    def notices(self) -> list[str]:
        """Warnings about valid settings with a possibly unexpected effect."""
        return list(self._notices)

    def get_origin(self, variable: str) -> Origin:
        """Return the source of a variable's value."""
        return self._origins.get(variable, "default")


VARIABLES: Final[Mapping[str, str]] = {
    field: "DATABASE_URL" if field == "database_url" else f"CART_{field.upper()}"
    for field in Settings.model_fields
}
"""Environment variable of each field."""

SECRET_FIELDS: Final = frozenset(
    {"session_url", "session_password", "secret_key", "secret_keys_old", "database_url"}
)
"""Fields that are masked in output and left out of messages."""


def name_in_messages(variable: str, origin: Origin, argument: str | None) -> str:
    """Return the name of a value: the command's argument that chose the store, or else the variable."""
    if argument and origin == "command line" and variable in ("CART_SESSION_URL", "CART_SESSION_BACKEND"):
        return argument
    return variable


def check_workers(settings: Settings, workers: int) -> None:
    """Check that this number of processes can share the session store. Raises `SettingsError`."""
    if workers > 1 and not get_backend(settings.backend).shared:
        raise SettingsError(
            f"{settings.store_source}: {settings.backend} works in one process only. "
            f"Choose another backend, such as file, for {workers} workers."
        )


def _conflicts(settings: Settings) -> list[str]:
    """Return messages about settings that are invalid together."""
    messages = []
    if settings.session_samesite == "None" and settings.session_secure is not True:
        messages.append("CART_SESSION_SECURE: expected true with CART_SESSION_SAMESITE=None.")
    try:
        scheme = _get_scheme(settings.store_url)
    except InvalidPart as error:
        return [*messages, f"CART_SESSION_{error.part.upper()}: {error.problem}"]
    limit = find_backend(scheme).size_limits.get(scheme, settings.session_max_bytes)
    if settings.session_max_bytes > limit:
        messages.append(
            f"CART_SESSION_MAX_BYTES: expected at most {limit} for {scheme}, "
            f"got {settings.session_max_bytes}."
        )
    return messages


def _get_scheme(url: str) -> str:
    return base_scheme(split_url(url).scheme)
