"""`cart db`: the schema of DATABASE_URL."""

import typer

from . import output
from .opened import with_database

app = typer.Typer(help="Show the schema of the database, and bring it up to date.", no_args_is_help=True)


@app.command("upgrade")
def upgrade() -> None:
    """Run the migrations that the database lacks."""
    with_database(lambda database: database.upgrade())
    output.say(f"The schema is at revision {with_database(lambda database: database.revision())}.")


@app.command("current")
def current(as_json: output.JsonOption = False) -> None:
    """Show the revision that the database is at."""
    from ..schema import head

    found, newest = with_database(lambda database: database.revision()), head()
    if as_json:
        output.print_json({"revision": found, "newest": newest})
    elif found == newest:
        output.say(f"The schema is at revision {found}, the newest.")
    else:
        output.say(f"The schema is at revision {found or 'none'}; `cart db upgrade` brings it to {newest}.")
