"""The image of deploy/Dockerfile: its build context, its packages and its drivers."""

import re
import shlex
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cartapp.session.stores import BACKENDS, base_scheme
from cartapp.session.stores.sql.dialects import dialect_from_url
from tests.support.image import context, copied_sources, copy_sources, instructions, is_ignored
from tests.support.shop_server import ROOT

SAMPLES = (ROOT / "deploy" / "compose.yaml", *(ROOT / "deploy" / "kubernetes").iterdir())
STORE_URL = re.compile(r"\b(?:CART_SESSION_URL|DATABASE_URL)\b[:=] *([\w+]+)://")


@pytest.mark.parametrize(
    ("path", "rules", "ignored"),
    [
        ("README.md", "*", True),
        ("README.md", "* !README.md", False),
        ("README.md", "!README.md *", True),
        ("cartapp/app.py", "* !cartapp", False),
        ("cartapp/web/__pycache__/a.pyc", "* !cartapp **/__pycache__", True),
        ("lock/dev.txt", "* !lock/run.txt", True),
        ("lock/dev.txt", "lock/*.txt", True),
    ],
)
def test_ignore_rules(path: str, rules: str, ignored: bool) -> None:
    assert is_ignored(PurePosixPath(path), rules.split()) is ignored


@pytest.mark.parametrize("source", copied_sources())
def test_the_build_context_contains_what_is_copied(source: str) -> None:
    """With every file of it, except compiled ones, which are not tracked."""
    assert any(path.is_relative_to(source) for path in context())


def test_the_copied_files_can_be_installed(tmp_path: Path) -> None:
    """By the command of the image, with the tools of this environment."""
    copy_sources(tmp_path / "src")
    (command,) = (line for line in instructions("RUN") if "--no-deps" in line)
    arguments = shlex.split(command.replace("/venv/bin/pip", ""))
    target = tmp_path / "target"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(
        [*pip, "--quiet", "--no-index", "--target", str(target)],
        cwd=tmp_path / "src",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("app.py", "session/manager.py", "templates/base.html", "migrations/env.py"):
        assert (target / "cartapp" / name).is_file(), name


def driver_packages(scheme: str) -> tuple[str, ...]:
    """Return the packages of the driver that a URL with this scheme needs."""
    (backend,) = (one for one in BACKENDS if one.takes(scheme))
    if backend.name != "database" or base_scheme(scheme) == "sqlite":
        return backend.packages
    return dialect_from_url(f"{scheme}://host/database", 1).packages


def distributions(package: str) -> set[str]:
    """Return the distributions that a requirement with extras adds directly."""
    requirement = Requirement(package)
    listed = [Requirement(text) for text in distribution(requirement.name).requires or []]
    by_extra = [one for one in listed if one.marker is not None and not one.marker.evaluate({"extra": ""})]
    added = {
        one.name
        for one in by_extra
        for extra in requirement.extras
        if one.marker is not None and one.marker.evaluate({"extra": extra})
    }
    return {canonicalize_name(name) for name in {requirement.name, *added}}


def test_the_image_has_the_drivers_of_the_samples() -> None:
    schemes = {scheme for path in SAMPLES for scheme in STORE_URL.findall(path.read_text(encoding="utf-8"))}
    assert {"redis", "postgresql+asyncpg"} <= schemes
    (lock,) = re.findall(r"--require-hashes -r (\S+)", "\n".join(instructions("RUN")))
    installed = set(re.findall(r"^([\w.-]+)(?:\[.*\])?==", (ROOT / lock).read_text(), re.MULTILINE))
    for scheme in schemes:
        for package in driver_packages(scheme):
            assert distributions(package) <= installed, f"{scheme}:// needs {package}"
