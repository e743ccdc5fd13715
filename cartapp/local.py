"""This machine's own settings, kept in `.env.local`: the secret key, and the backend that was chosen."""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import envfile
from .session.keys import is_strong, new_secret
from .settings import Settings, SettingsError, source, unchecked

LOCAL = Path(".env.local")
"""The file of this machine, which git ignores; in the working directory."""

KEY, OLD = "CART_SECRET_KEY", "CART_SECRET_KEYS_OLD"
BACKEND, URL = "CART_SESSION_BACKEND", "CART_SESSION_URL"

LOCK_LOGGED, LOCK_WAIT = 1.0, 10.0
"""Seconds of waiting for the lock of the working directory until that is logged, and until it is an error."""

_PAUSE = 0.02  # seconds between two attempts

logger = logging.getLogger("cartapp.local")


def ensure_secret(settings: Settings) -> Settings:
    """The settings with a secret key; in development one is made and kept in `.env.local` when there is none.

    Of several processes that start at once one makes it. Raises `SettingsError` in production.
    """
    if settings.secret_key:
        return settings
    if settings.production:
        raise SettingsError(
            f"{KEY} must be given from outside when CART_ENV is production; `cart secret` makes one."
        )
    with _alone(KEY):
        secret = envfile.read(LOCAL).get(KEY)
        if not secret:
            secret = new_secret()
            _write({KEY: secret})
    return settings.model_copy(update={"secret_key": secret})


def has_secret() -> bool:
    """Whether a secret key is set anywhere, weak or strong."""
    return unchecked(KEY) is not None


def replace_secret(*, keep_former: bool) -> None:
    """Put a new secret key into `.env.local`; the former one may be kept among the old, which are still read.

    Raises `SettingsError` when the environment, which is stronger than that file, has a secret.
    """
    with _alone(KEY):
        former, old = unchecked(KEY), unchecked(OLD)
        for name, found in ((KEY, former), (OLD, old)):
            if found and found[1] == "environment":
                raise SettingsError(
                    f"{name} stands in the environment, which is stronger than {LOCAL}: "
                    "it must be changed there."
                )
        kept = [former[0]] if former and is_strong(former[0]) else []  # a weak one never protected anything
        kept += [old[0]] if old else []
        _write({KEY: new_secret()} | ({OLD: ",".join(kept)} if keep_former and kept else {}))


def use_backend(name: str) -> list[str]:
    """Put the choice of a backend into `.env.local`; returns a sentence for each setting that is stronger."""
    with _alone(BACKEND):
        _write({BACKEND: name})
    stronger = []
    if (backend := unchecked(BACKEND)) and backend[1] == "environment":
        stronger.append(f"{BACKEND} in the environment is {backend[0]}, and stronger than {LOCAL}.")
    if (url := unchecked(URL)) and url[1] in ("environment", str(LOCAL)):
        stronger.append(f"{URL} ({source(url[1])}) is set, and stronger than {BACKEND} in {LOCAL}.")
    return stronger


def _write(changes: dict[str, str]) -> None:
    try:
        envfile.write(LOCAL, changes)
    except OSError as error:
        raise _unwritable(", ".join(changes), f"{error.strerror}") from None


def _unwritable(names: str, reason: str) -> SettingsError:
    return SettingsError(f"{names} must be set in the environment, as {LOCAL} cannot be written: {reason}.")


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Hold the lock of the working directory, against processes that start at the same moment.

    Raises `SettingsError` when another process keeps it: every user who can read the directory can lock it.
    `name` is the variable that is to be written.
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
        if waited > LOCK_WAIT:
            raise _unwritable(name, f"another process keeps the folder {Path.cwd()} locked")
        if waited > LOCK_LOGGED and not is_logged:
            logger.warning("Waiting for another process that has locked the folder %s", Path.cwd())
            is_logged = True
        time.sleep(_PAUSE)
