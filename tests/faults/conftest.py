"""Count what was injected and what the runs survived: the last line of `make faults`."""

from typing import Any

import pytest


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many faults were injected and survived; a test is one, unless it recorded how many it is."""
    counts = {"passed": 0, "failed": 0}
    for outcome in counts:
        for report in terminalreporter.getreports(outcome):
            if report.when == "call" and "tests/faults/" in report.nodeid:
                counts[outcome] += next((value for name, value in report.user_properties if name == "injected"), 1)
    if sum(counts.values()):
        terminalreporter.write_line(f"faults: {sum(counts.values())} injected, {counts['passed']} survived")


@pytest.fixture
def injected(record_property: Any) -> Any:
    """Record that a test injects so many faults."""
    return lambda count: record_property("injected", count)
