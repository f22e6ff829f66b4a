"""What all tests share: the kill matrices of the contract suites, shown at the end of the session."""

from __future__ import annotations

from tests.contract.kill_matrix import PROVEN


def pytest_terminal_summary(terminalreporter):
    if PROVEN:
        terminalreporter.section("kill matrices of the contract suites")
        for matrix in PROVEN:
            terminalreporter.write_line("\n".join(matrix.lines()))
            terminalreporter.write_line("")
