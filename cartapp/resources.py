"""Where the files are that are not Python: `templates` and `migrations`.

In the repository they stand beside the package; in an installed wheel they are inside it.
"""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """The folder `name`, from the wheel or from the repository. Raises `FileNotFoundError`."""
    for place in (_PACKAGE / name, _PACKAGE.parent / name):
        if place.is_dir():
            return place
    raise FileNotFoundError(f"The folder {name!r} is neither in the package nor beside it.")
