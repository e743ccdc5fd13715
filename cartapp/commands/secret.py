"""`cart secret`: makes the secret key."""

from typing import Annotated

import typer

from . import output

REPLICAS = (
    "With several replicas: first add the new secret to CART_SECRET_KEYS_OLD on every one and restart them; "
    "then make it CART_SECRET_KEY everywhere, the former one among the old."
)


def secret(
    write: Annotated[bool, typer.Option("--write", help="Put it into .env.local.")] = False,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Put it into .env.local and keep the former one as old.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Replace a secret without asking.")] = False,
) -> None:
    """Print a new secret key, or put it into .env.local."""
    from ..local import LOCAL, has_secret, replace_secret
    from ..session.keys import new_secret

    if not write and not rotate:
        output.say(new_secret())
        return
    if has_secret() and not rotate:
        output.note(
            "There is a secret already; without it, what it encrypted cannot be read and visitors are "
            "logged out. --rotate keeps it among the old ones."
        )
        output.confirm("Replace it all the same?", yes=yes)
    replace_secret(keep_former=rotate)
    output.say(f"A new secret stands in {LOCAL}; it is used from the next start on.")
    if rotate:
        output.note(REPLICAS)
