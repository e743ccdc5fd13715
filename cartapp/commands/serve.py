"""`cart serve`: run the application."""

import re
from collections.abc import Callable
from typing import Annotated

import typer

from . import output

_ROOT_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")


def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 7147,
    backend: Annotated[
        str | None,
        typer.Option("--backend", help="Session store, by name or URL; overrides CART_SESSION_BACKEND."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Number of processes.")] = 1,
    drain: Annotated[
        int | None,
        typer.Option("--drain", min=0, max=300, help="Seconds to serve after SIGTERM; overrides CART_DRAIN."),
    ] = None,
    keep_alive: Annotated[
        int,
        typer.Option(
            "--keep-alive",
            min=1,
            max=3600,
            help="Seconds to keep an idle connection open.",
        ),
    ] = 5,
    root_path: Annotated[
        str,
        typer.Option("--root-path", help="Path under which a proxy serves the shop, such as /shop."),
    ] = "",
    reload: Annotated[bool, typer.Option("--reload", help="Restart when the code changes.")] = False,
) -> None:
    """Run the application. The first start creates the secret key, the folders and the database.

    Example: cart serve --backend redis --workers 4
    """
    import logging
    from logging.config import dictConfig

    from cartapp.backends import find_store_problem
    from cartapp.bootstrap import prepare
    from cartapp.logs import logging_config
    from cartapp.server.run import AddressUnavailable, check_address, run
    from cartapp.settings import load, masked_url, store_override

    if reload and workers > 1:
        raise typer.BadParameter("--reload requires a single worker.")
    if root_path and not _ROOT_PATH.fullmatch(root_path):
        raise typer.BadParameter(f"--root-path: expected a path such as /shop, got {root_path!r}.")
    overrides = store_override(backend) if backend else {}
    if drain is not None:
        overrides["CART_DRAIN"] = str(drain)
    settings = load(overrides, argument="--backend")
    try:
        check_address(host, port)
    except AddressUnavailable as error:
        output.print_notice(str(error))
        raise typer.Exit(1) from None
    say: Callable[[str], None] = output.print_line
    warn: Callable[[str], None] = output.print_notice
    if settings.production:  # every line of a started server is a record of its log
        dictConfig(logging_config(settings))
        logger = logging.getLogger("cartapp.server")
        say, warn = logger.info, logger.warning
    settings, created = prepare(settings, workers)
    for line in created:
        say(line)
    say(f"Session store: {settings.backend}, {masked_url(settings.store_url)}")
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    where = f"Serving {root_path} of a proxy on {address}" if root_path else f"Open {address}"
    say(f"{where}. Press Ctrl-C to stop.")
    for notice in settings.notices:
        warn(notice)
    if (problem := find_store_problem(settings)) is not None:
        warn(f"{problem} Until it can be used, requests that need a session are 503.")
    run(
        settings,
        overrides,
        host=host,
        port=port,
        workers=workers,
        root_path=root_path,
        reload=reload,
        keep_alive=keep_alive,
    )
