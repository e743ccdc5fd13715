"""Servers for tests: each in a temporary folder, on free loopback ports, and always stopped."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import cycle
from pathlib import Path
from random import Random
from types import TracebackType
from typing import NamedTuple, Self

from tests.support.polling import DEADLINE, wait_for

_SHOWN = 4000  # characters of a server's output in an error message


class ServerFailed(Exception):
    """A server did not start, or exited unexpectedly. The message contains the end of its output."""


# Below the ephemeral ports, so that no outgoing connection takes the port of a stopped server.
PORTS = range(10_000, 32_768)


def ports_of_process(worker: int, workers: int) -> Iterator[int]:
    """Return the ports of one of several test processes, in random order.

    No other process takes the port of a stopped server, or one that its server has not bound yet. Within the
    process a port returns only after all others.
    """
    ports = list(PORTS[worker::workers])
    Random().shuffle(ports)  # another run may use the machine at the same time
    return cycle(ports)


_ports = ports_of_process(
    int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")),
    int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")),
)


def free_port() -> int:
    """Return a free TCP port of the loopback address."""
    while True:
        port = next(_ports)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def accepts(port: int) -> bool:
    """Whether a process listens on a loopback port: the simplest test of readiness."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def unprivileged(name: str) -> str | None:
    """Return an account for a server that refuses to run as root, or None if the tests do not run as root."""
    return name if os.geteuid() == 0 else None


@contextmanager
def temporary_folder(user: str | None = None) -> Iterator[Path]:
    """Create a folder owned by `user` with a short path, which Unix sockets need; delete it on exit."""
    folder = Path(tempfile.mkdtemp(prefix="cart-test-", dir="/tmp"))
    try:
        if user is not None:
            account = pwd.getpwnam(user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder)


Disk = Callable[[str | None], AbstractContextManager[Path]]
"""Creates the folder for a server's files, as `temporary_folder` does."""


class Server:
    """A server process that runs during the `with` block and writes its output into `folder`.

    `ready` is polled until it returns True. The process has its own process group, so that Ctrl-C reaches
    only the tests, which then stop it.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        folder: Path,
        ready: Callable[[], bool],
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        stop_by: signal.Signals = signal.SIGTERM,
    ) -> None:
        self._command = [str(part) for part in command]
        self._folder = folder
        self._ready = ready
        self._user = user
        self._env = {**os.environ, **(env or {})}
        self._stop_by = stop_by
        self._output = folder / "output.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = self._process is not None and self._process.poll() is not None
        self.stop()
        if ended and error is None:
            raise self._failed("ended by itself")

    @property
    def output(self) -> str:
        """Return the end of its standard output and error."""
        return self._output.read_text(errors="replace")[-_SHOWN:]

    def start(self) -> None:
        """Start the server and wait until it is ready. Raises `ServerFailed`."""
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._env,
                user=self._user,
                group=pwd.getpwnam(self._user).pw_gid if self._user else None,
                extra_groups=[] if self._user else None,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_for(self._is_ready)
        except TimeoutError:
            self.kill()
            raise self._failed("was not ready in time") from None
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop the server, with SIGKILL if it ignores other signals. It can be started again."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self.resume()
            self._process.send_signal(self._stop_by)
            try:
                self._process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None

    def kill(self) -> None:
        """Kill the server with SIGKILL, as in a crash. It can be started again."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(DEADLINE)
        self._process = None

    def revive(self) -> None:
        """Start the server if it has exited."""
        if self._process is None or self._process.poll() is not None:
            self.start()

    def restart(self) -> None:
        """Restart the server on the same ports and files."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Make the server hang with SIGSTOP: connections stay open without a response."""
        if self._process is None:
            return
        self._signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # returns once all threads have stopped
        wait_for(self._hang)

    def _hang(self) -> bool:
        pid = self._process.pid if self._process else 0
        return all(child.state in "TZ" for child in _descendants(pid))

    def resume(self) -> None:
        """Resume a paused server."""
        self._signal(signal.SIGCONT)

    def children(self, words: str) -> list[int]:
        """Return the IDs of its descendants with these words in their command line."""
        pid = self._process.pid if self._process else 0
        return [child.pid for child in _descendants(pid) if words in child.command]

    def _signal(self, number: signal.Signals) -> None:
        """Signal its child processes as well: those of PostgreSQL lead their own process groups."""
        if self._process is None or self._process.poll() is not None:
            return
        for pid in (self._process.pid, *(child.pid for child in _descendants(self._process.pid))):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _is_ready(self) -> bool:
        if self._ready():
            return True
        if self._process is None or self._process.poll() is None:
            return False
        raise self._failed(f"ended with status {self._process.returncode}")

    def _failed(self, what: str) -> ServerFailed:
        return ServerFailed(f"{self._command[0]} {what}:\n{self.output}")


class _Child(NamedTuple):
    pid: int
    parent: int
    state: str
    """Return the process state as one letter, as in `ps`."""
    command: str


def _descendants(pid: int) -> list[_Child]:
    """Return the descendants of a process."""
    command = ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,args="]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    processes = []
    for line in listing.splitlines():
        number, parent, state, *words = line.split(None, 3)
        processes.append(_Child(int(number), int(parent), state[0], "".join(words)))
    parents, found = [pid], []
    for parent_pid in parents:  # grows during the iteration
        children = [child for child in processes if child.parent == parent_pid]
        found += children
        parents += [child.pid for child in children]
    return found
