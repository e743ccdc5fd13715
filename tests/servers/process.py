"""Real servers for tests: each in a temporary folder on free loopback ports, and always stopped."""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.waiting import DEADLINE, wait_for

_SHOWN = 4000  # characters of a server's output that an error shows


class ServerFailed(Exception):
    """A server did not start, or ended by itself; the message has the end of its output."""


# Below those that a system gives to outgoing connections: none takes the port of a server that is stopped.
PORTS = range(10_000, 32_768)


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on; by chance, as many tests ask at once."""
    while True:
        port = secrets.choice(PORTS)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def accepts(port: int) -> bool:
    """Whether somebody listens on a loopback port: the simplest test of readiness."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def unprivileged(name: str) -> str | None:
    """The account for a server that refuses to run as root; None when the tests do not run as root."""
    return name if os.geteuid() == 0 else None


@contextmanager
def temporary_folder(user: str | None = None) -> Iterator[Path]:
    """A folder with a short path (Unix sockets need that) that belongs to `user`, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="cart-test-", dir="/tmp"))
    try:
        if user is not None:
            account = pwd.getpwnam(user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder)


class Server:
    """A server process that runs as long as the `with` block, with its output in `folder`.

    `ready` is asked again and again until it says True. The process is in a session of its own, so that
    Ctrl-C reaches only the tests, which then stop it.
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
        """The end of what it wrote to its standard output and error."""
        return self._output.read_text(errors="replace")[-_SHOWN:]

    def start(self) -> None:
        """Start it and wait until it is ready. Raises `ServerFailed`."""
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
        """End it politely, or with SIGKILL when that does not help; it may be started again."""
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
        """End it with SIGKILL, as a crash would; it may be started again."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(DEADLINE)
        self._process = None

    def restart(self) -> None:
        """Stop it and start it again on the same ports and files."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Let it hang: connections stay open and nothing is answered. Returns when it has stopped."""
        if self._process is None:
            return
        self._signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # when all its threads have stopped
        wait_for(self._hang)

    def _hang(self) -> bool:
        pid = self._process.pid if self._process else 0
        return all(child.state in "TZ" for child in _descendants(pid))

    def resume(self) -> None:
        """End a pause."""
        self._signal(signal.SIGCONT)

    def children(self, words: str) -> list[int]:
        """The processes below it with these words in their command line."""
        pid = self._process.pid if self._process else 0
        return [child.pid for child in _descendants(pid) if words in child.command]

    def _signal(self, number: signal.Signals) -> None:
        """Reach its child processes too: PostgreSQL's, for one, each lead a process group of their own."""
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
    """One letter, as `ps` shows it."""
    command: str


def _descendants(pid: int) -> list[_Child]:
    """The children of a process, and theirs."""
    command = ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,args="]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    everybody = []
    for line in listing.splitlines():
        number, parent, state, *words = line.split(None, 3)
        everybody.append(_Child(int(number), int(parent), state[0], "".join(words)))
    parents, found = [pid], []
    for parent_pid in parents:  # grows while it is walked
        children = [child for child in everybody if child.parent == parent_pid]
        found += children
        parents += [child.pid for child in children]
    return found
