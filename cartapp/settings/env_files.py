"""Files of `NAME=value` lines in the syntax of python-dotenv, without interpolation."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dotenv.parser import Binding, parse_stream


def read(path: Path) -> dict[str, str]:
    """Return the variables of a file; none if it is missing or a folder, such as a virtual environment.

    Raises `ValueError` if the file is not UTF-8 text or contains an invalid line.
    """
    return {binding.key: binding.value or "" for binding in _bindings(path) if binding.key}


def write(path: Path, changes: Mapping[str, str]) -> None:
    """Set variables, keeping all other lines. The file is replaced atomically, with mode 0600.

    The values contain no space, quote or `#`. Raises `OSError`, and `ValueError` as `read` does.
    """
    target = Path(os.path.realpath(path))  # keep a symbolic link
    missing = dict(changes)
    lines = []
    for binding in _bindings(target):
        original = binding.original.string
        if binding.key not in changes:
            lines.append(_with_newline(original))
        elif binding.key in missing:
            blank_lines = original[: -len(original.lstrip())]
            lines.append(f"{blank_lines}{binding.key}={missing.pop(binding.key)}\n")
    lines += [f"{name}={value}\n" for name, value in missing.items()]
    _replace(target, "".join(lines))


def is_accessible_by_others(path: Path) -> bool:
    """Return whether users other than the owner can read or change the file."""
    return path.is_file() and path.stat().st_mode & 0o077 != 0


def _bindings(path: Path) -> list[Binding]:
    if path.is_dir() or not path.exists():
        return []
    try:
        with path.open(encoding="utf-8-sig") as stream:  # Windows editors write a byte order mark
            bindings = list(parse_stream(stream))
    except UnicodeDecodeError:
        raise ValueError(f"{path.name}: expected UTF-8 text.") from None
    for binding in bindings:
        if binding.error or (binding.key and binding.value is None):
            raise ValueError(f"{path.name}, line {binding.original.line}: expected NAME=value.")
    return bindings


def _with_newline(line: str) -> str:
    return line if not line or line.endswith("\n") else line + "\n"


def _replace(target: Path, text: str) -> None:
    # mkstemp uses O_EXCL and mode 0600, so that the secret is never readable by other users.
    descriptor, name = tempfile.mkstemp(prefix=".env.local.", dir=target.parent)
    try:
        if os.geteuid() == 0:  # keep the file readable by the user of the service
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
