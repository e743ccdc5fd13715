"""The audit log: one line of JSON for each command that ends sessions or changes something.

Each line is one `write` to a file opened for appending, so lines of concurrent commands never mix.
"""

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from cartapp.escapes import dump_json

from . import output

# Not blocking: a pipe that no process reads is an error instead of a hanging command.
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK


def record(command: str, **details: object) -> None:
    """Append a line to `CART_AUDIT_LOG`: time, operator, host, command and details.

    If the file cannot be written, print the line to standard error: what it reports has been done.
    """
    import socket

    from cartapp.settings import load

    entry = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "operator": _operator(),
        "host": socket.gethostname(),
        "command": command,
        **{name: value for name, value in details.items() if value is not None},
    }
    line = dump_json(entry)
    path = Path(load().audit_log)
    try:
        _append(path, line)
    except OSError as error:
        output.print_notice(f"CART_AUDIT_LOG: cannot write {path} ({error.strerror}). The line was: {line}")


def _append(path: Path, line: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, _APPEND, 0o600)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


def _operator() -> str:
    """Return the user of the terminal, even after `sudo`; without a terminal, that of the process."""
    import getpass

    with suppress(OSError):
        return os.getlogin()
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())
