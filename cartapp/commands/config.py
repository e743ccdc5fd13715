"""`cart config`: show the settings."""

from . import output
from .output import JsonOption


def config(as_json: JsonOption = False) -> None:
    """Show the effective settings and the source of each. Secrets are masked.

    Example: cart config --json
    """
    from cartapp.settings import load, masked_url, masked_values

    settings = load()
    values = masked_values(settings)
    if as_json:
        output.print_json(
            {name: {"value": value, "from": settings.get_origin(name)} for name, value in values.items()}
        )
        return
    rows = [(name, _text(value), settings.get_origin(name)) for name, value in values.items()]
    output.console().print(output.table(("SETTING", "VALUE", "FROM"), rows))
    output.print_notice(f"Session store: {settings.backend}, {masked_url(settings.store_url)}")
    for notice in settings.notices:
        output.print_notice(notice)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(map(str, value)) or "-"
    return "-" if value is None else str(value)
