"""`cart catalogue`: manage the products."""

from pathlib import Path
from typing import Annotated

import typer

from . import audit, output
from .connections import with_database

app = typer.Typer(
    help="Manage the products of the shop.\n\nExample: cart catalogue load products.csv", no_args_is_help=True
)


@app.callback()
def catalogue() -> None:
    """Manage the products of the shop."""


@app.command("load")
def load(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help=".json array or .csv with id, name, price, optional description, category."
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask if products would disappear.")] = False,
) -> None:
    """Replace the catalogue by the products of a file, in the order of the file.

    Example: cart catalogue load products.csv --yes
    """
    from cartapp.catalogue import Catalogue
    from cartapp.catalogue.files import read_products

    products = read_products(file)
    kept = {product.id for product in products}
    missing = with_database(lambda database: Catalogue(database).count_others(kept), create=True)
    if missing:
        output.confirm(f"Remove {missing} products that {file} does not have?", yes=yes)
    with output.progress("Loading") as bar:
        bar.total = len(products)
        removed = with_database(lambda database: Catalogue(database).replace(products, bar), create=True)
    audit.record("catalogue load", file=str(file), loaded=len(products), removed=removed)
    output.print_line(f"Loaded {len(products)} products, removed {removed}.")
