"""`cart config`: the settings in force."""

from . import output
from .output import JsonOption


def config(as_json: JsonOption = False) -> None:
    """Show the effective settings and where each came from; secrets are masked."""
    from ..settings import load, masked_url, shown

    settings = load()
    values = shown(settings)
    if as_json:
        output.print_json(
            {name: {"value": value, "from": settings.origin(name)} for name, value in values.items()}
        )
        return
    rows = [(name, _text(value), settings.origin(name)) for name, value in values.items()]
    output.console().print(output.table(("SETTING", "VALUE", "FROM"), rows))
    output.note(f"Sessions are kept in {settings.backend}: {masked_url(settings.store_url)}")
    for sentence in settings.notices:
        output.note(sentence)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(map(str, value)) or "-"
    return "-" if value is None else str(value)
