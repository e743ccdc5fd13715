"""Sources of the settings, the only code that reads the environment.

Precedence, highest first: command line, process environment, `.env.local`, `.env`, default. Both files are in
the working directory. An empty value counts as unset.
"""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, get_args

from pydantic import ValidationError

from . import env_files
from .model import SECRET_FIELDS, VARIABLES, Origin, Settings, SettingsError, name_in_messages

_Values = dict[str, tuple[str, Origin]]
"""Text and source of each variable that is set."""

_Layers = list[tuple[Origin, Mapping[str, str]]]

_FIELDS: Final = {variable: field for field, variable in VARIABLES.items()}

_SERVICE_LINK = re.compile(
    r"(CART(?:_\w+)?)_"
    r"(?:SERVICE_HOST=.*|SERVICE_PORT\w*=.*|PORT_\d+_(?:TCP|UDP|SCTP)\w*=.*|PORT=\w+://.*|NAME=/[^/]+/.+)"
)
"""Variables that Kubernetes and Docker set for a service named "cart-...": its address in several forms.
Docker links add a name such as /shop/cart_db and a copy of the other container's environment."""


def load(overrides: Mapping[str, str] | None = None, *, argument: str | None = None) -> Settings:
    """Read and check all settings. `overrides`: values of the command line by variable.

    `argument` is the name of the argument that chose the session store, for messages about it.

    Raises `SettingsError` with a message for each invalid setting.
    """
    layers = _read_layers(overrides or {})
    problems = [message for origin, layer in layers for message in _unknown_variables(origin, layer)]
    values = _merge(layers)
    notices = _drop_overridden_url(values)
    try:
        settings = Settings.model_validate({_FIELDS[name]: value for name, (value, _) in values.items()})
    except ValidationError as error:
        raise SettingsError(*problems, *_validation_messages(error, values, argument)) from None
    if problems:
        raise SettingsError(*problems)
    settings._origins.update({name: origin for name, (_, origin) in values.items()})
    settings._argument = argument
    settings._notices.extend([*notices, *_get_notices(settings)])
    return settings


def get_raw(variable: str) -> tuple[str, Origin] | None:
    """Return the unvalidated text and the source of a variable, or None if it is unset."""
    return _merge(_read_layers({})).get(variable)


def export_overrides(overrides: Mapping[str, str]) -> None:
    """Copy the settings of the command line to the environment, for worker processes."""
    if "CART_SESSION_BACKEND" in overrides:
        os.environ.pop("CART_SESSION_URL", None)  # within one source the URL takes precedence
    os.environ.update(overrides)


def store_override(name_or_url: str) -> dict[str, str]:
    """Return the override that selects a session store by backend name or URL."""
    return {"CART_SESSION_URL" if "://" in name_or_url else "CART_SESSION_BACKEND": name_or_url}


def describe_origin(origin: Origin) -> str:
    """Describe a source for messages: "from .env", "from the environment"."""
    return f"from {origin}" if origin.startswith(".") else f"from the {origin}"


def _read_layers(overrides: Mapping[str, str]) -> _Layers:
    links = _find_service_links()
    return [
        (".env", _read_file(".env")),
        (".env.local", _read_file(".env.local")),
        ("environment", {name: value for name, value in os.environ.items() if name not in links}),
        ("command line", overrides),
    ]


def _read_file(name: str) -> dict[str, str]:
    try:
        return env_files.read(Path(name))
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _find_service_links() -> set[str]:
    """Return the environment variables that only look like settings; see `_SERVICE_LINK`."""
    matches = {name: _SERVICE_LINK.fullmatch(f"{name}={value}") for name, value in os.environ.items()}
    links = {name: match[1] for name, match in matches.items() if match}
    copied = tuple(f"{prefix}_ENV_" for prefix in links.values())
    return {name for name in os.environ if name in links or name.startswith(copied)}


def _merge(layers: _Layers) -> _Values:
    values: _Values = {}
    for origin, layer in layers:
        values |= {name: (value.strip(), origin) for name, value in layer.items() if value.strip()}
    return {name: found for name, found in values.items() if name in _FIELDS}


def _drop_overridden_url(values: _Values) -> list[str]:
    """Drop `CART_SESSION_URL` if `CART_SESSION_BACKEND` comes from a source of higher precedence."""
    _, url = values.get("CART_SESSION_URL", ("", None))
    _, backend = values.get("CART_SESSION_BACKEND", ("", None))
    if url is None or backend is None or _precedence(url) >= _precedence(backend):
        return []
    del values["CART_SESSION_URL"]
    return [
        f"CART_SESSION_URL ({describe_origin(url)}) is ignored: "
        f"CART_SESSION_BACKEND ({describe_origin(backend)}) takes precedence."
    ]


def _precedence(origin: Origin) -> int:
    return get_args(Origin).index(origin)


def _unknown_variables(origin: Origin, layer: Mapping[str, str]) -> list[str]:
    messages = []
    for name in layer:
        if name in _FIELDS or not name.startswith("CART_") or name.startswith("CART_TEST_"):
            continue
        similar = difflib.get_close_matches(name, _FIELDS, n=1, cutoff=0.8)
        hint = f" Did you mean {similar[0]}?" if similar else ""
        messages.append(f"{name}: unknown setting ({describe_origin(origin)}).{hint}")
    return messages


def _validation_messages(error: ValidationError, values: _Values, argument: str | None) -> list[str]:
    messages = []
    for detail in error.errors():
        expected = str(detail["ctx"]["error"])
        if not detail["loc"]:
            messages += expected.split("\n")
            continue
        field = str(detail["loc"][0])
        variable = VARIABLES[field]
        got = "" if field in SECRET_FIELDS else f", got {detail['input'][:80]!r}"
        origin = values[variable][1]
        name = name_in_messages(variable, origin, argument)
        messages.append(f"{name}: expected {expected}{got} ({describe_origin(origin)}).")
    return messages


def _get_notices(settings: Settings) -> list[str]:
    notices = []
    if ignored := sorted(_find_service_links()):
        notices.append(f"Ignored, because Kubernetes or Docker set them for a service: {', '.join(ignored)}.")
    if settings.session_max_age < settings.session_ttl:
        notices.append(
            f"CART_SESSION_MAX_AGE ({settings.session_max_age}) is below CART_SESSION_TTL "
            f"({settings.session_ttl}): no session reaches its TTL."
        )
    if env_files.is_accessible_by_others(Path(".env.local")):
        notices.append("Other users can read the secrets in .env.local. Run `chmod 600 .env.local`.")
    return notices
