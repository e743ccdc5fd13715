"""Versions of records: no two processes make the same."""

import subprocess
import sys

FORKING = """
import os, random
random.seed(7)  # as an application may do
from cartapp.session.record import new_version

reading, writing = os.pipe()
if os.fork() == 0:
    os.write(writing, b" ".join(str(new_version()).encode() for _ in range(3)))
    os._exit(0)
os.wait()
print(os.read(reading, 1000).decode(), *(new_version() for _ in range(3)))
"""


def versions() -> list[str]:
    """Three of a child, and three of its parent."""
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_forked_process_makes_other_versions_and_so_does_a_new_one() -> None:
    made = [*versions(), *versions()]
    assert len(set(made)) == 12
    assert all(0 <= int(version) < 2**63 for version in made)
