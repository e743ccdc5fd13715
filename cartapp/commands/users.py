"""`cart users`: who may log in."""

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import output
from .opened import with_users
from .output import JsonOption

if TYPE_CHECKING:
    from ..accounts import User

EmailArgument = Annotated[str, typer.Argument(metavar="EMAIL", help="The user's e-mail address.")]
StdinOption = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input instead of asking.")
]

app = typer.Typer(help="Add, show and change the users of the shop.", no_args_is_help=True)


@app.command("add")
def add(
    email: EmailArgument,
    name: Annotated[
        str | None, typer.Option("--name", help="The user's name; else what stands before the @.")
    ] = None,
    password_stdin: StdinOption = False,
) -> None:
    """Add a user."""
    from pydantic import ValidationError

    from ..web.account_inputs import Registration

    password = _password(password_stdin)
    try:
        user = Registration(email=email, name=name or email.partition("@")[0], password=password)
    except ValidationError as error:
        raise typer.BadParameter(f"{error.errors()[0]['msg']}.") from None
    with_users(lambda users: users.add(user.email, user.name, password), new=True)
    output.say(f"{user.email} can log in now.")


@app.command("list")
def list_users(as_json: JsonOption = False) -> None:
    """List the users by address."""
    users = with_users(lambda users: users.everybody())
    if as_json:
        output.print_json([_as_json(user) for user in users])
        return
    if not users:
        output.note("There is no user.")
        return
    now = datetime.now(UTC)
    rows = [
        (user.email, user.name, "disabled" if user.disabled else "", output.moment(_time(user), now), user.id)
        for user in users
    ]
    output.console().print(output.table(("EMAIL", "NAME", "", "CREATED", "ID"), rows))


@app.command("passwd")
def passwd(email: EmailArgument, password_stdin: StdinOption = False) -> None:
    """Give a user a new password, and log the user out everywhere."""
    password = _password(password_stdin)
    with_users(lambda users: users.set_password(email, password))
    output.say(f"{email} has a new password and is logged out everywhere.")


@app.command("disable")
def disable(email: EmailArgument) -> None:
    """Log a user out everywhere and let nobody log in as that user."""
    with_users(lambda users: users.disable(email))
    output.say(f"{email} is logged out everywhere and cannot log in any more.")


@app.command("enable")
def enable(email: EmailArgument) -> None:
    """Let a disabled user log in again."""
    with_users(lambda users: users.enable(email))
    output.say(f"{email} can log in again.")


@app.command("remove")
def remove(
    email: EmailArgument, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Remove a user for good."""
    output.confirm(f"Remove {email} and log that user out everywhere?", yes=yes)
    with_users(lambda users: users.remove(email))
    output.say(f"{email} is removed.")


def _password(from_stdin: bool) -> str:
    if not from_stdin:
        if not sys.stdin.isatty():
            output.note("There is no terminal to ask for the password on: add --password-stdin.")
            raise typer.Exit(1)
        asked: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return asked
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise typer.BadParameter("The password on standard input must be UTF-8 text.") from None
    return text.removesuffix("\n").removesuffix("\r")  # what `echo` and editors add


def _as_json(user: "User") -> dict[str, Any]:
    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "disabled": user.disabled,
        "created": _time(user).isoformat(timespec="seconds"),
    }


def _time(user: "User") -> datetime:
    return datetime.fromtimestamp(user.created / 1000, UTC)
