"""The wheels of the application and of the library, installed into empty environments."""

import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import httpx2 as httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.docs import examples
from tests.support.servers.process import Server, accepts, free_port

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "packages" / "session"

RUN_PACKAGES = re.findall(r"^([\w.-]+)==", (ROOT / "lock" / "run.txt").read_text(), re.MULTILINE)


def build(project: Path, folder: Path) -> Path:
    """Build the wheel of a project and return its path."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def library_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(LIBRARY, tmp_path_factory.mktemp("library"))


def with_dependencies(*names: str) -> set[str]:
    """Return packages with everything that they require here, without extras."""
    found: set[str] = set()
    queue = [*names]
    while queue:
        name = queue.pop()
        if name in found:
            continue
        found.add(name)
        required = [Requirement(text) for text in distribution(name).requires or []]
        queue += [one.name for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


def create_environment(home: Path, wheels: Iterable[Path], packages: Iterable[str]) -> Path:
    """Install wheels and link packages of this environment; return the folder of commands."""
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", *map(str, wheels)], check=True)
    (site,) = home.glob("lib/python3*/site-packages")
    for name in packages:
        try:
            files = distribution(name).files or []
        except PackageNotFoundError:
            continue  # locked for another platform
        for top in {Path(str(file)).parts[0] for file in files} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(distribution(name).locate_file(top))  # type: ignore[arg-type]
    return home / "bin"


@pytest.fixture(scope="module")
def installed(wheel: Path, library_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of commands of an environment with the application and its locked packages."""
    return create_environment(tmp_path_factory.mktemp("environment"), [wheel, library_wheel], RUN_PACKAGES)


