"""`cart serve`: the application on uvicorn."""

import errno
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Annotated

import typer

from . import output

GRACE = 10  # seconds that running requests get when the server is told to stop
# Seconds that a worker may be silent, as one is that starts on a busy machine, before it is replaced; for as
# long the death of another one may go unnoticed.
_BUSY = 15


def serve(
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port to listen on.")] = 7147,
    backend: Annotated[
        str | None,
        typer.Option("--backend", help="Where sessions are kept, instead of CART_SESSION_BACKEND."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="How many processes share the work.")] = 1,
    reload: Annotated[bool, typer.Option("--reload", help="Start anew when the code changes.")] = False,
) -> None:
    """Run the application; the first start makes what it needs."""
    import uvicorn

    from ..logs import configuration
    from ..server.protocol import LimitedProtocol
    from ..settings import choice_of_store, hand_over, load, masked_url
    from ..start import prepare

    if reload and workers > 1:
        raise typer.BadParameter("--reload works with one worker only.")
    overrides = choice_of_store(backend) if backend else {}
    settings = load(overrides)
    _check_free(host, port)
    settings, made = prepare(settings, workers)
    for line in made:
        output.say(line)
    output.say(f"Sessions are kept in {settings.backend}: {masked_url(settings.store_url)}")
    output.say(f"Open http://{f'[{host}]' if ':' in host else host}:{port} and stop with Ctrl-C.")
    for sentence in settings.notices:
        output.note(sentence)

    signal.signal(signal.SIGTERM, _stop)  # uvicorn finishes what is running and then raises the signal again
    with _figures_of(workers if settings.metrics else 1) as figures:
        hand_over(overrides | figures)
        uvicorn.run(
            "cartapp.app:serve_app",
            factory=True,
            http=LimitedProtocol,
            backlog=LimitedProtocol.limits.backlog,
            host=host,
            port=port,
            workers=workers,
            reload=reload,
            reload_dirs=[str(Path(__file__).parents[1])] if reload else None,
            log_config=configuration(settings),
            access_log=settings.log_level in ("DEBUG", "INFO"),
            server_header=False,
            proxy_headers=False,  # the application reads them itself: see web/layers/forwarded.py
            timeout_graceful_shutdown=GRACE,
            timeout_worker_healthcheck=_BUSY,
        )


@contextmanager
def _figures_of(workers: int) -> Iterator[dict[str, str]]:
    """A folder where several workers share what `/metrics` tells, in the variable that names it to them."""
    if workers == 1:
        yield {}
        return
    with TemporaryDirectory(prefix="cart-metrics-") as folder:
        yield {"PROMETHEUS_MULTIPROC_DIR": folder}


def _check_free(host: str, port: int) -> None:
    """End the command with a sentence when the address cannot be had."""
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "it is in use already; choose another --port" if taken else error.strerror
        output.note(f"{host}:{port} cannot be listened on: {reason}.")
        raise typer.Exit(1) from None


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)
