"""`cart db`: manage the schema of `DATABASE_URL` and the session table."""

from typing import Annotated

import typer

from . import audit, output
from .connections import with_database

app = typer.Typer(
    help="Show and upgrade the database schema.\n\nExample: cart db upgrade", no_args_is_help=True
)


@app.command("upgrade")
def upgrade() -> None:
    """Run the missing migrations, and create the session table if sessions are kept in a database.

    Concurrent upgrades are safe. Run the command again after an interrupted one.

    Example: cart db upgrade
    """
    import asyncio

    from cartapp.bootstrap import upgrade_schema
    from cartapp.settings import load

    revision = asyncio.run(upgrade_schema(load()))
    audit.record("db upgrade", revision=revision)
    output.print_line(f"Schema revision: {revision}.")


@app.command("current")
def current(as_json: output.JsonOption = False) -> None:
    """Show the schema revision of the database.

    Example: cart db current
    """
    from cartapp.database.revisions import head_revision
    from cartapp.database.shop import check_revision

    revision, latest = with_database(lambda database: database.get_revision()), head_revision()
    if as_json:
        output.print_json({"revision": revision, "newest": latest})
        return
    check_revision(revision)
    if revision == latest:
        output.print_line(f"Schema revision: {revision} (latest).")
    else:
        output.print_line(f"Schema revision: {revision or 'none'}. Run `cart db upgrade` to reach {latest}.")


@app.command("sql")
def sql(
    start: Annotated[
        str, typer.Option("--from", metavar="REVISION", help="Present revision of the database.")
    ] = "base",
) -> None:
    """Print the SQL of `cart db upgrade` for a database administrator, without connecting.

    Example: cart db sql > schema.sql
    """
    from cartapp.bootstrap import schema_sql
    from cartapp.database.revisions import all_revisions
    from cartapp.settings import load

    revisions = sorted(all_revisions())
    if start != "base" and start not in revisions:
        raise typer.BadParameter(f"Unknown revision {start}. Known revisions: {', '.join(revisions)}.")
    output.write(schema_sql(load(), start))
