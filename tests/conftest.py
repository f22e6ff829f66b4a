"""What all tests share: real search servers, and the kill matrices of the contract suites, shown at the end."""

from __future__ import annotations

from hypothesis import settings

from tests.contract.kill_matrix import PROVEN

pytest_plugins = ["tests.servers.fixtures", "tests.snowflake.fixtures"]

settings.register_profile("no deadlines", deadline=None)  # a busy machine is no failure
settings.load_profile("no deadlines")


def pytest_terminal_summary(terminalreporter):
    if PROVEN:
        terminalreporter.section("kill matrices of the contract suites")
        for matrix in PROVEN:
            terminalreporter.write_line("\n".join(matrix.lines()))
            terminalreporter.write_line("")
