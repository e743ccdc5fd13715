"""Run the application on uvicorn."""

import errno
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import ChangeReload

from cartapp.logs import logging_config
from cartapp.settings import Settings, export_overrides

from .protocol import LimitedProtocol
from .supervisor import Supervisor

SHUTDOWN_TIMEOUT = 10
"""Seconds for running requests to finish after SIGTERM."""

_WORKER_TIMEOUT = 15
"""Seconds without a sign of life until a worker is replaced. A start on a busy machine takes several."""


class AddressUnavailable(Exception):
    """The server cannot listen on the address; the message says why."""


def check_address(host: str, port: int) -> None:
    """Check that the server can listen on the address. Raises `AddressUnavailable`."""
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        reason = "the port is in use; choose another with --port" if in_use else error.strerror
        raise AddressUnavailable(f"Cannot listen on {host}:{port}: {reason}.") from None


def run(
    settings: Settings,
    overrides: Mapping[str, str],
    *,
    host: str,
    port: int,
    workers: int,
    root_path: str,
    reload: bool,
    keep_alive: int,
) -> None:
    """Serve until SIGINT or SIGTERM.

    `overrides` are the settings of the command line, for the workers. A proxy serves the application under
    `root_path` and removes it from the paths of requests. `keep_alive` is in seconds.
    """
    signal.signal(signal.SIGTERM, _exit)  # uvicorn raises the signal again after its own shutdown
    with _shared_metrics(workers if settings.metrics else 1) as variables:
        export_overrides({**overrides, **variables})
        config = uvicorn.Config(
            "cartapp.server.worker:create_worker_app",
            factory=True,
            http=LimitedProtocol,
            backlog=LimitedProtocol.limits.backlog,
            host=host,
            port=port,
            workers=workers,
            root_path=root_path,
            reload=reload,
            reload_dirs=[str(Path(__file__).parents[1])] if reload else None,
            log_config=logging_config(settings),
            access_log=settings.log_level in ("DEBUG", "INFO"),
            server_header=False,
            proxy_headers=False,  # the application reads them: see web/middleware/forwarded.py
            timeout_keep_alive=keep_alive,
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
            timeout_worker_healthcheck=_WORKER_TIMEOUT,
        )
        _serve(config, drains=settings.drain > 0)


def _serve(config: uvicorn.Config, *, drains: bool) -> None:
    """Run a server, as `uvicorn.run` does, with another parent process of several workers."""
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        if config.should_reload:
            ChangeReload(config, target=server.run, sockets=[config.bind_socket()]).run()
            return
        if config.workers > 1:
            Supervisor(config, [config.bind_socket()], drains=drains).run()
            return
        server.run()
    if not server.started:
        raise SystemExit(STARTUP_FAILURE)


@contextmanager
def _shared_metrics(workers: int) -> Iterator[dict[str, str]]:
    """Create the folder in which several workers share their metrics; yield the variable that names it."""
    if workers == 1:
        yield {}
        return
    with TemporaryDirectory(prefix="cart-metrics-") as folder:
        yield {"PROMETHEUS_MULTIPROC_DIR": folder}


def _exit(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)
