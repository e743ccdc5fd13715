"""This machine's own settings, kept in `.env.local`: the secret key, and the backend that was chosen."""

import fcntl
import os
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
    with _alone():
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
    with _alone():
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
    with _alone():
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
        raise SettingsError(
            f"{', '.join(changes)} must be set in the environment, as {LOCAL} cannot be written: "
            f"{error.strerror}."
        ) from None


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the lock of the working directory, against processes that start at the same moment."""
    folder = os.open(".", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
