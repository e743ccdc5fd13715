"""Versions of the measured software."""

import json
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import distributions, version
from pathlib import Path

from . import wrk
from .registry import NODE_MODULES, TINA4, Peer, node_program

COMMON = ("hiredis", "httptools", "redis", "uvicorn", "uvloop")
"""Packages shared by several Python peers."""


def versions(peers: Sequence[Peer]) -> list[str]:
    """Return interpreters, packages and wrk as `name version`."""
    homes = {peer.home for peer in peers}
    found = {name: _version(name, peer.home) for peer in peers for name in peer.packages}
    found |= {name: version(name) for name in COMMON}
    return [
        f"Python {platform.python_version()}",
        *([f"{_version_output(str(TINA4 / 'bin' / 'python'))} for tina4-python"] if TINA4 in homes else []),
        *([f"Node {_version_output(node_program()).removeprefix('v')}"] if NODE_MODULES in homes else []),
        *(f"{name} {found[name]}" for name in sorted(found, key=lambda name: name.lstrip("@"))),
        wrk.version(),
    ]


def _version(name: str, home: Path | None) -> str:
    if home == NODE_MODULES:
        return str(json.loads((NODE_MODULES / name / "package.json").read_text())["version"])
    if home == TINA4:
        places = [str(place) for place in TINA4.glob("lib/python*/site-packages")]
        return next(iter(distributions(name=name, path=places))).version
    return version(name)


def _version_output(program: str) -> str:
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
