"""The wheel, installed into an empty environment, serves the application from an empty folder."""

import os
import re
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.servers.process import Server, accepts, free_port

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def link_run_packages(site: Path) -> None:
    """Let the environment have the packages of lock/run.txt, and none of the extras or tools."""
    for name in re.findall(r"^([\w.-]+)==", (ROOT / "lock" / "run.txt").read_text(), re.MULTILINE):
        try:
            files = distribution(name).files or []
        except PackageNotFoundError:
            continue  # locked for another platform
        for top in {Path(str(file)).parts[0] for file in files} - {"..", "__pycache__"}:
            (site / top).symlink_to(distribution(name).locate_file(top))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the commands of an environment that holds the wheel."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    (site,) = home.glob("lib/python3*/site-packages")
    link_run_packages(site)
    return home / "bin"


def test_templates_migrations_and_assets_travel_in_the_wheel(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    for pattern in (
        "templates/**/*.html",
        "migrations/**/*.py",
        "cartapp/web/static/**/*.*",
        "cartapp/web/locales/**/*.*",
    ):
        own = {path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern)}
        assert {f"cartapp/{path.removeprefix('cartapp/')}" for path in own} <= held
    assert {"cartapp/templates/base.html", "cartapp/web/locales/ar/LC_MESSAGES/messages.mo"} <= held


def test_serves_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    port = free_port()
    bare = ["env", "-i", f"PATH={os.environ['PATH']}"]  # nothing of this environment's helps it
    command = [*bare, str(installed / "cart"), "serve", "--port", str(port)]
    with Server(command, folder=tmp_path, ready=lambda: accepts(port)):
        browser = httpx.Client(base_url=f"http://127.0.0.1:{port}")
        assert [browser.get("/visit-counter").json()["visit_count"] for _ in range(2)] == [1, 2]
        assert browser.get("/").headers["content-type"].startswith("text/html")
        browser.close()
    assert (tmp_path / "data").is_dir()


def test_runs_what_was_installed(installed: Path, tmp_path: Path) -> None:
    where = [str(installed / "python"), "-c", "import cartapp; print(cartapp.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert Path(found).is_relative_to(installed.parent)
