"""Ports of the servers that tests start."""

from itertools import islice

from tests.support.servers.process import PORTS, ports_of_process

WORKERS = 4


def test_processes_of_a_run_share_no_port() -> None:
    shares = [set(islice(ports_of_process(worker, WORKERS), len(PORTS))) for worker in range(WORKERS)]
    assert sum(len(share) for share in shares) == len(PORTS)
    assert set.union(*shares) == set(PORTS)


def test_a_process_takes_each_port_once_before_any_again() -> None:
    ports = ports_of_process(0, WORKERS)
    first = list(islice(ports, len(PORTS) // WORKERS))
    assert len(set(first)) == len(first)
    assert first != sorted(first)
    assert next(ports) == first[0]
