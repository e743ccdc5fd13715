"""Reading and writing files of `NAME=value` lines, in the form of python-dotenv; nothing is interpolated."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dotenv.parser import Binding, parse_stream


def read(path: Path) -> dict[str, str]:
    """The variables of a file; none when it is not there, or is a folder (a virtual environment may be).

    Raises `ValueError` with a sentence for a file that is not UTF-8 text or has a line of another form.
    """
    return {binding.key: binding.value or "" for binding in _bindings(path) if binding.key}


def write(path: Path, changes: Mapping[str, str]) -> None:
    """Set variables and keep every other line; the file is replaced in one step and gets mode 0600.

    The values are plain words: without blanks, quotes or `#`. Raises `OSError`, and `ValueError` as `read`.
    """
    target = Path(os.path.realpath(path))  # a symbolic link stays one
    missing = dict(changes)
    lines = []
    for binding in _bindings(target):
        original = binding.original.string
        if binding.key not in changes:
            lines.append(_ended(original))
        elif binding.key in missing:
            blank_lines = original[: -len(original.lstrip())]
            lines.append(f"{blank_lines}{binding.key}={missing.pop(binding.key)}\n")
    lines += [f"{name}={value}\n" for name, value in missing.items()]
    _replace(target, "".join(lines))


def is_open_to_others(path: Path) -> bool:
    """Return whether users other than the file's owner can read or change it."""
    return path.is_file() and path.stat().st_mode & 0o077 != 0


def _bindings(path: Path) -> list[Binding]:
    if path.is_dir() or not path.exists():
        return []
    try:
        with path.open(encoding="utf-8-sig") as stream:  # editors on Windows begin it with a mark
            bindings = list(parse_stream(stream))
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not UTF-8 text.") from None
    for binding in bindings:
        if binding.error or (binding.key and binding.value is None):
            line = binding.original.line
            raise ValueError(f"Line {line} of {path.name} is not of the form NAME=value.")
    return bindings


def _ended(line: str) -> str:
    return line if not line or line.endswith("\n") else line + "\n"


def _replace(target: Path, text: str) -> None:
    # mkstemp makes the file with O_EXCL and mode 0600: nobody else ever sees the secret in it.
    descriptor, name = tempfile.mkstemp(prefix=".env.local.", dir=target.parent)
    try:
        if os.geteuid() == 0:  # an administrator must not take the file away from the service's own user
            owner = (target if target.exists() else target.parent).stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink()
        raise
