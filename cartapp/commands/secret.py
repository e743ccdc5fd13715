"""`cart secret`: create the secret key."""

from typing import Annotated

import typer

from . import audit, output

_REPLICAS = (
    "With several replicas, first add the new secret to CART_SECRET_KEYS_OLD on each of them and restart; "
    "then make it CART_SECRET_KEY everywhere and move the former secret to CART_SECRET_KEYS_OLD."
)


def secret(
    write: Annotated[bool, typer.Option("--write", help="Write the secret to .env.local.")] = False,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Write the secret to .env.local and keep the former one as old.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Replace a secret without asking.")] = False,
) -> None:
    """Print a new secret key, or write it to .env.local.

    Example: cart secret --rotate
    """
    from cartapp.session import new_secret
    from cartapp.settings.env_local import LOCAL, has_secret, replace_secret

    if not write and not rotate:
        output.print_line(new_secret())
        return
    if has_secret() and not rotate:
        output.print_notice(
            "A secret is already set. Replacing it makes what it encrypted unreadable, and visitors are "
            "logged out. Use --rotate to keep it as an old secret."
        )
        output.confirm("Replace it?", yes=yes)
    replace_secret(keep_former=rotate)
    audit.record("secret", rotated=rotate)
    output.print_line(f"Set CART_SECRET_KEY in {LOCAL}. Restart to apply.")
    if rotate:
        output.print_notice(_REPLICAS)
