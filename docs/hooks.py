"""Hook of MkDocs: show links to files outside `docs/` as paths, since the site lacks these files."""

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Replace these links. Raises `PluginError` for a missing file."""
    folder = Path(page.file.abs_src_path).parent

    def replace(link: re.Match[str]) -> str:
        text, target, _anchor = link.groups()
        path = (folder / target).resolve()
        if path.is_relative_to(ROOT / "docs"):
            return link[0]
        if not path.exists():
            raise PluginError(f"{page.file.src_path}: no such file: {target}")
        name = path.relative_to(ROOT).as_posix()
        return f"`{name}`" if text.strip("`") in name else f"{text} (`{name}`)"

    return _LINK.sub(replace, markdown)
