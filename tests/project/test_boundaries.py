"""The architecture as a test of imports: they point one way, and the session library is independent."""

import ast
import gc
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
import cartapp.session.admin
import cartapp.session.stores
import cartapp.session.testing

PACKAGE = Path(cartapp.__file__).parent

LAYERS = (
    {"commands"},
    {"server"},
    {"app"},
    {"bootstrap", "web"},
    {"backends"},
    {"stores"},
    {"accounts", "catalogue"},
    {"cart"},
    {"database"},
    {"logs"},
    {"settings"},
    {"escapes", "messages", "resources", "session"},
)
"""Packages of `cartapp`, top layer first. A package imports itself and lower layers, never its own layer."""

STANDALONE = {"session": {"session"}, "cart": {"cart", "messages"}}
"""Packages that import only these packages of `cartapp`."""

SESSION_IMPORTS = {
    "middleware": {
        *("error_responses", "errors", "hooks", "manager", "request_session", "session"),
        "stores.base",
    },
    "lifespan": {"admin.sweeper", "manager", "stores.base"},
    "request_session": {
        *("commit", "cookies", "durations", "errors", "hooks", "manager", "operations", "policy"),
        *("record", "session"),
    },
    "manager": {
        *("commit", "cookies", "crypto", "durations", "hooks", "locks", "policy", "record", "transport"),
        *("stores.base", "stores.registry", "stores.wrappers.circuit_breaker", "stores.wrappers.encryption"),
    },
    "transport": {"codec", "crypto", "errors", "hooks", "record", "stores.base"},
    "commit": {
        *("codec", "errors", "hooks", "operations", "policy", "record", "retry"),
        "stores.base",
    },
    "cookies": {"hooks"},
    "locks": {"record"},
    "retry": {"errors"},
    "policy": {"codec", "durations", "errors", "hooks", "record"},
    "session": {
        *("arguments", "codec", "durations", "errors", "mapping", "operations", "policy", "record"),
        *("tracked_values", "typed"),
    },
    "record": {"errors"},
    "errors": set(),
}
"""Permitted imports of the library's main modules within the library."""

STORE_IMPORTS = {"arguments", "durations", "record", "errors", "stores.base"}
"""Permitted imports of a store within the library, in addition to helpers in `stores`."""
WRAPPERS = {"stores.wrappers.encryption": {"crypto"}}
"""Additional permitted imports of stores that wrap another store."""

STORE_CLASS = re.compile(r"^class \w+Store\b", re.MULTILINE)

HTTP = {"starlette", "fastapi"}
HTTP_MODULES = {
    "cartapp.session.error_responses",
    "cartapp.session.fastapi",
    "cartapp.session.middleware",
}
DRIVERS = {"aiomcache", "asyncpg", "memcache", "pymemcache", "pymongo", "redis", "sqlalchemy", "valkey"}


