"""A pytest plugin that prints the totals of the explorer's tests, also those of other processes."""

import pytest

EXPLORED = "explored"
"""The test property with the recorded tally."""


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
