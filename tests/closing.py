"""What a test session says at its end, whichever of its processes found it out: a pytest plugin."""

from __future__ import annotations

import pytest

_SAID: dict[str, list[str]] = {}


def say(section: str, *lines: str) -> None:
    """`lines` are shown under `section` after the tests."""
    _SAID.setdefault(section, []).extend(lines)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["said"] = _SAID


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    for section, lines in getattr(node, "workeroutput", {}).get("said", {}).items():
        say(section, *lines)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    for section, lines in _SAID.items():
        terminalreporter.section(section)
        terminalreporter.write_line("\n".join(lines))
