"""`cart users`: manage the users."""

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import audit, output
from .connections import with_sessions, with_users
from .output import JsonOption

if TYPE_CHECKING:
    from cartapp.accounts import User

EmailArgument = Annotated[str, typer.Argument(metavar="EMAIL", help="E-mail address of the user.")]
StdinOption = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input instead of asking.")
]

app = typer.Typer(
    help="Manage the users of the shop.\n\nExample: cart users logout ann@example.com", no_args_is_help=True
)


@app.command("add")
def add(
    email: EmailArgument,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the user. Default: the part before the @.")
    ] = None,
    password_stdin: StdinOption = False,
) -> None:
    """Add a user.

    Example: cart users add ann@example.com --name Ann
    """
    from pydantic import ValidationError

    from cartapp.web.schemas.account_requests import Registration

    password = _read_password(password_stdin)
    try:
        user = Registration(email=email, name=name or email.partition("@")[0], password=password)
    except ValidationError as error:
        raise typer.BadParameter(f"{error.errors()[0]['msg']}.") from None
    with_users(lambda users: users.add(user.email, user.name, password), create=True)
    audit.record("users add", email=user.email)
    output.print_line(f"Added {user.email}.")


@app.command("list")
def list_users(as_json: JsonOption = False) -> None:
    """List the users by e-mail address.

    Example: cart users list --json
    """
    users = with_users(lambda users: users.list_users())
    if as_json:
        output.print_json([_as_json(user) for user in users])
        return
    if not users:
        output.print_notice("No users.")
        return
    now = datetime.now(UTC)
    rows = [
        (
            user.email,
            user.name,
            "disabled" if user.disabled else "",
            output.format_time(_created(user), now),
            user.id,
        )
        for user in users
    ]
    output.console().print(output.table(("EMAIL", "NAME", "", "CREATED", "ID"), rows))


@app.command("passwd")
def passwd(email: EmailArgument, password_stdin: StdinOption = False) -> None:
    """Set the password of a user and log the user out everywhere.

    Example: cart users passwd ann@example.com
    """
    password = _read_password(password_stdin)
    with_users(lambda users: users.set_password(email, password))
    audit.record("users passwd", email=email)
    output.print_line(f"Changed the password of {email} and ended all sessions.")


@app.command("logout")
def logout(email: EmailArgument) -> None:
    """End every session and remembered device of a user at once. The password stays.

    Example: cart users logout ann@example.com
    """
    from cartapp.session import SessionError
    from cartapp.settings import SettingsError

    user = with_users(lambda users: users.log_out(email))
    audit.record("users logout", email=email)
    output.print_line(f"Ended all sessions and remembered devices of {email}.")
    try:
        with_sessions(lambda sessions: sessions.end_user(user.id))
    except (SettingsError, SessionError) as error:  # the next request of each session finds it ended
        output.print_notice(f"The records of the sessions remain until they expire: {error}")


@app.command("disable")
def disable(email: EmailArgument) -> None:
    """Disable a user and end all sessions.

    Example: cart users disable ann@example.com
    """
    with_users(lambda users: users.disable(email))
    audit.record("users disable", email=email)
    output.print_line(f"Disabled {email} and ended all sessions.")


@app.command("enable")
def enable(email: EmailArgument) -> None:
    """Allow a disabled user to log in again.

    Example: cart users enable ann@example.com
    """
    with_users(lambda users: users.enable(email))
    audit.record("users enable", email=email)
    output.print_line(f"Enabled {email}.")


@app.command("remove")
def remove(
    email: EmailArgument, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Remove a user and end all sessions.

    Example: cart users remove ann@example.com
    """
    output.confirm(f"Remove {email} and end all sessions?", yes=yes)
    with_users(lambda users: users.remove(email))
    audit.record("users remove", email=email)
    output.print_line(f"Removed {email}.")


def _read_password(from_stdin: bool) -> str:
    if not from_stdin:
        if not sys.stdin.isatty():
            output.print_notice("Cannot ask for a password without a terminal. Add --password-stdin.")
            raise typer.Exit(1)
        return output.ask_password()
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise typer.BadParameter("The password on standard input must be UTF-8 text.") from None
    return text.removesuffix("\n").removesuffix("\r")  # added by `echo` and editors


def _as_json(user: "User") -> dict[str, Any]:
    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "disabled": user.disabled,
        "created": _created(user).isoformat(timespec="seconds"),
    }


def _created(user: "User") -> datetime:
    return datetime.fromtimestamp(user.created / 1000, UTC)
