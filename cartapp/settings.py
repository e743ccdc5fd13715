"""Every setting of the application, read once and checked: the only reader of the environment.

The command line is stronger than the process environment, that is stronger than `.env.local`, and that is
stronger than `.env`; both files are looked for in the working directory. An empty value is the same as none.
"""

import difflib
import os
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args
from urllib.parse import quote, unquote

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_serializer,
    model_validator,
)

from . import envfile
from . import setting_types as kind
from .session.stores.urls import split_url

Backend = Literal["file", "memory", "cookie", "redis", "valkey", "memcached", "mongodb", "database"]
SameSite = Literal["Lax", "Strict", "None"]
Access = Literal["open", "closed"]
Environment = Literal["development", "production"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
Origin = Literal["default", ".env", ".env.local", "environment", "command line"]  # the weakest first

_SQL = ("sqlite", "postgresql", "postgres", "mysql", "mariadb", "mssql", "firebird")
_BACKEND_OF_SCHEME: Final[Mapping[str, Backend]] = {
    "file": "file",
    "memory": "memory",
    "cookie": "cookie",
    "redis": "redis",
    "rediss": "redis",
    "valkey": "valkey",
    "valkeys": "valkey",
    "memcached": "memcached",
    "mongodb": "mongodb",
    **dict.fromkeys(_SQL, "database"),
}
# Names of a URL's options whose values are hidden: passwords, whole connection strings, keys, and mechanisms
# with properties of their own, such as MongoDB's AWS_SESSION_TOKEN.
_SECRET_OPTION: Final = re.compile("pass|pwd|secret|token|connect|auth|cred|key|sign", re.IGNORECASE)

_PORTS: Final = {"redis": 6379, "valkey": 6379, "memcached": 11211, "mongodb": 27017}

# What a session's data may take where the backend itself draws a line, a little below it: 1 MiB for a record
# of the file store and for an item of memcached, 16 MiB for a document of MongoDB and, unless the server is
# told otherwise, for a statement of MariaDB, in which a byte may take two.
_LARGEST: Final = {
    "file": 1_000_000,
    "memcached": 1_000_000,
    "mongodb": 16_000_000,
    "mysql": 8_000_000,
    "mariadb": 8_000_000,
}


class SettingsError(Exception):
    """Settings that cannot be used: one sentence each, naming the variable and what would be right."""

    def __init__(self, *sentences: str) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = sentences


class Settings(BaseModel):
    """All settings, a field each: `session_ttl` is `CART_SESSION_TTL`; `.env` says what each of them means.

    Immutable. Times are seconds and sizes bytes. Secrets stay out of its `repr`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    session_backend: Annotated[Backend, kind.one_of(Backend)] = "file"
    session_url: Annotated[str | None, kind.url_of(*_BACKEND_OF_SCHEME)] = Field(None, repr=False)
    session_host: Annotated[str, kind.HOST] = "localhost"
    session_port: Annotated[int | None, kind.whole(1, 65535)] = None
    session_password: Annotated[str | None, kind.PASSWORD] = Field(None, repr=False)
    session_database: Annotated[str | None, kind.matching("a name or number", r"[A-Za-z0-9_-]{1,63}")] = None
    session_collection: Annotated[str, kind.COLLECTION] = "sessions"
    session_path: Annotated[str, kind.PATH] = "data/sessions"
    session_pool_size: Annotated[int, kind.whole(1, 1000)] = 10
    session_timeout: Annotated[float, kind.SECONDS] = 2.0
    session_eager: Annotated[bool, kind.BOOLEAN] = False
    session_ttl: Annotated[int, kind.whole(1, kind.TEN_YEARS)] = 3600
    session_max_age: Annotated[int, kind.whole(1, kind.TEN_YEARS)] = 604800
    session_name: Annotated[str, kind.COOKIE_NAME] = "cart_session"
    session_samesite: Annotated[SameSite, kind.one_of(SameSite)] = "Lax"
    session_httponly: Annotated[bool, kind.BOOLEAN] = True
    session_secure: Annotated[Literal["auto"] | bool, kind.AUTO_OR_BOOLEAN] = "auto"
    session_cookie_domain: Annotated[str | None, kind.COOKIE_DOMAIN] = None
    session_cookie_path: Annotated[str, kind.COOKIE_PATH] = "/"
    session_max_bytes: Annotated[int, kind.whole(64, 16_777_216)] = 65536
    session_encrypt: Annotated[bool, kind.BOOLEAN] = False
    session_sweep: Annotated[bool, kind.BOOLEAN] = True
    secret_key: Annotated[str | None, kind.SECRET] = Field(None, repr=False)
    secret_keys_old: Annotated[tuple[str, ...], kind.SECRETS] = Field((), repr=False)
    database_url: Annotated[str, kind.url_of(*_SQL)] = Field("sqlite+aiosqlite:///data/cart.db", repr=False)
    catalog: Annotated[Access, kind.one_of(Access)] = "open"
    registration: Annotated[Access, kind.one_of(Access)] = "open"
    metrics: Annotated[bool, kind.BOOLEAN] = False
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], kind.NETWORKS] = ()
    trusted_origins: Annotated[tuple[str, ...], kind.ORIGINS] = ()
    login_limit: Annotated[kind.Rate, kind.RATE] = kind.Rate(10, "minute")
    env: Annotated[Environment, kind.one_of(Environment)] = "development"
    log_level: Annotated[LogLevel, kind.one_of(LogLevel)] = "INFO"

    _origins: dict[str, Origin] = PrivateAttr(default_factory=dict)
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
    def backend(self) -> Backend:
        """The backend in force, also where `CART_SESSION_URL` names it."""
        return _BACKEND_OF_SCHEME[_scheme(self.store_url)]

    @property
    def store_url(self) -> str:
        """The one URL of the session store, made of `CART_SESSION_URL` or of the backend and its parts."""
        return self.session_url or _url_of_parts(self)

    @property
    def notices(self) -> list[str]:
        """Sentences on settings that are valid and may still surprise."""
        return list(self._notices)

    def origin(self, variable: str) -> Origin:
        """Where the value of a variable came from."""
        return self._origins.get(variable, "default")


VARIABLES: Final[Mapping[str, str]] = {
    field: "DATABASE_URL" if field == "database_url" else f"CART_{field.upper()}"
    for field in Settings.model_fields
}
"""The environment variable of each field."""

_Given = dict[str, tuple[str, Origin]]  # by variable: its value as text, and where that stands
_FIELDS: Final = {variable: field for field, variable in VARIABLES.items()}
_UNSHOWN: Final = {"session_url", "session_password", "secret_key", "secret_keys_old", "database_url"}

# What Kubernetes and Docker put into the environment for a service that happens to be called "cart-…": its
# address in several forms, for Docker's links also a name such as /shop/cart_db and the other's environment.
_SERVICE_LINK = re.compile(
    r"(CART(?:_\w+)?)_"
    r"(?:SERVICE_HOST=.*|SERVICE_PORT\w*=.*|PORT_\d+_(?:TCP|UDP|SCTP)\w*=.*|PORT=\w+://.*|NAME=/[^/]+/.+)"
)


def load(overrides: Mapping[str, str] | None = None) -> Settings:
    """Read and check all settings; `overrides`, by variable, are those of the command line.

    Raises `SettingsError` with a sentence for each setting that is wrong.
    """
    layers = _layers(overrides or {})
    ignored = sorted(_service_links())
    problems = [sentence for origin, layer in layers for sentence in _unknown(origin, layer)]
    given = _strongest(layers)
    notices = _settle_backend(given)
    try:
        settings = Settings.model_validate({_FIELDS[name]: value for name, (value, _) in given.items()})
    except ValidationError as error:
        raise SettingsError(*problems, *_sentences(error, given)) from None
    if problems:
        raise SettingsError(*problems)
    if ignored:
        notices.append(f"Ignored, as set by Kubernetes or Docker for a service: {', '.join(ignored)}.")
    if settings.session_max_age < settings.session_ttl:
        notices.append(
            f"CART_SESSION_MAX_AGE ({settings.session_max_age}) is below CART_SESSION_TTL "
            f"({settings.session_ttl}), so no session lives as long as the latter."
        )
    if envfile.is_open_to_others(Path(".env.local")):
        notices.append(
            "Other users can read .env.local, which holds secrets; `chmod 600 .env.local` ends that."
        )
    settings._origins.update({name: origin for name, (_, origin) in given.items()})
    settings._notices.extend(notices)
    return settings


def unchecked(variable: str) -> tuple[str, Origin] | None:
    """A variable as it stands and where, right or wrong; None when it is not set."""
    return _strongest(_layers({})).get(variable)


def hand_over(overrides: Mapping[str, str]) -> None:
    """Put the command line's settings into the environment, for the worker processes."""
    if "CART_SESSION_BACKEND" in overrides:
        os.environ.pop("CART_SESSION_URL", None)  # there it would have the backend's strength, and win
    os.environ.update(overrides)


def choice_of_store(name_or_url: str) -> dict[str, str]:
    """The override that chooses a session store by its backend's name or its URL."""
    return {"CART_SESSION_URL" if "://" in name_or_url else "CART_SESSION_BACKEND": name_or_url}


def check_workers(settings: Settings, workers: int) -> None:
    """Raises `SettingsError` when so many processes cannot share the sessions."""
    if workers > 1 and settings.backend == "memory":
        raise SettingsError(
            "CART_SESSION_BACKEND is memory, which lives in one process: it must be another backend, "
            f"such as file, for {workers} workers."
        )


def masked_url(url: str) -> str:
    """Return the URL with everything hidden that may be a password; rather too much than too little."""
    url = re.sub(r"(://[^:@/]*:).*@", r"\1***@", url)
    beginning, mark, query = url.partition("?")
    return beginning + mark + "&".join(_masked_option(option) for option in query.split("&"))


def _masked_option(option: str) -> str:
    name, _, value = option.partition("=")
    return f"{name}=***" if value and _SECRET_OPTION.search(unquote(name)) else option


def shown(settings: Settings) -> dict[str, Any]:
    """The value of each variable as JSON has it, secrets masked."""
    values = settings.model_dump(mode="json")
    for field in _UNSHOWN & {field for field, value in values.items() if value}:
        values[field] = masked_url(values[field]) if field.endswith("_url") else "***"
    return {VARIABLES[field]: value for field, value in values.items()}


def _layers(overrides: Mapping[str, str]) -> list[tuple[Origin, Mapping[str, str]]]:
    links = _service_links()
    return [
        (".env", _read_file(".env")),
        (".env.local", _read_file(".env.local")),
        ("environment", {name: value for name, value in os.environ.items() if name not in links}),
        ("command line", overrides),
    ]


def _service_links() -> set[str]:
    """The variables of the environment that are no settings, though they are called so."""
    found = {name: _SERVICE_LINK.fullmatch(f"{name}={value}") for name, value in os.environ.items()}
    links = {name: link[1] for name, link in found.items() if link}
    copied = tuple(f"{prefix}_ENV_" for prefix in links.values())
    return {name for name in os.environ if name in links or name.startswith(copied)}


def _strongest(layers: list[tuple[Origin, Mapping[str, str]]]) -> _Given:
    given: _Given = {}
    for origin, layer in layers:
        given |= {name: (value.strip(), origin) for name, value in layer.items() if value.strip()}
    return {name: found for name, found in given.items() if name in _FIELDS}


def _read_file(name: str) -> dict[str, str]:
    try:
        return envfile.read(Path(name))
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _unknown(origin: Origin, layer: Mapping[str, str]) -> list[str]:
    sentences = []
    for name in layer:
        if name in _FIELDS or not name.startswith("CART_") or name.startswith("CART_TEST_"):
            continue
        near = difflib.get_close_matches(name, _FIELDS, n=1, cutoff=0.8)
        hint = f"; did you mean {near[0]}?" if near else "."
        sentences.append(f"{name} ({source(origin)}) is no setting{hint}")
    return sentences


def _settle_backend(given: _Given) -> list[str]:
    """Drop a `CART_SESSION_URL` that comes from a weaker source than `CART_SESSION_BACKEND`."""
    _, url = given.get("CART_SESSION_URL", ("", None))
    _, backend = given.get("CART_SESSION_BACKEND", ("", None))
    if url is None or backend is None or _strength(url) >= _strength(backend):
        return []
    del given["CART_SESSION_URL"]
    return [
        f"CART_SESSION_URL ({source(url)}) is not used: CART_SESSION_BACKEND ({source(backend)}) is stronger."
    ]


def _strength(origin: Origin) -> int:
    return get_args(Origin).index(origin)


def source(origin: Origin) -> str:
    """The origin as words in a sentence."""
    return f"from {origin}" if origin.startswith(".") else f"from the {origin}"


def _sentences(error: ValidationError, given: _Given) -> list[str]:
    sentences = []
    for detail in error.errors():
        words = str(detail["ctx"]["error"])
        if not detail["loc"]:
            sentences += words.split("\n")
            continue
        field = str(detail["loc"][0])
        variable = VARIABLES[field]
        value = "" if field in _UNSHOWN else f", not {detail['input'][:80]!r}"
        sentences.append(f"{variable} must be {words}{value} ({source(given[variable][1])}).")
    return sentences


def _conflicts(settings: Settings) -> list[str]:
    sentences = []
    if settings.session_samesite == "None" and settings.session_secure is not True:
        sentences.append("CART_SESSION_SECURE must be true when CART_SESSION_SAMESITE is None.")
    scheme = _scheme(settings.store_url)
    largest = _LARGEST.get(scheme, settings.session_max_bytes)
    if settings.session_max_bytes > largest:
        sentences.append(
            f"CART_SESSION_MAX_BYTES must be at most {largest} for {scheme}, "
            f"not {settings.session_max_bytes}."
        )
    if settings.session_url:
        return sentences
    database = settings.session_database or "0"
    if settings.session_backend in ("redis", "valkey") and not database.isdigit():
        sentences.append(
            f"CART_SESSION_DATABASE must be a number for {settings.session_backend}, not {database!r}."
        )
    if settings.session_backend == "memcached" and settings.session_password:
        sentences.append("CART_SESSION_PASSWORD must not be set for memcached, which takes no log-in here.")
    if settings.session_backend == "mongodb" and settings.session_password:
        sentences.append(
            "CART_SESSION_PASSWORD is not enough for mongodb, which wants a user as well: "
            "CART_SESSION_URL must be mongodb://user:password@host/database instead."
        )
    return sentences


def _scheme(url: str) -> str:
    """The scheme without the driver's name or the kind of server."""
    return split_url(url).scheme.partition("+")[0]


def _url_of_parts(settings: Settings) -> str:
    backend = settings.session_backend
    if backend == "database":
        return settings.database_url
    if backend == "file":
        return Path(settings.session_path).expanduser().absolute().as_uri()
    if backend not in _PORTS:
        return f"{backend}://"
    name = settings.session_host
    host = f"[{name}]" if ":" in name else name
    address = f"{host}:{settings.session_port or _PORTS[backend]}"
    if backend == "memcached":
        return f"memcached://{address}"
    if backend == "mongodb":
        database = settings.session_database or "cart"
        return f"mongodb://{address}/{database}?collection={settings.session_collection}"
    login = f":{quote(settings.session_password, safe='')}@" if settings.session_password else ""
    return f"{backend}://{login}{address}/{settings.session_database or 0}"
