"""Measure whether a local disk is fast enough for I/O on the event loop."""

import time

_SLOW = 0.01  # seconds; a slower operation must not block the event loop
_SLOW_IN_A_ROW = 3  # fewer may be due to another process on the processor
_THREADS_FOR = 1.0  # seconds to use threads after slow operations


class DiskLatency:
    """Latency of the last operations, in seconds of the monotonic clock."""

    slow_until: float = 0.0
    """Use threads until then: the disk was slow."""

    _slow_steps = 0  # consecutive, including the last

    def record(self, started: float) -> None:
        """Record an operation that has just ended."""
        ended = time.monotonic()
        self._slow_steps = self._slow_steps + 1 if ended - started > _SLOW else 0
        if self._slow_steps >= _SLOW_IN_A_ROW:
            self.slow_until = ended + _THREADS_FOR
