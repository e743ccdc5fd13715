"""Bound the size of SQLite's write-ahead log (WAL)."""

import os
from pathlib import Path
from typing import Any

MAX_LOG = 16 << 20
"""Size in bytes at which the log is truncated; four times the target of SQLite's checkpoints."""

_AGAIN_AFTER = 4 << 20
"""Growth in bytes until the next attempt, after a reader prevented a truncation."""

_LOG_WAIT = 100
"""Milliseconds to wait for readers during a truncation, which blocks writes."""


class WriteAheadLog:
    """The write-ahead log of a database file.

    SQLite's own checkpoints never wait. With writers and readers always busy, none of them completes, and the
    log grows forever.
    """

    def __init__(self, path: Path) -> None:
        self._name = f"{path}-wal"
        self._empty_at = MAX_LOG  # bytes of the log

    def bound(self, connection: Any, timeout: float) -> None:
        """Truncate the log if it is too large, on a driver's connection outside a transaction.

        `timeout` is the connection's own, in seconds.
        """
        try:
            size = os.stat(self._name).st_size  # noqa: PTH116 - less than half the time of a Path's
        except FileNotFoundError:
            return
        # A long reader, such as a backup, must not delay every write.
        if size <= self._empty_at:
            return
        connection.execute(f"PRAGMA busy_timeout={_LOG_WAIT}")
        try:
            (is_busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout={round(timeout * 1000)}")
        self._empty_at = size + _AGAIN_AFTER if is_busy else MAX_LOG
