"""`cart backends`: list, check, choose and copy session stores."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from . import audit, output
from .output import JsonOption

if TYPE_CHECKING:
    from cartapp.session.admin import CopyResult

_STORE = "Backend name or store URL; `-` reads it from standard input, which hides it from `ps`."

app = typer.Typer(
    help="List, check, choose and copy session stores.\n\nExample: cart backends check redis",
    no_args_is_help=True,
)


def _complete(incomplete: str) -> list[str]:
    """Complete the name of a backend in a shell."""
    from cartapp.session.stores import BACKENDS

    return [backend.name for backend in BACKENDS if backend.name.startswith(incomplete)]


@app.command("list")
def list_backends(as_json: JsonOption = False) -> None:
    """List the backends, their drivers, and whether their servers respond.

    Example: cart backends list --json
    """
    import asyncio
    from dataclasses import asdict

    from cartapp.backends import get_backend_statuses
    from cartapp.settings import load

    statuses = asyncio.run(get_backend_statuses(load()))
    if as_json:
        output.print_json([asdict(status) for status in statuses])
        return
    rows = [
        (
            status.name,
            "used" if status.used else "",
            "installed" if status.installed else "missing",
            "-" if status.milliseconds is None else f"{status.milliseconds:.1f} ms",
            status.remark,
        )
        for status in statuses
    ]
    output.console().print(output.table(("BACKEND", "", "DRIVER", "PING", ""), rows, numbers=("PING",)))


@app.command("check")
def check(
    backend: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|URL]",
            help=f"{_STORE} Default: the configured store.",
            autocompletion=_complete,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Create, load, change and delete a test record, and show the time of each step.

    Example: cart backends check redis://localhost:6379/0
    """
    import asyncio

    from cartapp.backends import check_store
    from cartapp.settings import load, masked_url, store_override

    given = _argument_or_stdin(backend) if backend else None
    argument = "URL" if given and "://" in given else "NAME"
    settings = load(store_override(given) if given else None, argument=argument)
    steps = asyncio.run(check_store(settings))
    times = {step.name: round(step.milliseconds, 3) for step in steps}
    url = masked_url(settings.store_url)
    if as_json:
        output.print_json({"backend": settings.backend, "url": url, "milliseconds": times})
        return
    output.print_line(f"{settings.backend} at {url} works.")
    rows = [(name, f"{milliseconds:.2f}") for name, milliseconds in times.items()]
    output.console().print(output.table(("STEP", "MS"), rows, numbers=("MS",)))


@app.command("copy")
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help=_STORE, autocompletion=_complete)],
    target: Annotated[str, typer.Argument(metavar="TO", help=_STORE, autocompletion=_complete)],
    rate: Annotated[
        int | None, typer.Option("--limit-rate", min=1, metavar="N", help="Copy at most N sessions a second.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Copy all live sessions. Both stores may be in use during the copy.

    Repeat the command to update TO, or to continue after Ctrl-C. A session that ended in TO stays ended. A
    session that ended in FROM is ended in TO, unless it was used there. If a session changed in both, the
    later change wins.

    Example: cart backends copy file redis
    """
    import asyncio
    from dataclasses import asdict

    from cartapp.backends import copy_backend
    from cartapp.session.admin import CopyResult
    from cartapp.settings import SettingsError

    result = CopyResult()
    source, target = _argument_or_stdin(source), _argument_or_stdin(target)

    def report(so_far: CopyResult) -> None:
        nonlocal result
        result = so_far
        bar.total = so_far.total
        bar(so_far.seen)

    with output.progress("Copying") as bar:
        try:
            result = asyncio.run(copy_backend(source, target, report, rate=rate))
        except BaseException as error:
            is_reported = result.seen or isinstance(error, KeyboardInterrupt)
            if is_reported or not isinstance(error, SettingsError):  # which precedes any change
                _record_copy(source, target, result, completed=False)
            bar.close()
            if is_reported:
                output.print_notice(f"Stopped. So far: {_counts(result)}. Repeat the command to continue.")
            raise
    _record_copy(source, target, result)
    if as_json:
        output.print_json({name: value for name, value in asdict(result).items() if name != "total"})
        return
    output.print_line(f"Sessions: {_counts(result)}.")
    if result.changed_in_both:
        output.print_notice(
            f"Changed in FROM and TO: {result.changed_in_both}. The later change was kept, the other is lost."
        )
    if result.ended_in_target:
        output.print_notice(f"Not copied, because they had ended in TO: {result.ended_in_target}.")
    if result.unreadable:
        output.print_notice(f"Not copied, because they are unreadable: {result.unreadable}.")


def _record_copy(source: str, target: str, result: "CopyResult", *, completed: bool = True) -> None:
    from cartapp.settings import masked_url

    stores = {"source": masked_url(source), "target": masked_url(target)}
    names = ("created", "replaced", "changed_in_both", "ended")
    counts = {name: getattr(result, name) for name in names}
    audit.record("backends copy", **stores, **counts, completed=completed)


@app.command("use")
def use(
    name: Annotated[
        str, typer.Argument(help="Backend name; see `cart backends list`.", autocompletion=_complete)
    ],
) -> None:
    """Choose the backend: write CART_SESSION_BACKEND to .env.local.

    Example: cart backends use redis
    """
    from cartapp.settings import load
    from cartapp.settings.env_local import LOCAL, use_backend
    from cartapp.stores import create_store

    create_store(load({"CART_SESSION_BACKEND": name}, argument="NAME"))
    overriding = use_backend(name)
    audit.record("backends use", backend=name)
    output.print_line(f"Set CART_SESSION_BACKEND={name} in {LOCAL}. Restart to apply.")
    for notice in overriding:
        output.print_notice(notice)


def _argument_or_stdin(argument: str) -> str:
    """Return the argument, or for `-` the next line of standard input."""
    if argument != "-":
        return argument
    line = sys.stdin.readline().strip()
    if not line:
        raise typer.BadParameter("Expected a backend name or a store URL on standard input.")
    return line


def _counts(result: "CopyResult") -> str:
    return (
        f"{result.created} copied, {result.replaced} updated, {result.kept} unchanged, {result.ended} ended"
    )
