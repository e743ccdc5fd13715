"""Build the documentation site, and run every program on its how-to and migration pages."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import httpx2 as httpx
import pytest
from starlette.testclient import TestClient

import cartapp.session
from tests.support.shop_server import ROOT

DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```python(?: title=\"(.+?)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HOW_TO = sorted(DOCS.glob("how-to/*.md"))
MIGRATIONS = sorted(DOCS.glob("migrate/*.md"))


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return title and code of each block of Python on a page."""
    return BLOCK.findall(page.read_text())


def run(page: Path, name: str, code: str) -> ModuleType:
    """Execute code as a module, so that `__name__` can be imported."""
    module = ModuleType(f"docs_{page.stem.replace('-', '_')}_{name}")
    sys.modules[module.__name__] = module
    exec(compile(code, str(page), "exec"), module.__dict__)
    return module


def own_program(page: Path) -> str:
    """Return the blocks of a page, without those printed from a file, as one program."""
    return "\n\n".join(code for title, code in blocks(page) if title in ("", "after"))


def test_site_builds_without_warnings(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    site = tmp_path / "site"
    pages = {path.name for path in site.rglob("*.html")}
    assert {"index.html", "login.html", "django.html", "stores.html"} <= pages
    assert not re.search(
        r"(?:src|<link[^>]+href)=\"https?://", (tmp_path / "site" / "index.html").read_text()
    )


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_how_to_programs_run(page: Path) -> None:
    found = blocks(page)
    assert found
    run(page, "page", "\n\n".join(code for title, code in found if not title))


@pytest.mark.parametrize(
    "page", [DOCS / "index.md", DOCS / "examples.md", *HOW_TO], ids=lambda page: page.stem
)
def test_printed_examples_are_the_files(page: Path) -> None:
    for title, code in blocks(page):
        assert not title or code == (ROOT / title).read_text()


def test_programs_are_strictly_typed(tmp_path: Path) -> None:
    """All examples but those of other frameworks. Those of docs/sessions.md are one program each.

    Examples printed from a file are checked there; README.md and the tutorial have no others.
    """
    programs = {page.stem: own_program(page) for page in [*HOW_TO, *MIGRATIONS]}
    for number, (title, code) in enumerate(blocks(DOCS / "sessions.md")):
        programs[title.removesuffix(".py") or f"sessions_{number}"] = code
    files = [tmp_path / f"{name.replace('-', '_')}.py" for name in programs]
    for file, code in zip(files, programs.values(), strict=True):
        file.write_text(code)
    mypy = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), *map(str, files)]
    checked = subprocess.run(mypy, cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    files[0].with_name("broken.py").write_text("from cartapp.session import session_of\n\nsession_of(1)\n")
    found = run_pyright(tmp_path, [".", str(ROOT / "examples")])
    assert re.findall(r"(\w+\.py):\d+:\d+ - error: ", found) == ["broken.py"], found


def run_pyright(folder: Path, include: list[str]) -> str:
    """Return the errors in files and folders, for imports from `folder`."""
    # SQLAlchemy sets the attributes of its classes.
    config = {"include": include, "reportUninitializedInstanceVariable": False}
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    pyright = [str(Path(sys.executable).with_name("basedpyright")), "--pythonpath", sys.executable]
    command = [*pyright, "--level", "error", "--project", str(folder)]
    return subprocess.run(command, capture_output=True, text=True).stdout


REQUESTS = ["/visit", "/visit", "/login?user=ada", "/visit", "/logout", "/visit"]
RESPONSES = [{"visits": 1}, {"visits": 2}, {"user": "ada"}, {"visits": 3}, {"user": None}, {"visits": 1}]


@pytest.mark.parametrize("page", MIGRATIONS, ids=lambda page: page.stem)
@pytest.mark.filterwarnings("default")  # of the other frameworks
def test_both_programs_of_a_migration_respond_alike(page: Path) -> None:
    programs = dict(blocks(page))
    assert [*programs][-2:] == ["before", "after"]
    for name in ("before", "after"):
        app = run(page, name, programs[name]).app
        with open_client(app) as client:
            assert [client.post(url).json() for url in REQUESTS] == RESPONSES, name


def test_two_lines_migrate_from_starlette(tmp_path: Path) -> None:
    page = DOCS / "migrate" / "starlette.md"
    programs = dict(blocks(page))
    imported, _, middleware = programs["the two lines"].strip().partition("\n\n")
    code = re.sub(
        r"^from starlette\.middleware\.sessions import .*$", imported, programs["before"], flags=re.M
    )
    code = re.sub(r"^    middleware=\[.*\],$", f"    {middleware},", code, flags=re.M)
    code = code.replace("/var/lib/shop", str(tmp_path))
    with open_client(run(page, "two_lines", code).app) as client:
        assert [client.post(url).json() for url in REQUESTS] == RESPONSES
    assert [*tmp_path.rglob("*")]  # the sessions


def open_client(app: object) -> httpx.Client | TestClient:
    base_url = "https://shop.example"
    if type(app).__module__.startswith(("flask", "django")):
        return httpx.Client(transport=httpx.WSGITransport(app), base_url=base_url)  # type: ignore[arg-type]
    return TestClient(app, base_url=base_url)  # type: ignore[arg-type]


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert listed == {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}


def test_the_reference_has_every_public_name() -> None:
    page = (DOCS / "reference" / "session.md").read_text()
    assert sorted(re.findall(r"^::: cartapp\.session\.(\w+)$", page, re.MULTILINE)) == sorted(
        cartapp.session.__all__
    )
    for page_name in ("fastapi", "stores", "admin", "testing"):
        assert f"::: cartapp.session.{page_name}\n" in (DOCS / "reference" / f"{page_name}.md").read_text()
