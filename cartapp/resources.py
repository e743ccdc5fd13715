"""Folders of data files: `templates` and `migrations`.

In the repository they are next to the package, in an installed wheel inside it.
"""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """Return the path of a data folder. Raises `FileNotFoundError`."""
    for place in (_PACKAGE / name, _PACKAGE.parent / name):
        if place.is_dir():
            return place
    raise FileNotFoundError(f"No folder {name!r} in or next to the package.")


def display_path(path: Path) -> Path:
    """Return the path relative to the working directory if it lies below it, else unchanged."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
