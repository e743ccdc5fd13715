"""`cart catalogue`: the products of the shop."""

from pathlib import Path
from typing import Annotated

import typer

from . import output
from .opened import with_database

app = typer.Typer(help="Change the products that the shop sells.", no_args_is_help=True)


@app.callback()
def catalogue() -> None:
    """Change the products that the shop sells."""


@app.command("load")
def load(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A .json array, or a .csv, of id, name, price and perhaps description."
        ),
    ],
) -> None:
    """Let the products of a file be the catalogue, in their order; the former ones are gone."""
    from ..catalogue import Catalogue
    from ..catalogue.files import read_products

    products = read_products(file)
    gone = with_database(lambda database: Catalogue(database).replace(products), new=True)
    output.say(f"{len(products)} products are in the catalogue; {gone} of the former ones are gone.")
