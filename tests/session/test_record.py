"""Record versions are unique across processes."""

import subprocess
import sys

from cartapp.session.record import Record, key_from_id, make_tombstone, new_id

FORKING = """
import os, random
random.seed(7)  # as an application might
from cartapp.session.record import new_version

reading, writing = os.pipe()
if os.fork() == 0:
    os.write(writing, b" ".join(str(new_version()).encode() for _ in range(3)))
    os._exit(0)
os.wait()
print(os.read(reading, 1000).decode(), *(new_version() for _ in range(3)))
"""


def versions() -> list[str]:
    """Return three versions of a child process and three of its parent."""
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_forked_and_new_processes_create_different_versions() -> None:
    made = [*versions(), *versions()]
    assert len(set(made)) == 12
    assert all(0 <= int(version) < 2**63 for version in made)


def test_a_tombstone_has_a_successor_and_no_user() -> None:
    session = Record(key_from_id(new_id()), 1, 2, 3, b'{"a":1}', "7", 5, version=9)
    for user, kept in (("7", True), ("8", False)):
        successor = Record(key_from_id(new_id()), 1, 2, 3, b"{}", user)
        tombstone = make_tombstone(session, successor, 60)
        assert tombstone.is_tombstone
        assert (tombstone.successor, tombstone.kept_user) == (successor.key, kept)
        assert (tombstone.user_id, tombstone.epoch, tombstone.size, tombstone.expires) == (None, 0, 0, 60)


def test_a_session_is_not_a_tombstone() -> None:
    for data in (b"{}", b'{"a":1}', b"\x01 sealed"):
        record = Record("key", 1, 2, 3, data)
        assert not record.is_tombstone
        assert (record.successor, record.size) == (None, len(data))
    former = Record("key", 1, 2, 3, b"")  # format of versions before 1.0
    assert former.is_tombstone
    assert former.successor is None
