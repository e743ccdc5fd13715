"""A pytest plugin: `--quick` runs the most informative part of the suite in about a minute.

It excludes every server except one Redis, tests marked `alone` or `soak`, and those in `LEFT_OUT`: tests that
start the application as processes, run other programs, send thousands of requests or wait for seconds.
"""

from pathlib import Path

import pytest

from tests.support.promise_table import get_backend
from tests.support.selection import deselect_others

TESTS = Path(__file__).parents[1]

LEFT_OUT = (
    "browser",
    "test_account_steps.py",
    "test_backends.py",
    "test_backups.py",
    "test_benchmark.py",
    "test_closed_catalogue.py::test_c12c_removed_product_frees_its_line_in_a_full_cart",
    "test_coalescing.py::test_slow_client_pauses_the_application",
    "test_commands.py::test_an_interrupted_prompt_changes_nothing",
    "test_commands.py::test_backends_list_shows_a_missing_store",
    "test_commands.py::test_closed_pipe_prints_no_traceback",
    "test_commands.py::test_closed_streams_cause_no_traceback",
    "test_commands.py::test_colors_on_a_terminal_only",
    "test_commands.py::test_confirmation_decides",
    "test_commands.py::test_help_imports_nothing_heavy",
    "test_commands.py::test_no_shop_is_created_by_reading",
    "test_commands.py::test_pipe_output_is_not_wrapped",
    "test_commands.py::test_shell_completion",
    "test_commands.py::test_the_end_of_input_at_a_prompt_is_status_1",
    "test_commands_sessions.py::test_interrupted_purge_reports_its_progress",
    "test_commands_sessions.py::test_purge_asks_on_a_terminal",
    "test_commands_sessions.py::test_purge_ends_the_selected_sessions",
    "test_copy_command.py",
    "test_copy_faults.py",
    "test_copy_load.py",
    "test_copy_races.py",
    "test_copy_read_only.py",
    "test_database.py::test_concurrent_workers_write_accounts_and_sessions",
    "test_deploy.py::test_the_unit_allows_every_system_call_of_the_shop",
    "test_docs_site.py::test_programs_are_strictly_typed",
    "test_docs_site.py::test_site_builds_without_warnings",
    "test_drain.py::test_a_killed_worker_is_replaced_and_the_log_says_why",
    "test_drain.py::test_every_accepted_connection_is_served_until_the_end",
    "test_encryption.py::test_key_rotation_on_two_replicas_keeps_all_sessions",
    "test_encryption_attacks.py",
    "test_event_loops.py",
    "test_examples.py::test_oauth",
    "test_examples.py::test_replicas",
    "test_explorer.py",
    "test_fault_matrix.py",
    "test_file_crash.py",
    "test_file_processes.py",
    "test_flashes.py::test_a_failing_page_removes_no_message",
    "test_forwarded.py::test_a_server_on_all_addresses_trusts_ipv4_in_ipv6",
    "test_garbage.py",
    "test_http.py::test_on_a_server",
    "test_idle_connections.py",
    "test_image.py",
    "test_inspect.py::test_on_a_real_server",
    "test_interrupts.py",
    "test_key_ring.py::test_a_hundred_thousand_messages_share_no_key_and_nonce",
    "test_large_purges.py",
    "test_linear_time.py",
    "test_log_out_users.py",
    "test_login_http.py",
    "test_login_load.py",
    "test_memcached_faults.py",
    "test_memcached_servers.py",
    "test_memcached_store.py",
    "test_metrics.py::test_disabled_metrics_do_not_import_prometheus_client",
    "test_metrics.py::test_every_worker_reports_all_workers",
    "test_million.py",
    "test_mongodb_faults.py",
    "test_openapi.py",
    "test_operators.py::test_a_purge_without_a_question_has_a_total_too",
    "test_operators.py::test_o12_loading_a_large_catalogue_shows_its_progress",
    "test_operators.py::test_o3_progress_has_a_total_and_a_rate",
    "test_operators.py::test_sql_counts_the_selected_sessions_for_the_total",
    "test_outages.py",
    "test_output_escaping.py::test_requests_cannot_forge_log_lines",
    "test_own_clients.py",
    "test_pauses.py",
    "test_pool_invalidation.py",
    "test_poolers.py",
    "test_postgresql_store.py",
    "test_process_user.py",
    "test_promise_table.py::test_incomplete_run_writes_nothing",
    "test_promise_table.py::test_run_writes_its_results",
    "test_random_clients.py",
    "test_readiness.py",
    "test_readme.py",
    "test_redis_failover.py",
    "test_redis_faults.py",
    "test_redis_store.py::test_increments_of_several_processes_are_all_kept",
    "test_request_log.py::test_json_lines_of_a_server",
    "test_rolling_restart.py",
    "test_schema_upgrade.py",
    "test_security_headers.py::test_on_a_server_behind_a_proxy",
    "test_serve.py",
    "test_server_fuzz.py",
    "test_server_limits.py",
    "test_shared_host.py",
    "test_shells_and_containers.py",
    "test_sql_dialects.py::test_the_driver_of_sql_server_is_installed_and_times_out",
    "test_sql_failover.py",
    "test_sql_store.py::test_increments_of_several_processes_are_all_kept",
    "test_sql_store.py::test_ten_concurrent_starts_create_one_table",
    "test_sqlite_store.py::test_b8_the_log_is_bounded_during_a_purge",
    "test_sqlite_store.py::test_random_kills_break_no_record_and_lose_no_answered_write",
    "test_start.py::test_concurrent_starts_share_one_secret",
    "test_store_alert.py",
    "test_sweeper.py",
    "test_timeouts.py",
    "test_tombstones.py::test_each_write_of_the_shop_with_a_former_cookie_is_409",
    "test_translations.py::test_no_translation_is_missing_or_fuzzy",
    "test_tutorial.py",
    "test_users_command.py::test_users_add_asks_for_the_password_without_echo",
    "test_users_command.py::test_without_a_terminal_the_message_names_the_option",
    "test_watch.py::test_keys_sort_filter_and_end_a_session",
    "test_watch.py::test_metrics_of_a_server",
    "test_watch.py::test_rates_of_new_and_ended_sessions",
    "test_watch_screen.py",
    "test_wheel.py",
)
"""Folders, files and single tests; folders and files are not imported."""

