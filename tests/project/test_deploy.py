"""The files in deploy/: each is parsed by its own program where there is one, and names only what exists."""

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx2 as httpx
import pytest
import yaml  # type: ignore[import-untyped]

from tests.support.environment import clean_environment
from tests.support.requirements import require_program
from tests.support.servers.process import Server, accepts, free_port
from tests.support.shop import ALICE
from tests.support.shop_server import ROOT

DEPLOY = ROOT / "deploy"
FIGURES = (ROOT / "cartapp/web/metrics/figures.py").read_text(encoding="utf-8")
ENVIRONMENT = (ROOT / ".env").read_text(encoding="utf-8")

TEXTS = {
    str(path.relative_to(DEPLOY)): path.read_text(encoding="utf-8")
    for path in sorted(DEPLOY.rglob("*"))
    if path.is_file()
}


@pytest.mark.parametrize("name", [name for name in TEXTS if name.endswith(".yaml")])
def test_yaml_is_valid(name: str) -> None:
    assert all(isinstance(document, dict) for document in yaml.safe_load_all(TEXTS[name]))


@pytest.mark.parametrize("name", ["prometheus-rules.yaml", "grafana/cartapp.json"])
def test_metrics_exist(name: str) -> None:
    names = set(re.findall(r"\bcart_[a-z_]+", TEXTS[name]))
    assert names
    for metric in names:
        stem = re.sub(r"_(total|bucket|count|sum)$", "", metric)
        assert f'"{stem}"' in FIGURES, metric


@pytest.mark.parametrize("name", TEXTS)
def test_settings_exist(name: str) -> None:
    for variable in set(re.findall(r"\b(?:CART_[A-Z_]+|DATABASE_URL)\b", TEXTS[name])):
        assert re.search(rf"^#?{variable}=", ENVIRONMENT, re.MULTILINE), variable


def test_replicas_drain_for_less_than_their_stop_timeout() -> None:
    deployment, *_ = yaml.safe_load_all(TEXTS["kubernetes/cartapp.yaml"])
    pod = deployment["spec"]["template"]["spec"]
    arguments = pod["containers"][0]["args"]
    assert int(arguments[arguments.index("--drain") + 1]) + 10 < pod["terminationGracePeriodSeconds"]


def test_dashboard_is_valid_json() -> None:
    panels = json.loads(TEXTS["grafana/cartapp.json"])["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    verify = require_program("systemd-analyze", "apt-get install systemd")
    unit = tmp_path / "cartapp.service"
    unit.write_text(TEXTS["cartapp.service"].replace("/opt/cartapp/bin/cart", "/bin/true"))
    checked = subprocess.run([verify, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def sets_of_calls() -> dict[str, set[str]]:
    """Return the system calls of each set of systemd, without sets in sets."""
    program = require_program("systemd-analyze", "apt-get install systemd")
    listed = subprocess.run([program, "syscall-filter"], capture_output=True, text=True, check=True).stdout
    found: dict[str, set[str]] = {}
    for line in listed.splitlines():
        if line.startswith("@"):
            calls = found[line.strip()] = set()
        elif name := re.fullmatch(r" +([@\w-]+)", line):
            calls.add(name[1])

    def expand(name: str) -> set[str]:
        return set().union(*map(expand, found[name])) if name in found else {name}

    return {name: expand(name) for name in found}


def test_the_unit_allows_every_system_call_of_the_shop(tmp_path: Path) -> None:
    """From its start to log-ins of a known and of an unknown network."""
    sets = sets_of_calls()
    allowed = set(sets["@default"])
    for deny, names in re.findall(r"^SystemCallFilter=(~?)(.+)$", TEXTS["cartapp.service"], re.MULTILINE):
        calls = set().union(*(sets.get(name, {name}) for name in names.split()))
        allowed = allowed - calls if deny else allowed | calls
    strace, log, port = require_program("strace", "apt-get install strace"), tmp_path / "calls", free_port()
    # Only SQLite calls fchown, and only as root.
    traced = ",".join(f"?{name}" for name in sorted(sets["@known"] - allowed - {"fchown"} | {"setpriority"}))
    trace = [strace, "-D", "-f", "-qq", "--seccomp-bpf", "-e", f"trace={traced}", "-o", str(log)]
    serve = [sys.executable, str(ROOT / "cli.py"), "serve", "--port", str(port), "--workers", "2"]
    env = clean_environment(CART_TRUSTED_PROXIES="127.0.0.1")
    with Server([*trace, *serve], folder=tmp_path, ready=lambda: accepts(port), env=env):
        for path, network in (
            ("/register", "192.0.2.1"),
            ("/login", "192.0.2.1"),
            ("/login", "198.51.100.1"),
        ):
            headers = {"X-Forwarded-For": network}
            response = httpx.post(f"http://127.0.0.1:{port}{path}", json=ALICE, headers=headers)
            assert response.is_success, response.text
    used = set(re.findall(r"^\d+ +(\w+)\(", log.read_text(errors="replace"), re.MULTILINE))
    assert "setpriority" in used
    assert used <= allowed
