"""The `cart` command, one file a group: parse, call, print.

What takes long to import is imported inside the functions that need it: `cart --help` answers at once.
"""

import sys
from io import TextIOWrapper

import typer

from ..logs import escape_warnings
from . import backends, catalogue, config, db, output, secret, serve, sessions, users

_STATUSES = (None, 0, 1, 2, 130)  # ours; uvicorn ends with 3 when it cannot start

app = typer.Typer(
    name="cart",
    help="A shopping cart on a session layer that keeps every change.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.serve)
app.add_typer(sessions.app, name="sessions")
app.add_typer(backends.app, name="backends")
app.command("secret")(secret.secret)
app.add_typer(users.app, name="users")
app.add_typer(catalogue.app, name="catalogue")
app.add_typer(db.app, name="db")
app.command("config")(config.config)


def main() -> None:
    """Run the command. What can go wrong becomes a sentence on standard error and status 1."""
    escape_warnings()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for what its encoding has no character
    try:
        app(prog_name="cart")
    except SystemExit as end:
        sys.exit(end.code if end.code in _STATUSES else 1)
    except Exception as error:  # noqa: BLE001  # one that is not ours to explain is raised again
        for sentence in _sentences(error):
            output.note(sentence)
        sys.exit(1)


def _sentences(error: Exception) -> tuple[str, ...]:
    """What to say of an error that a user can mend; any other is a mistake of ours and raised again."""
    from ..session.errors import SessionError
    from ..settings import SettingsError

    if isinstance(error, SettingsError):
        return error.sentences
    if isinstance(error, SessionError):
        return (str(error),)
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return (f"{error.strerror or error}{where}.",)
    from ..accounts import AccountError
    from ..catalogue.files import InvalidCatalogue

    if isinstance(error, (AccountError, InvalidCatalogue)):
        return (f"{str(error).removesuffix('.')}.",)
    raise error
