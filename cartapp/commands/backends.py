"""`cart backends`: the kinds of session store, whether they answer, and which is used."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from . import output
from .output import JsonOption

if TYPE_CHECKING:
    from ..session.transfer import Copied

_STORE = "A backend or a URL; `-` reads it from standard input, out of sight of `ps`"

app = typer.Typer(help="Choose and check where sessions are kept.", no_args_is_help=True)


@app.command("list")
def list_backends(as_json: JsonOption = False) -> None:
    """List the backends: whether their driver is installed, and whether they answer."""
    import asyncio
    from dataclasses import asdict

    from ..settings import load
    from ..start import backend_states

    states = asyncio.run(backend_states(load()))
    if as_json:
        output.print_json([asdict(state) for state in states])
        return
    rows = [
        (
            state.name,
            "used" if state.used else "",
            "-" if not state.built else "installed" if state.installed else "missing",
            "-" if state.milliseconds is None else f"{state.milliseconds:.1f} ms",
            state.remark,
        )
        for state in states
    ]
    output.console().print(output.table(("BACKEND", "", "DRIVER", "PING", ""), rows, numbers=("PING",)))


@app.command("check")
def check(
    backend: Annotated[
        str | None,
        typer.Argument(metavar="[NAME|URL]", help=f"{_STORE}. Without it, the one in use."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write, read, change and remove a record of its own, and say how long each step took."""
    import asyncio

    from ..settings import choice_of_store, load, masked_url
    from ..start import check_store

    settings = load(choice_of_store(_given(backend)) if backend else None)
    steps = asyncio.run(check_store(settings))
    times = {step.name: round(step.milliseconds, 3) for step in steps}
    url = masked_url(settings.store_url)
    if as_json:
        output.print_json({"backend": settings.backend, "url": url, "milliseconds": times})
        return
    output.say(f"{settings.backend} at {url} answers and keeps what it is given.")
    rows = [(name, f"{milliseconds:.2f}") for name, milliseconds in times.items()]
    output.console().print(output.table(("STEP", "MS"), rows, numbers=("MS",)))


@app.command("copy")
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help=f"{_STORE}.")],
    target: Annotated[str, typer.Argument(metavar="TO", help=f"{_STORE}.")],
    as_json: JsonOption = False,
) -> None:
    """Copy all live sessions, with their users and expiry; visitors may use both backends meanwhile.

    Run it again to bring TO up to date. A session that ended in TO stays ended.
    A session that ended in FROM is ended in TO as well, unless it was used there.
    If a session changed in both, the later change is kept.

    Example: cart backends copy file redis
    """
    import asyncio
    from dataclasses import asdict

    from ..session.errors import SessionError
    from ..session.transfer import Copied
    from ..start import copy_between

    copied = Copied()
    source, target = _given(source), _given(target)

    def report(so_far: Copied) -> None:
        nonlocal copied
        copied = so_far
        show(so_far.seen)

    try:
        with output.progress("Copying") as show:
            copied = asyncio.run(copy_between(source, target, report))
    except (KeyboardInterrupt, SessionError) as error:
        if copied.seen or isinstance(error, KeyboardInterrupt):
            output.note(f"Stopped after at least {_counted(copied)} The copy can be run again.")
        raise
    if as_json:
        output.print_json(asdict(copied))
        return
    output.say(_counted(copied))
    if copied.ended_in_target:
        output.note(f"{copied.ended_in_target} had ended in the target and were not copied again.")
    if copied.unreadable:
        output.note(f"{copied.unreadable} were unreadable and not copied.")


def _given(argument: str) -> str:
    """Return the argument, or the next line of standard input in place of `-`."""
    if argument != "-":
        return argument
    line = sys.stdin.readline().strip()
    if not line:
        raise typer.BadParameter("`-` stands for a line on standard input with a backend or a URL.")
    return line


def _counted(copied: "Copied") -> str:
    in_target = f"{copied.replaced} updated, {copied.kept} kept, {copied.ended} ended"
    return f"{copied.created} sessions copied, {in_target}."


@app.command("use")
def use(name: Annotated[str, typer.Argument(help="The backend's name; see `cart backends list`.")]) -> None:
    """Choose the backend: writes CART_SESSION_BACKEND into .env.local."""
    from ..local import LOCAL, use_backend
    from ..settings import load
    from ..start import store_of

    store_of(load({"CART_SESSION_BACKEND": name}))
    stronger = use_backend(name)
    output.say(f"CART_SESSION_BACKEND={name} stands in {LOCAL} now; it is used from the next start on.")
    for sentence in stronger:
        output.note(sentence)
