"""The application factory of a server process."""

import gc
import multiprocessing
import os
import signal
from threading import Thread

from starlette.types import ASGIApp

from .drain import Drain

_GC_THRESHOLD = 20_000


def create_worker_app() -> ASGIApp:
    """Create the application for a process that does nothing else. Raises `SettingsError`.

    The objects of the start are exempt from garbage collection: each full collection of them would hold up
    all requests for a tenth of a second. Requests create no reference cycles, so young objects need few
    collections.
    """
    gc.set_threshold(_GC_THRESHOLD)  # before the imports, which would cause hundreds of collections
    from cartapp.app import create_app

    app = create_app()
    _stop_with_parent()
    gc.collect()
    gc.freeze()
    seconds = app.state.settings.drain
    return Drain(app, seconds) if seconds else app


def _stop_with_parent() -> None:
    """Stop this worker, as SIGTERM does, when its parent process ends or is killed.

    An orphaned worker would keep the port.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=wait, name="parent-watcher", daemon=True).start()
