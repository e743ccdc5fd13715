"""Operations on session stores for the command line: open, list, check, copy."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from cartapp.resources import display_path
from cartapp.session import SessionError
from cartapp.session.admin import CopyResult, Sessions, StepTiming, copy_sessions, ping, round_trip
from cartapp.session.stores import BACKENDS, Backend, Store, base_scheme, get_backend, split_url
from cartapp.settings import Settings, SettingsError, load, store_override
from cartapp.stores import create_store, open_manager


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """Status of a backend, as `cart backends list` shows it."""

    name: str
    used: bool
    installed: bool
    """Whether the driver is installed."""
    milliseconds: float | None
    """Time of a ping; None without a ping or a response."""
    remark: str


@asynccontextmanager
async def open_sessions(settings: Settings) -> AsyncIterator[Sessions]:
    """Open the configured store from outside the server process. Raises `SettingsError`."""
    if not get_backend(settings.backend).shared:
        raise SettingsError(
            f"{settings.store_source}: the sessions of the {settings.backend} backend are visible to the "
            "server process only. Choose another backend for this command."
        )
    _check_store_exists(settings)
    async with open_manager(settings) as manager:
        yield Sessions(manager)


def _check_store_exists(settings: Settings) -> None:
    check_exists(settings.store_url, settings.store_source)


def check_exists(url: str, variable: str) -> None:
    """Check that a session folder or SQLite file exists. Raises `SettingsError`.

    Otherwise a command in the wrong folder would create an empty shop and report on that.
    """
    parts = split_url(url)
    path = Path(unquote(parts.path if parts.scheme == "file" else parts.path[1:]))
    if not parts.scheme.startswith(("file", "sqlite")):
        return
    try:
        path.stat()
    except FileNotFoundError:
        raise SettingsError(
            f"{variable}: {display_path(path.absolute())} does not exist. "
            "Change to the folder of the shop, or create a shop with `cart serve`."
        ) from None
    except OSError:
        return  # opening it reports the error


async def copy_backend(
    source: str, target: str, progress: Callable[[CopyResult], None], *, rate: float | None = None
) -> CopyResult:
    """Copy the live sessions from one store to another, each given by name or URL; see `copy_sessions`.

    Raises `SettingsError`, `StoreNotSupported` if the source cannot list, and `StoreUnavailable`.
    """
    arguments = {"FROM": source, "TO": target}
    chosen = [load(store_override(given), argument=name) for name, given in arguments.items()]
    for settings in chosen:
        if settings.backend == "cookie" or not get_backend(settings.backend).shared:
            raise SettingsError(
                f"Cannot copy sessions from or to the {settings.backend} backend: "
                "it keeps them in the server process or in the browsers."
            )
    if chosen[0].store_url == chosen[1].store_url:
        raise SettingsError("FROM and TO are the same store.")
    check_exists(chosen[0].store_url, "FROM")
    async with open_manager(chosen[0]) as origin, open_manager(chosen[1]) as destination:
        return await copy_sessions(origin.store, destination.store, progress=progress, rate=rate)


async def check_store(settings: Settings) -> list[StepTiming]:
    """Run a round trip. Raises `SettingsError`, and `StoreUnavailable` if it fails."""
    _check_store_exists(settings)
    async with open_manager(settings) as manager:
        return await round_trip(manager.store, timeout=settings.session_timeout)


def find_store_problem(settings: Settings) -> str | None:
    """Ping a store with a server; return a sentence if that fails."""
    if base_scheme(split_url(settings.store_url).scheme) in get_backend(settings.backend).local_schemes:
        return None

    async def check() -> str | None:
        store = create_store(settings)
        try:
            await ping(store, timeout=settings.session_timeout)
        except SessionError as error:
            return str(error)
        finally:
            await store.close()
        return None

    return asyncio.run(check())


async def get_backend_statuses(settings: Settings) -> list[BackendStatus]:
    """Return the status of every backend. Those with a server are pinged concurrently."""
    # Importing a driver blocks the event loop, so all stores are created before the first ping.
    created = [_create_store(backend, settings) for backend in BACKENDS]
    return await asyncio.gather(*(_ping(*one) for one in created))


def _create_store(backend: Backend, settings: Settings) -> tuple[BackendStatus, Store | None, float]:
    """Return the status without a ping, the store to ping if any, and its timeout in seconds."""
    used = backend.name == settings.backend

    def status(installed: bool, remark: str) -> tuple[BackendStatus, None, float]:
        return BackendStatus(backend.name, used, installed, None, remark), None, 0

    if not backend.installed:
        return status(False, backend.install_command)
    try:
        chosen = settings if used else load(store_override(backend.name))
        is_local = base_scheme(split_url(chosen.store_url).scheme) in backend.local_schemes
        if not used and is_local:  # a ping would create the store and always succeed
            return status(True, "no server needed")
        _check_store_exists(chosen)
        reachable = BackendStatus(backend.name, used, True, None, "reachable")
        return reachable, create_store(chosen), chosen.session_timeout
    except (SettingsError, SessionError) as error:
        return status(True, str(error))


async def _ping(status: BackendStatus, store: Store | None, timeout: float) -> BackendStatus:
    if store is None:
        return status
    try:
        return replace(status, milliseconds=await ping(store, timeout=timeout))
    except SessionError as error:
        return replace(status, remark=str(error))
    finally:
        await store.close()
