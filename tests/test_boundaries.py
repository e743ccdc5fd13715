"""The architecture, held against the imports: arrows point one way, and the session library stands alone."""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import cartapp
import cartapp.session

PACKAGE = Path(cartapp.__file__).parent

LAYERS = (
    {"commands"},
    {"app", "server"},
    {"start", "web"},
    {"accounts", "catalogue"},
    {"schema"},
    {"cart"},
    {"database"},
    {"migrating", "revisions"},
    {"local", "logs"},
    {"settings"},
    {"setting_types"},
    {"envfile", "escapes", "resources", "session"},
)
"""The rooms of `cartapp` from the top down. A room imports itself and what lies lower, never a neighbour."""

STANDS_ALONE = ("session", "cart")
"""Rooms that import nothing else of `cartapp`."""

SESSION_ARROWS = {
    "middleware": {
        *("carriers", "cookies", "errors", "guard", "hooks", "manager", "policy", "record", "session"),
        "stores.base",
    },
    "manager": {
        *("carriers", "commit", "errors", "hooks", "locks", "operations", "policy", "record", "session"),
        "stores.base",
    },
    "commit": {
        *("codec", "errors", "hooks", "operations", "policy", "record", "retry"),
        "stores.base",
    },
    "cookies": {"hooks"},
    "locks": {"record"},
    "retry": {"errors"},
    "policy": {"hooks", "record"},
    "session": {"codec", "errors", "mapping", "operations", "record", "typed"},
    "record": {"errors"},
    "errors": set(),
}
"""What the main files of the library may import of it."""

STORE_ARROWS = {"record", "errors", "stores.base"}
"""What a store may import of the library, beside helpers that lie with the stores."""
WRAPPERS = {"stores.encrypted": {"keys"}}
"""Stores round another store, and what each may import beside that."""

STORE_CLASS = re.compile(r"^class \w+Store\b", re.MULTILINE)

HTTP = {"starlette", "fastapi"}
KNOWS_HTTP = {"cartapp.session.middleware", "cartapp.session.fastapi", "cartapp.session.direct"}
DRIVERS = {"aiomcache", "asyncpg", "memcache", "pymemcache", "pymongo", "redis", "sqlalchemy", "valkey"}


def module_name(path: Path) -> str:
    parts = ("cartapp", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(module: str) -> Iterator[str]:
    """Absolute names of all that a module imports, inside functions too."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) + 1 - node.level]
                origin = ".".join([*parents, origin] if origin else parents)
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def module_of(name: str) -> str:
    """The module that an imported name comes from: itself, or the module that defines it."""
    return name if name in MODULES else name.rpartition(".")[0]


def room(name: str) -> str:
    """The part of `cartapp` that a name belongs to; empty for the package itself."""
    return name.partition(".")[2].partition(".")[0]


def depth(name: str) -> int:
    return next(level for level, rooms in enumerate(LAYERS) if room(name) in rooms)


def in_session(name: str) -> str:
    return name.removeprefix("cartapp.session").removeprefix(".")


def own_imports(module: str) -> set[str]:
    return {module_of(name) for name in imports(module) if name.split(".")[0] == "cartapp"}


def test_relative_imports_are_resolved() -> None:
    assert "cartapp.session.record" in own_imports("cartapp.session.stores.file")
    assert "cartapp.session.codec" in own_imports("cartapp.session.commit")
    assert "starlette.datastructures.MutableHeaders" in imports("cartapp.session.middleware")


def test_every_room_has_its_place() -> None:
    assert {room(module) for module in MODULES} - {""} <= set.union(*LAYERS)


@pytest.mark.parametrize("module", MODULES)
def test_arrows_point_one_way(module: str) -> None:
    wrong = {
        name
        for name in own_imports(module)
        if room(name) != room(module) and (not room(name) or depth(name) <= depth(module))
    }
    assert not wrong


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) in STANDS_ALONE])
def test_stands_alone(module: str) -> None:
    assert {room(name) for name in own_imports(module)} <= {room(module)}


@pytest.mark.parametrize("file", SESSION_ARROWS)
def test_arrows_inside_the_library(file: str) -> None:
    assert {in_session(name) for name in own_imports(f"cartapp.session.{file}")} <= SESSION_ARROWS[file]


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("cartapp.session.stores.")])
def test_a_store_knows_records_and_errors_and_no_other_store(module: str) -> None:
    allowed = STORE_ARROWS | WRAPPERS.get(in_session(module), set())
    beside = {in_session(name) for name in own_imports(module)} - allowed
    assert not [name for name in beside if not name.startswith("stores.")]
    assert not [name for name in beside if STORE_CLASS.search(MODULES[f"cartapp.session.{name}"].read_text())]


def test_the_library_knows_http_in_two_files() -> None:
    session = [name for name in MODULES if room(name) == "session"]
    assert {name for name in session if {i.split(".")[0] for i in imports(name)} & HTTP} == KNOWS_HTTP


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) in ("cart", "commands")])
def test_cart_and_commands_know_no_driver(module: str) -> None:
    forbidden = DRIVERS | (HTTP if room(module) == "cart" else set())
    assert not {name.split(".")[0] for name in imports(module)} & forbidden


def test_settings_alone_reads_the_environment() -> None:
    readers = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    assert readers == {"cartapp.settings"}


def test_importing_the_library_loads_no_shop_and_no_driver() -> None:
    code = "import sys, cartapp.session; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {name for name in loaded if name.startswith("cartapp.")} <= {
        m for m in MODULES if room(m) == "session"
    }
    assert not {name.split(".")[0] for name in loaded} & (DRIVERS | {"fastapi"})


def test_all_is_exact() -> None:
    public = {
        name
        for name, value in vars(cartapp.session).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert set(cartapp.session.__all__) == public
    assert len(cartapp.session.__all__) == len(public)


@pytest.mark.parametrize("name", cartapp.session.__all__)
def test_public_names_are_explained(name: str) -> None:
    value = getattr(cartapp.session, name)
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return
    assert value.__doc__
    methods = (
        [member for member in vars(value).values() if inspect.isfunction(member)]
        if inspect.isclass(value)
        else []
    )
    assert not [method for method in methods if not method.__name__.startswith("_") and not method.__doc__]
