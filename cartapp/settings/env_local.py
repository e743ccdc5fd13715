"""Settings of this machine in `.env.local`: the secret key and the chosen backend."""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cartapp.session import is_strong, new_secret

from . import env_files
from .model import Settings, SettingsError
from .sources import describe_origin, get_raw

LOCAL = Path(".env.local")
"""Path in the working directory; ignored by git."""

KEY, OLD = "CART_SECRET_KEY", "CART_SECRET_KEYS_OLD"
BACKEND, URL = "CART_SESSION_BACKEND", "CART_SESSION_URL"

LOCK_LOG_AFTER, LOCK_TIMEOUT = 1.0, 10.0
"""Seconds of waiting for the lock of the working directory until a log line, and until an error."""

_POLL_INTERVAL = 0.02  # seconds

logger = logging.getLogger("cartapp.settings.env_local")


def ensure_secret(settings: Settings) -> Settings:
    """Return the settings with a secret key. In development a missing key is created in `.env.local`.

    Concurrent processes create one key. Raises `SettingsError` in production.
    """
    if settings.secret_key:
        return settings
    if settings.production:
        raise SettingsError(
            f"{KEY}: required with CART_ENV=production. Set it to the output of `cart secret`."
        )
    with _locked_folder(KEY):
        secret = env_files.read(LOCAL).get(KEY)
        if not secret:
            secret = new_secret()
            _write({KEY: secret})
    return settings.model_copy(update={"secret_key": secret})


def has_secret() -> bool:
    """Return whether any secret key is set, weak or strong."""
    return get_raw(KEY) is not None


def replace_secret(*, keep_former: bool) -> None:
    """Write a new secret key to `.env.local`. With `keep_former` the former one becomes an old key.

    Raises `SettingsError` if the environment sets a secret, since it overrides the file.
    """
    with _locked_folder(KEY):
        former, old = get_raw(KEY), get_raw(OLD)
        for name, found in ((KEY, former), (OLD, old)):
            if found and found[1] == "environment":
                raise SettingsError(
                    f"{name}: the environment sets it and overrides {LOCAL}. Change it in the environment."
                )
        kept = [former[0]] if former and is_strong(former[0]) else []  # a weak key is never used
        kept += [old[0]] if old else []
        _write({KEY: new_secret()} | ({OLD: ",".join(kept)} if keep_former and kept else {}))


def use_backend(name: str) -> list[str]:
    """Write the backend to `.env.local`. Return a message for each setting that overrides it."""
    with _locked_folder(BACKEND):
        _write({BACKEND: name})
    overriding = []
    if (backend := get_raw(BACKEND)) and backend[1] == "environment":
        overriding.append(f"{BACKEND}={backend[0]} in the environment overrides {LOCAL}.")
    if (url := get_raw(URL)) and url[1] in ("environment", str(LOCAL)):
        overriding.append(f"{URL} ({describe_origin(url[1])}) overrides {BACKEND} in {LOCAL}.")
    return overriding


def _write(changes: dict[str, str]) -> None:
    try:
        env_files.write(LOCAL, changes)
    except OSError as error:
        raise _write_error(", ".join(changes), f"{error.strerror}") from None


def _write_error(names: str, reason: str) -> SettingsError:
    return SettingsError(f"Cannot write {LOCAL}: {reason}. Set {names} in the environment.")


@contextmanager
def _locked_folder(name: str) -> Iterator[None]:
    """Lock the working directory against concurrent processes. `name`: the variable to write.

    Raises `SettingsError` after `LOCK_TIMEOUT`: every user with read access to the directory can lock it.
    """
    folder = os.open(".", os.O_RDONLY)
    try:
        _lock(folder, name)
        yield
    finally:
        os.close(folder)


def _lock(folder: int, name: str) -> None:
    began = time.monotonic()
    is_logged = False
    while True:
        try:
            return fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = time.monotonic() - began
        if waited > LOCK_TIMEOUT:
            raise _write_error(name, f"another process locks the folder {Path.cwd()}")
        if waited > LOCK_LOG_AFTER and not is_logged:
            logger.warning("Waiting for another process that locks the folder %s", Path.cwd())
            is_logged = True
        time.sleep(_POLL_INTERVAL)
