"""Redis servers for tests: a single one, a master with replicas and sentinels, a cluster of six nodes.

Every function takes the path of a `redis-server` or a `valkey-server`.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.polling import wait_for
from tests.support.requirements import require_program
from tests.support.servers.process import Server, free_port, temporary_folder

PASSWORD = "p@ss:w/rd%,?"  # each of its special characters has a meaning in a URL
SENTINELS_PASSWORD = "an/other&"

AT_ONCE = "repl-diskless-sync-delay 0"
"""A setting of a master: a replica gets its copy without waiting for others."""

_NODE = (
    "cluster-enabled yes",
    "cluster-node-timeout 1000",
    "cluster-replica-validity-factor 0",
    AT_ONCE,
)
_SLOTS = ((0, 5460), (5461, 10922), (10923, 16383))  # slots of the three masters of a cluster


def redis_binary() -> Path:
    """Return the path of `redis-server`. Skips the test if it is missing."""
    return Path(require_program("redis-server", "apt-get install redis-server"))


@dataclass(frozen=True)
class RedisServer:
    """A running server: a single one, a sentinel, or a node of a cluster."""

    name: str
    """`redis` or `valkey`."""
    server: Server
    port: int
    folder: Path
    password: str

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.name}://{login(self.password)}{self.address}"

    def execute(self, *words: str | bytes | int, db: int = 0) -> Any:
        """Send a command on a new connection and return the response."""
        return execute(self.port, self.password, *words, db=db)

    def commands(self) -> dict[str, int]:
        """Return the number of calls of each command, except those that a client sends on connect."""
        counted = {}
        for line in self.execute("INFO", "commandstats").splitlines()[1:]:
            name, _, figures = line.removeprefix("cmdstat_").partition(":")
            if name.partition("|")[0] not in ("client", "config", "info", "auth"):
                counted[name] = int(figures.removeprefix("calls=").partition(",")[0])
        return counted

    def has(self, *lines: str) -> bool:
        """Return whether INFO has all these lines."""
        return set(lines) <= set(self.execute("INFO").splitlines())


@dataclass(frozen=True)
class RedisServers:
    """Servers of one deployment; `url` is that of a store."""

    url: str
    servers: Sequence[RedisServer]


def login(password: str) -> str:
    """The credentials in a URL."""
    return f":{quote(password, safe='')}@" if password else ""


def execute(port: int, password: str, *words: str | bytes | int, db: int = 0) -> Any:
    """Send a command to the server on this port and return its response as text."""
    never_again = Retry(NoBackoff(), 0)
    options: dict[str, Any] = {"protocol": 2, "socket_timeout": 10, "retry": never_again}
    with redis.Redis(port=port, db=db, password=password or None, **options) as client:
        client.response_callbacks.clear()
        answer = client.execute_command(*words)
    return answer.decode() if isinstance(answer, bytes) else answer


@contextmanager
def running(
    binary: Path, *settings: str, mode: str = "", password: str = "", port: int | None = None
) -> Iterator[RedisServer]:
    """Start a server with these configuration lines. By default it has no persistence."""
    port = port or free_port()
    basics = [f"port {port}", "bind 127.0.0.1"]
    basics += [] if mode else ['save ""']
    basics += [f'requirepass "{password}"'] if password else []
    with temporary_folder() as folder:
        (folder / "server.conf").write_text("\n".join([*basics, *settings, ""]))
        command: list[str | Path] = [binary, "server.conf", *([mode] if mode else [])]
        with Server(command, folder=folder, ready=lambda: _answers(port, password)) as server:
            yield RedisServer(binary.name.partition("-")[0], server, port, folder, password)


def _answers(port: int, password: str) -> bool:
    try:
        return bool(execute(port, password, "PING"))
    except redis.ResponseError:
        return True  # it responds, with an error
    except redis.RedisError:
        return False


@contextmanager
def running_sentinels(binary: Path) -> Iterator[RedisServers]:
    """Start a master, two replicas and three sentinels with a down-after time of half a second.

    `servers` are the master, the replicas, and then the sentinels.
    """
    with ExitStack() as stack:

        def start(*settings: str, mode: str = "", password: str = PASSWORD) -> RedisServer:
            return stack.enter_context(running(binary, *settings, mode=mode, password=password))

        member = (AT_ONCE, f'masterauth "{PASSWORD}"')
        master = start(*member)
        replicas = [start(*member, f"replicaof 127.0.0.1 {master.port}") for _ in range(2)]
        wait_for(lambda: all(replica.has("master_link_status:up") for replica in replicas))
        watching = (
            f"sentinel monitor shop 127.0.0.1 {master.port} 2",
            f'sentinel auth-pass shop "{PASSWORD}"',
            f'sentinel sentinel-pass "{SENTINELS_PASSWORD}"',
            "sentinel down-after-milliseconds shop 500",
            "sentinel failover-timeout shop 2000",
        )
        sentinels = [start(*watching, mode="--sentinel", password=SENTINELS_PASSWORD) for _ in range(3)]
        wait_for(lambda: all(_knows_all_servers(sentinel) for sentinel in sentinels))
        addresses = ",".join(sentinel.address for sentinel in sentinels)
        login_there = f"sentinel_password={quote(SENTINELS_PASSWORD, safe='')}"
        url = f"{master.name}+sentinel://{login(PASSWORD)}{addresses}/shop?{login_there}"
        yield RedisServers(url, [master, *replicas, *sentinels])


def _knows_all_servers(sentinel: RedisServer) -> bool:
    fields = [word.decode() for word in sentinel.execute("SENTINEL", "MASTER", "shop")]
    state = dict(zip(fields[::2], fields[1::2], strict=True))
    return (state["num-slaves"], state["num-other-sentinels"]) == ("2", "2")


@contextmanager
def running_cluster(binary: Path) -> Iterator[RedisServers]:
    """Start three masters and a replica of each, with a node timeout of a second."""
    with ExitStack() as stack:
        buses = [free_port() for _ in range(6)]  # the ports of the cluster bus
        settings = (*_NODE, f'masterauth "{PASSWORD}"')
        nodes = [
            stack.enter_context(running(binary, *settings, f"cluster-port {bus}", password=PASSWORD))
            for bus in buses
        ]
        for epoch, node in enumerate(nodes, 1):
            node.execute("CLUSTER", "SET-CONFIG-EPOCH", epoch)
            node.execute("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, buses[0])
        wait_for(lambda: all("cluster_known_nodes:6" in node.execute("CLUSTER", "INFO") for node in nodes))
        for master, replica, slots in zip(nodes[:3], nodes[3:], _SLOTS, strict=True):
            master.execute("CLUSTER", "ADDSLOTSRANGE", *slots)
            replica.execute("CLUSTER", "REPLICATE", master.execute("CLUSTER", "MYID"))
        wait_for(lambda: all("cluster_state:ok" in node.execute("CLUSTER", "INFO") for node in nodes))
        wait_for(lambda: all(replica.has("master_link_status:up") for replica in nodes[3:]))
        addresses = ",".join(node.address for node in nodes)
        yield RedisServers(f"{nodes[0].name}+cluster://{login(PASSWORD)}{addresses}", nodes)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with running(redis_binary()) as server:
        yield server


@pytest.fixture(scope="module")  # idle, they take a fortieth of a core
def redis_sentinels() -> Iterator[RedisServers]:
    with running_sentinels(redis_binary()) as servers:
        yield servers


@pytest.fixture(scope="module")  # idle, they take a fortieth of a core
def redis_cluster() -> Iterator[RedisServers]:
    with running_cluster(redis_binary()) as servers:
        yield servers
