"""The parent process of several workers."""

import logging
import os
import signal
from socket import socket

from uvicorn import Config
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from .drain import STOP_NOW

logger = logging.getLogger("cartapp.server")

_EXIT_SECONDS = 0.1
"""Time until the exit status of a worker is known after its pipe is closed."""

_JOIN_SECONDS = 0.5
"""Time between two looks at signals while workers stop, as in uvicorn's own loop."""


class Supervisor(Multiprocess):
    """uvicorn's parent process, which logs why a worker is replaced.

    `drains`: whether the workers serve on after SIGTERM. SIGINT stops them without that.
    """

    def __init__(self, config: Config, sockets: list[socket], *, drains: bool) -> None:
        super().__init__(config, sockets)
        self._drains = drains

    def keep_subprocess_alive(self) -> None:
        """Replace workers that ended or hang. uvicorn calls this twice a second."""
        for index, worker in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            if worker.is_alive(timeout=self.config.timeout_worker_healthcheck):
                continue
            worker.process.join(_EXIT_SECONDS)
            cause = _describe(worker.exitcode)
            worker.kill()
            worker.join()
            if worker.exitcode == STARTUP_FAILURE:
                logger.error("Worker %s failed to start; stopping", worker.pid)
                self.should_exit.set()
                return
            replacement = self.processes[index] = Process(self.config, self.sockets)
            replacement.start()
            logger.warning("Worker %s %s; worker %s replaces it", worker.pid, cause, replacement.pid)

    def terminate_all(self) -> None:
        """Close the parent's copy of the listening socket, then stop the workers.

        The copy would keep the socket open after the last worker has closed it: the kernel would establish
        connections that no process accepts.
        """
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    def handle_int(self) -> None:
        """Stop without a drain. A worker that is still starting is ended by the signal."""
        super().handle_int()
        for worker in self.processes if self._drains else ():
            if worker.pid is not None and worker.process.is_alive():
                os.kill(worker.pid, STOP_NOW)

    def join_all(self) -> None:
        """Wait for the workers; SIGINT ends their drain."""
        for worker in self.processes:
            while worker.process.is_alive():
                worker.process.join(_JOIN_SECONDS)
                if signal.SIGINT in self.signal_queue:
                    self.signal_queue.clear()
                    self.handle_int()


def _describe(exit_code: int | None) -> str:
    if exit_code is None:
        return "did not respond and was killed"
    if exit_code >= 0:
        return f"exited with status {exit_code}"
    return f"was ended by {signal.Signals(-exit_code).name}"
