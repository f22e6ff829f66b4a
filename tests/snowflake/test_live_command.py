"""`make test-live`: without an account it says what was not run and never reads as a pass."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.contract.drive import CLAUSES as DRIVE
from tests.contract.loader_snowflake import CLAUSES as LOADER
from tests.snowflake.conformance import clauses
from tests.snowflake.running import ROOT

ONE_OF_EACH = "remove_tells or attempts and claims or copy_loads_exactly"
COMMAND = [sys.executable, "-m", "tests.live", "-q", "-p", "no:cacheprovider", "-k", ONE_OF_EACH]


def run(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SLUICEWAY_TEST_SNOWFLAKE_")}
    return subprocess.run(COMMAND, cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=False)


def test_without_an_account_it_fails_and_names_every_clause_that_was_not_run():
    ended = run({"SLUICEWAY_TEST_SNOWFLAKE_ACCOUNT": "somewhere"})
    assert ended.returncode == 2
    assert "NOT RUN" in ended.stderr
    assert "SLUICEWAY_TEST_SNOWFLAKE_USER" in ended.stderr
    assert [one.behaviour for one in clauses().values() if one.behaviour not in ended.stderr] == []
    told = {line.removeprefix("  - ").replace(" ", "_") for line in ended.stderr.splitlines()}
    assert {name.replace(" ", "_") for name in (*DRIVE, *LOADER)} <= told
    assert "passed" not in ended.stdout + ended.stderr


def test_with_an_account_it_runs_the_clauses(place):
    names = ("account", "user", "password", "host", "port", "protocol", "role")
    given = {key: place.connection[key] for key in names}
    given |= {"database": place.database, "warehouse": "LOADING"}
    ended = run({f"SLUICEWAY_TEST_SNOWFLAKE_{key.upper()}": str(value) for key, value in given.items()})
    assert (ended.returncode, "3 passed" in ended.stdout) == (0, True), ended.stdout + ended.stderr
