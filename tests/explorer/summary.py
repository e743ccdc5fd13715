"""A pytest plugin: prints what the explorer's tests explored, also when other processes ran them."""

import pytest

EXPLORED = "explored"
"""The property of a test under which its tally is recorded."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [
        f"{report.nodeid.partition('::')[2]}: {value}"
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call"
        for name, value in report.user_properties
        if name == EXPLORED
    ]
    if lines:
        terminalreporter.section("interleavings")
    for line in lines:
        terminalreporter.write_line(line)
