"""A pytest plugin: `--quick` runs the part of the suite that says most within a minute.

It leaves out every server but one Redis, the tests marked `alone` and `soak`, and what `LEFT_OUT` names:
tests that start the application as processes or run other programs, generate thousands of requests, or wait
for seconds.
"""

from pathlib import Path

import pytest

from .evidence import backend_of

FOLDER = Path(__file__).parent

LEFT_OUT = (
    "browser",
    "test_account_steps.py::test_c8_a_concurrent_look_keeps_the_cart",
    "test_account_steps.py::test_c8_the_database_fails_between_two_steps",
    "test_account_steps.py::test_c8_the_same_form_runs_in_between",
    "test_account_steps.py::test_c8_the_session_store_fails_between_two_steps",
    "test_backends.py",
    "test_benchmark.py",
    "test_commands.py::test_colours_for_people_and_none_where_they_are_not_wanted",
    "test_commands_sessions.py::test_purge_asks_on_a_terminal",
    "test_commands_sessions.py::test_watch_on_a_terminal",
    "test_commands_sessions.py::test_watch_shows_what_changed_and_ends_with_an_interrupt",
    "test_copy_command.py",
    "test_database.py::test_workers_start_at_once_and_accounts_write_beside_sessions",
    "test_encryption_attacks.py",
    "test_evidence.py::test_a_run_writes_what_it_saw",
    "test_explorer.py",
    "test_fault_matrix.py",
    "test_file_crash.py",
    "test_forging.py::test_requests_forge_no_line_of_the_servers_log",
    "test_forwarded.py::test_a_server_on_all_addresses_trusts_ipv4_in_ipv6",
    "test_http.py::test_on_a_server",
    "test_idle_connections.py",
    "test_inspect.py::test_on_a_real_server",
    "test_linear_input.py::test_bodies_through_the_application",
    "test_linear_input.py::test_the_measure_notices_quadratic_work",
    "test_login_attack.py",
    "test_login_http.py",
    "test_memcached_faults.py",
    "test_memcached_servers.py",
    "test_memcached_store.py",
    "test_metrics.py::test_each_of_several_workers_tells_of_all",
    "test_metrics.py::test_off_its_package_is_not_even_loaded",
    "test_million.py",
    "test_mongodb_faults.py",
    "test_openapi.py",
    "test_operators_work.py",
    "test_outages.py",
    "test_pauses.py",
    "test_pool_trust.py",
    "test_poolers.py",
    "test_postgresql_store.py",
    "test_process_user.py",
    "test_random_shopping.py",
    "test_readiness.py",
    "test_readme.py",
    "test_redis_failover.py",
    "test_redis_faults.py",
    "test_schema_upgrade.py",
    "test_security_headers.py::test_on_a_server_behind_a_proxy",
    "test_serve.py",
    "test_server_fuzz.py",
    "test_server_limits.py",
    "test_shared_host.py",
    "test_shells_and_containers.py",
    "test_sql_dialects.py::test_the_driver_of_sql_server_is_there_and_gives_up_in_time",
    "test_sql_failover.py",
    "test_sqlite_store.py::test_b8_the_log_is_bounded_during_a_purge",
    "test_sqlite_store.py::test_random_kills_break_no_record_and_lose_no_answered_write",
    "test_start.py::test_processes_that_start_at_once_share_one_secret",
    "test_sweeper.py",
    "test_timeouts.py",
    "test_transfer_faults.py",
    "test_transfer_load.py",
    "test_transfer_races.py",
    "test_translations.py::test_none_is_missing_or_doubtful",
    "test_tutorial.py",
    "test_users_command.py::test_it_asks_on_a_terminal_and_shows_nothing_of_the_password",
    "test_users_command.py::test_without_a_terminal_it_says_how",
    "test_wheel.py",
    "test_wire.py::test_a_client_that_does_not_read_holds_the_application_up",
)
"""Folders, files and single tests; folders and files are not even imported."""

BACKENDS = {None, "cookie", "memory", "file", "database-sqlite", "redis"}
"""The backends of quick tests; None is for a test whose parameters name no backend."""

SERVERS = {
    *(f"{name}_server" for name in ("valkey", "memcached", "mongodb", "postgresql", "mariadb", "firebird")),
    "redis_sentinels",
    "redis_cluster",
}
"""The fixtures of the other servers."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="run the quick part of the suite, with one Redis")


def pytest_configure(config: pytest.Config) -> None:
    if not config.option.quick:
        return
    if config.option.write_table:
        raise pytest.UsageError("--write-table needs the whole suite, not --quick.")
    if missing := [name for name in LEFT_OUT if not exists(name)]:
        raise pytest.UsageError(f"tests/quick.py names what does not exist: {', '.join(missing)}.")


def exists(name: str) -> bool:
    """Whether there is such a folder, file or test."""
    file, _, test = name.partition("::")
    path = FOLDER / file
    return path.exists() and (not test or f"def {test}(" in path.read_text())


def pytest_report_header(config: pytest.Config) -> str | None:
    if not config.option.quick:
        return None
    names = ", ".join(name for name in LEFT_OUT if "::" not in name)
    return f"quick: one Redis and no other server; not collected: {names}"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    is_left_out = collection_path.parent == FOLDER and collection_path.name in LEFT_OUT
    return True if config.option.quick and is_left_out else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.option.quick:
        return
    quick = [item for item in items if is_quick(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(quick)])
    items[:] = quick


def is_quick(item: pytest.Item) -> bool:
    """Whether a test needs neither another server nor the whole machine, and is not left out by name."""
    name = f"{item.path.name}::{item.name.partition('[')[0]}"
    if name in LEFT_OUT or item.get_closest_marker("soak") or item.get_closest_marker("alone"):
        return False
    if names_another_server(item):
        return False
    return backend_of(item) in BACKENDS and SERVERS.isdisjoint(getattr(item, "fixturenames", ()))


def names_another_server(item: pytest.Item) -> bool:
    """Whether a parameter names a server other than Redis, alone or as one of a pair of stores."""
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    others = [fixture.removesuffix("_server") for fixture in SERVERS]
    return any(isinstance(value, str) and other in value for value in values for other in others)
