"""`cart db`: the schema of DATABASE_URL, and the table of sessions that are kept in a database."""

from typing import Annotated

import typer

from . import output
from .opened import with_database

app = typer.Typer(help="Show the schema of the database, and bring it up to date.", no_args_is_help=True)


@app.command("upgrade")
def upgrade() -> None:
    """Run the migrations that the database lacks, and make the table of its sessions.

    Several of these commands may run at the same time; one that was killed is completed by the next one.
    """
    import asyncio

    from ..settings import load
    from ..start import upgrade_schema

    output.say(f"The schema is at revision {asyncio.run(upgrade_schema(load()))}.")


@app.command("current")
def current(as_json: output.JsonOption = False) -> None:
    """Show the revision that the database is at."""
    from ..revisions import head
    from ..schema import check_known

    found, newest = with_database(lambda database: database.revision()), head()
    if as_json:
        output.print_json({"revision": found, "newest": newest})
        return
    check_known(found)
    if found == newest:
        output.say(f"The schema is at revision {found}, the newest.")
    else:
        output.say(f"The schema is at revision {found or 'none'}; `cart db upgrade` brings it to {newest}.")


@app.command("sql")
def sql(
    start: Annotated[
        str, typer.Option("--from", metavar="REVISION", help="The revision that the database is at.")
    ] = "base",
) -> None:
    """Print the SQL of `cart db upgrade`, for a database administrator; nothing is connected to.

    Example: cart db sql > schema.sql
    """
    from ..revisions import known
    from ..settings import load
    from ..start import schema_sql

    if start != "base" and start not in known():
        raise typer.BadParameter(f"There is no revision {start}; there are {', '.join(sorted(known()))}.")
    output.write(schema_sql(load(), start))
