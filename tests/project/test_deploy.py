"""The files in deploy/: each is parsed by its own program where there is one, and names only what exists."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from tests.support.requirements import require_program
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
