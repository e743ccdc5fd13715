"""What a session store needs while an application runs: a sweeper, and a close at the end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .admin.sweeper import Sweeper
from .manager import SessionManager
from .stores.base import Purgeable


@asynccontextmanager
async def session_lifespan(manager: SessionManager, *, sweep: bool = True) -> AsyncIterator[None]:
    """Remove expired sessions in the background, and close the store at the end.

        app = FastAPI(lifespan=lambda app: session_lifespan(manager))

    Within a lifespan of your own: `async with session_lifespan(manager): yield`. With `sweep=False` another
    process has to remove expired sessions, for example `cart sessions purge --expired`.
    """
    if not isinstance(manager, SessionManager):
        raise TypeError(f"session_lifespan: expected SessionManager(…), got {manager!r}.")
    store = manager.store
    sweeper = Sweeper(store) if sweep and isinstance(store, Purgeable) else None
    if sweeper is not None:
        sweeper.start()
    try:
        yield
    finally:
        if sweeper is not None:
            await sweeper.stop()
        await manager.close()
