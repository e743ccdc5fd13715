"""The log of a SQLite database (WAL), whose size is bounded."""

import os
from pathlib import Path
from typing import Any

MAX_LOG = 16 << 20
"""Bytes of the log (WAL) beyond which it is emptied; four times what SQLite's own checkpoints aim at."""

_AGAIN_AFTER = 4 << 20
"""Bytes of the log, since a reader kept it from being emptied, after which that is tried again."""

_LOG_WAIT = 100
"""Milliseconds to wait for readers as it is emptied, while nothing can be written."""


class SQLiteLog:
    """The log of a database in a file.

    SQLite's own checkpoints never wait. Where writers and readers are always busy, each of them leaves
    something of the log, which then grows for ever.
    """

    def __init__(self, path: Path) -> None:
        self._name = f"{path}-wal"
        self._empty_at = MAX_LOG  # bytes of the log

    def bound(self, connection: Any, timeout: float) -> None:
        """Empty the log where it has become too large; for a driver's connection outside a transaction.

        `timeout` is the connection's own, in seconds.
        """
        try:
            size = os.stat(self._name).st_size  # noqa: PTH116 - less than half the time of a Path's
        except FileNotFoundError:
            return
        # A reader that takes minutes, such as a backup, must not make writers wait each time.
        if size <= self._empty_at:
            return
        connection.execute(f"PRAGMA busy_timeout={_LOG_WAIT}")
        try:
            (is_busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout={round(timeout * 1000)}")
        self._empty_at = size + _AGAIN_AFTER if is_busy else MAX_LOG