@pytest.fixture(scope="module")
def library(library_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of commands of an environment with the library, Starlette and msgspec."""
    packages = with_dependencies("starlette", "msgspec")
    return create_environment(tmp_path_factory.mktemp("environment"), [library_wheel], packages)


def run(folder: Path, code: str) -> str:
    """Run code in an environment, outside of the tree, and return what it prints."""
    command = [str(folder / "python"), "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_wheel_contains_templates_migrations_and_assets(wheel: Path) -> None:
    held = names(wheel)
    for pattern in (
        "templates/**/*.html",
        "migrations/**/*.py",
        "cartapp/web/static/**/*.*",
        "cartapp/web/i18n/locales/**/*.*",
    ):
        own = {path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern)}
        assert {f"cartapp/{path.removeprefix('cartapp/')}" for path in own} <= held
    assert {"cartapp/templates/base.html", "cartapp/web/i18n/locales/ar/LC_MESSAGES/messages.mo"} <= held


def test_serves_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    port = free_port()
    bare = ["env", "-i", f"PATH={os.environ['PATH']}"]  # an empty environment
    command = [*bare, str(installed / "cart"), "serve", "--port", str(port)]
    with Server(command, folder=tmp_path, ready=lambda: accepts(port)):
        browser = httpx.Client(base_url=f"http://127.0.0.1:{port}")
        assert [browser.get("/visit-counter").json()["visit_count"] for _ in range(2)] == [1, 2]
        assert browser.get("/").headers["content-type"].startswith("text/html")
        browser.close()
    assert (tmp_path / "data").is_dir()


def test_redis_needs_no_extra(installed: Path, tmp_path: Path) -> None:
    check = [str(installed / "cart"), "backends", "check", "redis://127.0.0.1:1"]
    checked = subprocess.run(check, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert checked.returncode == 1
    assert "pip install" not in checked.stderr


def test_runs_the_installed_package(installed: Path) -> None:
    for module in ("cartapp", "cartapp.app", "cartapp.session"):
        found = run(installed, f"import {module} as module; print(module.__file__)")
        assert Path(found).is_relative_to(installed.parent)


def test_no_file_is_in_both_wheels(wheel: Path, library_wheel: Path) -> None:
    assert not names(wheel) & names(library_wheel)
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "cartapp").rglob("*.py")}
    assert modules <= names(wheel) | names(library_wheel)


def test_every_requirement_is_met(installed: Path, library: Path) -> None:
    for folder in (installed, library):
        check = [sys.executable, "-m", "pip", "--python", str(folder / "python"), "check"]
        done = subprocess.run(check, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_the_application_requires_the_library_of_its_version(wheel: Path, library_wheel: Path) -> None:
    version = library_wheel.name.split("-")[1]
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"cartapp-{version}.dist-info/METADATA").decode()
    assert f"Requires-Dist: cartapp-session=={version}\n" in metadata


def test_published_readmes_have_no_relative_link(wheel: Path, library_wheel: Path) -> None:
    for path, title in ((wheel, "# cartapp"), (library_wheel, "# cartapp-session")):
        with zipfile.ZipFile(path) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            metadata = archive.read(name).decode()
        headers, _, readme = metadata.partition("\n\n")
        assert "Description-Content-Type: text/markdown" in headers
        assert readme.startswith(f"{title}\n")
        assert "```" in readme
        targets = re.findall(
            r"\]\(([^)]*)\)|(?:src|href)=\"([^\"]*)\"|^\[[^\]]+\]: (\S+)", readme, re.MULTILINE
        )
        relative = [target for target in map("".join, targets) if not target.startswith(("https://", "#"))]
        assert relative == []


def test_the_source_distribution_of_the_library_builds_the_same_wheel(
    library_wheel: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=LIBRARY, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    subprocess.run(["tar", "xzf", archive.name], cwd=tmp_path, check=True)
    rebuilt = build(tmp_path / archive.name.removesuffix(".tar.gz"), tmp_path / "wheel")
    assert names(rebuilt) == names(library_wheel)


STARLETTE_APPLICATION = """
import asyncio
from cartapp.session import SessionMiddleware, session_of
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def visit(request):
    return PlainTextResponse(str(session_of(request).modify("visits", lambda visits: visits + 1, 0)))

app = Starlette(routes=[Route("/", visit)])
app.add_middleware(SessionMiddleware, store="file:///{folder}/sessions")

async def get(cookie):
    sent = []
    async def send(message):
        sent.append(message)
    headers = [(b"cookie", cookie)] if cookie else []
    scope = {{"type": "http", "method": "GET", "path": "/", "headers": headers, "query_string": b""}}
    await app(scope, None, send)
    print(sent[1]["body"].decode())
    return next((v.split(b";")[0] for k, v in sent[0]["headers"] if k == b"set-cookie"), cookie)

async def main():
    cookie = None
    for _ in range(3):
        cookie = await get(cookie)

asyncio.run(main())
"""


def test_the_library_needs_only_starlette_and_msgspec(library: Path, tmp_path: Path) -> None:
    assert run(library, STARLETTE_APPLICATION.format(folder=tmp_path)).split() == ["1", "2", "3"]
    for module in ("fastapi", "cryptography", "sqlalchemy", "redis", "pydantic", "httpx2", "cartapp.app"):
        assert run(library, f"import importlib.util as u; print(u.find_spec({module!r}))") == "None", module


def test_the_readme_states_the_size_of_the_library(library_wheel: Path) -> None:
    packages = {canonicalize_name(name) for name in with_dependencies("starlette", "msgspec")}
    files = [Path(str(file.locate())) for name in packages for file in distribution(name).files or []]
    size = sum(path.stat().st_size for path in files if path.is_file() and path.suffix != ".pyc")
    with zipfile.ZipFile(library_wheel) as archive:
        size += sum(entry.file_size for entry in archive.infolist())
    stated = re.search(
        r"(\d+)\s+packages\s+and\s+less\s+than\s+(\d+)\s+MB\s+in\s+all", (ROOT / "README.md").read_text()
    )
    assert stated is not None
    assert int(stated[1]) == len(packages) + 1
    assert size < int(stated[2]) * 1e6


@pytest.mark.parametrize(
    ("call", "command"),
    [
        ("open_store('redis://localhost')", "pip install 'redis[hiredis]'"),
        ("open_store('mongodb://localhost')", "pip install pymongo"),
        ("open_store('sqlite:///sessions.db')", "pip install sqlalchemy"),
        ("KeyRing(new_secret())", "pip install cryptography"),
    ],
)
def test_a_missing_package_is_one_sentence(library: Path, call: str, command: str) -> None:
    code = f"""
from cartapp.session import *
try:
    {call}
except MissingDriver as error:
    print(error)
"""
    assert run(library, code).endswith(f": {command}")


@pytest.fixture(scope="module")
def for_testing(library_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of commands of an environment with the extra `testing`, FastAPI and a test client."""
    packages = with_dependencies("fastapi", "msgspec", "pytest", "httpx2", "uvicorn")
    return create_environment(tmp_path_factory.mktemp("environment"), [library_wheel], packages)


def run_pytest(environment: Path, folder: Path) -> str:
    """Run the tests in a folder outside of the tree and return the last line."""
    command = [str(environment / "python"), "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_a_custom_store_passes_the_contract_outside_of_the_tree(for_testing: Path, tmp_path: Path) -> None:
    store, suite = examples("docs/sessions.md", "Your own store")
    assert len([line for line in store.splitlines() if line.strip()]) <= 45
    (tmp_path / "store.py").write_text(store)
    (tmp_path / "test_store.py").write_text(suite)
    assert re.match(r"3\d passed in", run_pytest(for_testing, tmp_path))


def test_a_store_that_replaces_records_fails_the_contract(for_testing: Path, tmp_path: Path) -> None:
    store, suite = examples("docs/sessions.md", "Your own store")
    (tmp_path / "store.py").write_text(store.replace("INSERT OR IGNORE", "INSERT OR REPLACE"))
    (tmp_path / "test_store.py").write_text(suite)
    command = [str(for_testing / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert "FAILED test_store.py::TestSQLiteStore::test_create_never_replaces_a_record" in done.stdout
    assert "assert 1 is None" in done.stdout  # pytest rewrites the assertions of the suite


def test_the_tests_of_an_application_run_as_documented(for_testing: Path, tmp_path: Path) -> None:
    tests, app = examples("docs/sessions.md", "Testing your application")
    (tmp_path / "shop.py").write_text(app)
    (tmp_path / "test_shop.py").write_text(tests)
    assert run_pytest(for_testing, tmp_path).startswith("3 passed in")


def test_the_ten_lines_of_the_readme_run(for_testing: Path, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text((ROOT / "examples" / "fastapi_app.py").read_text())
    port = free_port()
    serve = [str(for_testing / "python"), "-m", "uvicorn", "app:app", "--port", str(port)]
    with (
        Server(serve, folder=tmp_path, ready=lambda: accepts(port)),
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as browser,
    ):
        assert [browser.get("/").json() for _ in range(2)] == [{"visits": 1}, {"visits": 2}]


def test_every_public_type_is_known(library_wheel: Path, tmp_path: Path) -> None:
    drivers = ("asyncpg", "cryptography", "greenlet", "hiredis", "pymongo", "redis", "sqlalchemy")
    packages = with_dependencies("fastapi", "msgspec", "pytest", *drivers)
    folder = create_environment(tmp_path / "environment", [library_wheel], packages)
    verify = [str(Path(sys.executable).with_name("basedpyright")), "--verifytypes", "cartapp.session"]
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*verify, "--ignoreexternal"],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        check=False,
        capture_output=True,
        text=True,
    )
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert "Type completeness score: 100%" in done.stdout, "\n".join(errors)


def test_the_examples_type_check(for_testing: Path, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text((ROOT / "examples" / "fastapi_app.py").read_text())
    store, suite = examples("docs/sessions.md", "Your own store")
    tests, app = examples("docs/sessions.md", "Testing your application")
    for name, text in {"store": store, "test_store": suite, "shop": app, "test_shop": tests}.items():
        (tmp_path / f"{name}.py").write_text(text)
    python = ["--python-executable", str(for_testing / "python")]
    mypy = [sys.executable, "-m", "mypy", "--strict", *python, "."]
    checked = subprocess.run(mypy, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