BACKENDS = {None, "cookie", "memory", "file", "database-sqlite", "redis"}
"""Backends of quick tests; None means no backend parameter."""

SERVERS = {
    *(f"{name}_server" for name in ("valkey", "memcached", "mongodb", "postgresql", "mariadb", "firebird")),
    "redis_sentinels",
    "redis_cluster",
}
"""Fixtures of the excluded servers."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="run the quick part of the suite, with one Redis")


def pytest_configure(config: pytest.Config) -> None:
    if not config.option.quick:
        return
    if config.option.write_table:
        raise pytest.UsageError("--write-table requires the whole suite, not --quick.")
    if missing := [name for name in LEFT_OUT if not exists(name)]:
        raise pytest.UsageError(f"tests/support/quick.py: not found: {', '.join(missing)}.")


def exists(name: str) -> bool:
    """Whether a folder, file or test of this name exists."""
    file, _, test = name.partition("::")
    path = next(TESTS.rglob(file), None)
    return path is not None and (not test or f"def {test}(" in path.read_text())


def pytest_report_header(config: pytest.Config) -> str | None:
    if not config.option.quick:
        return None
    names = ", ".join(name for name in LEFT_OUT if "::" not in name)
    return f"quick: one Redis and no other server; not collected: {names}"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if config.option.quick and collection_path.name in LEFT_OUT else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.quick:
        deselect_others(config, items, is_quick)


def is_quick(item: pytest.Item) -> bool:
    """Whether a test is not excluded by name or mark and needs no server except Redis."""
    name = f"{item.path.name}::{item.name.partition('[')[0]}"
    if name in LEFT_OUT or item.get_closest_marker("soak") or item.get_closest_marker("alone"):
        return False
    if names_another_server(item):
        return False
    return get_backend(item) in BACKENDS and SERVERS.isdisjoint(getattr(item, "fixturenames", ()))


def names_another_server(item: pytest.Item) -> bool:
    """Whether a parameter names a server other than Redis, alone or in a pair of stores."""
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    others = ["mysql", *(fixture.removesuffix("_server") for fixture in SERVERS)]
    return any(isinstance(value, str) and other in value for value in values for other in others)