def module_name(path: Path) -> str:
    parts = ("cartapp", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def parse(path: Path) -> ast.Module:
    """Parse a file without garbage collection.

    Before Python 3.12 a finalizer during it can make it fail (SystemError: recursion depth mismatch).
    """
    gc.disable()
    try:
        return ast.parse(path.read_text())
    finally:
        gc.enable()


def imports(module: str) -> Iterator[str]:
    """Yield the absolute name of each import in a module, including those in functions."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) + 1 - node.level]
                origin = ".".join([*parents, origin] if origin else parents)
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def defining_module(name: str) -> str:
    """Return the module of an imported name."""
    return name if name in MODULES else name.rpartition(".")[0]


def top_package(name: str) -> str:
    """Return the top-level package of a name within `cartapp`; empty for `cartapp` itself."""
    return name.partition(".")[2].partition(".")[0]


def depth(name: str) -> int:
    return next(level for level, packages in enumerate(LAYERS) if top_package(name) in packages)


def in_session(name: str) -> str:
    return name.removeprefix("cartapp.session").removeprefix(".")


def own_imports(module: str) -> set[str]:
    return {defining_module(name) for name in imports(module) if name.split(".")[0] == "cartapp"}


def test_relative_imports_are_resolved() -> None:
    assert "cartapp.session.record" in own_imports("cartapp.session.stores.file.store")
    assert "cartapp.session.codec" in own_imports("cartapp.session.commit")
    assert "starlette.datastructures.MutableHeaders" in imports("cartapp.session.middleware")


def test_every_package_has_a_layer() -> None:
    assert {top_package(module) for module in MODULES} - {""} <= set.union(*LAYERS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    wrong = {
        name
        for name in own_imports(module)
        if top_package(name) != top_package(module)
        and (not top_package(name) or depth(name) <= depth(module))
    }
    assert not wrong


@pytest.mark.parametrize("module", [name for name in MODULES if top_package(name) in STANDALONE])
def test_standalone_packages(module: str) -> None:
    assert {top_package(name) for name in own_imports(module)} <= STANDALONE[top_package(module)]


@pytest.mark.parametrize("file", SESSION_IMPORTS)
def test_imports_inside_the_library(file: str) -> None:
    assert {in_session(name) for name in own_imports(f"cartapp.session.{file}")} <= SESSION_IMPORTS[file]


STORES = [name for name in MODULES if name.startswith("cartapp.session.stores.")]


@pytest.mark.parametrize("module", [name for name in STORES if not name.endswith(".registry")])
def test_store_imports_records_and_errors_and_no_other_store(module: str) -> None:
    allowed = STORE_IMPORTS | WRAPPERS.get(in_session(module), set())
    others = {in_session(name) for name in own_imports(module)} - allowed
    assert not [name for name in others if not name.startswith("stores.")]
    folder = in_session(module).rpartition(".")[0]
    foreign = [name for name in others if folder == "stores" or name.rpartition(".")[0] != folder]
    assert not [
        name for name in foreign if STORE_CLASS.search(MODULES[f"cartapp.session.{name}"].read_text())
    ]


def test_few_files_of_the_library_import_starlette_or_fastapi() -> None:
    session = [name for name in MODULES if top_package(name) == "session"]
    assert {name for name in session if {i.split(".")[0] for i in imports(name)} & HTTP} == HTTP_MODULES


@pytest.mark.parametrize("module", [name for name in MODULES if top_package(name) in ("cart", "commands")])
def test_cart_and_commands_import_no_driver(module: str) -> None:
    forbidden = DRIVERS | (HTTP if top_package(module) == "cart" else set())
    assert not {name.split(".")[0] for name in imports(module)} & forbidden


def test_only_settings_read_the_environment() -> None:
    readers = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    assert readers == {"cartapp.settings.sources"}


def test_importing_the_library_loads_no_shop_and_no_driver() -> None:
    code = "import sys, cartapp.session; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {name for name in loaded if name.startswith("cartapp.")} <= {
        m for m in MODULES if top_package(m) == "session"
    }
    assert not {name.split(".")[0] for name in loaded} & (DRIVERS | {"fastapi"})


PUBLIC = ("", "admin", "fastapi", "stores", "testing")
"""The modules of the library that an application imports from, relative to `cartapp.session`."""

MAX_DEEP_IMPORTS = 10


def test_the_shop_uses_the_public_api_of_the_library() -> None:
    deep = [
        (module, in_session(name))
        for module in MODULES
        if top_package(module) != "session"
        for name in sorted(own_imports(module))
        if top_package(name) == "session" and in_session(name) not in PUBLIC
    ]
    assert len(deep) <= MAX_DEEP_IMPORTS
    assert not [name for _, name in deep if not name.startswith(("stores.", "admin."))]


PACKAGES = [cartapp.session, cartapp.session.admin, cartapp.session.stores, cartapp.session.testing]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_all_is_exact(package: ModuleType) -> None:
    public = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert set(package.__all__) == public
    assert len(package.__all__) == len(public)


@pytest.mark.parametrize(
    ("package", "name"), [(package, name) for package in PACKAGES for name in package.__all__]
)
def test_public_names_have_docstrings(package: ModuleType, name: str) -> None:
    value = getattr(package, name)
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return
    assert value.__doc__
    methods = (
        [member for member in vars(value).values() if inspect.isfunction(member)]
        if inspect.isclass(value)
        else []
    )
    assert not [method for method in methods if not method.__name__.startswith("_") and not method.__doc__]
