"""The `cart` command: one file per group. Parse, call, print.

Slow imports are inside the functions that need them, so that `cart --help` is fast.
"""

import gc
import os
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from cartapp.logs import escape_warnings

from . import backends, catalogue, config, db, interrupts, output, secret, serve, sessions, users

_GC_THRESHOLD = 20_000  # imports create many objects and little garbage

_SIGNALLED = tuple(interrupts.FIRST_STATUS + number for number in interrupts.SIGNALS)
_EXIT_STATUSES = (None, 0, 1, 2, 130, *_SIGNALLED)  # uvicorn exits with 3 when it cannot start

app = typer.Typer(
    name="cart",
    help="Run the shop, and manage its sessions, users, products and database.\n\nExample: cart serve",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve.serve)
app.add_typer(sessions.app, name="sessions")
app.add_typer(backends.app, name="backends")
app.command("secret")(secret.secret)
app.add_typer(users.app, name="users")
app.add_typer(catalogue.app, name="catalogue")
app.add_typer(db.app, name="db")
app.command("config")(config.config)


def _print_version(is_given: bool) -> None:
    if is_given:
        from importlib.metadata import version

        output.print_line(f"cart {version('cartapp')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback prints it
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Take the options of `cart` itself."""
    if context.invoked_subcommand != "serve":  # uvicorn has handlers of its own
        context.with_resource(interrupts.signals_as_interrupts())


def main() -> None:
    """Run the command. An expected error is printed to standard error and ends with status 1."""
    gc.set_threshold(_GC_THRESHOLD)
    escape_warnings()
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for characters outside the stream's encoding
    try:
        app(prog_name="cart")
    except SystemExit as end:
        sys.exit(end.code if end.code in _EXIT_STATUSES else 1)
    except Exception as error:  # noqa: BLE001  # unexpected errors are raised again
        for message in _messages(error):
            output.print_notice(message)
        sys.exit(1)


def _open_closed_streams() -> None:
    """Replace streams that the caller closed (`>&-`), before a file or socket gets their descriptor."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - stays open


def _messages(error: Exception) -> tuple[str, ...]:
    """Return the messages of an error that the user can fix; raise any other error again."""
    from cartapp.session import SessionError
    from cartapp.settings import SettingsError

    if isinstance(error, SettingsError):
        return error.messages
    if isinstance(error, SessionError):
        return (str(error),)
    if isinstance(error, OSError):
        file = f": {error.filename}" if error.filename else ""
        return (f"{error.strerror or error}{file}.",)
    from cartapp.accounts import AccountError
    from cartapp.catalogue.files import InvalidCatalogue

    if isinstance(error, (AccountError, InvalidCatalogue)):
        return (f"{str(error).removesuffix('.')}.",)
    raise error
