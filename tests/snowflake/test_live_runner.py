"""The runner for an account, on our server: it takes its variables and leaves no schema behind."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.snowflake.running import ROOT

COMMAND = [sys.executable, "-m", "pytest", "-q", "tests/live/live_conformance.py", "-p", "no:cacheprovider"]


def run(environment: dict[str, str], *more: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SLUICEWAY_TEST_SNOWFLAKE_")}
    return subprocess.run(
        [*COMMAND, *more], cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=False
    )


def test_the_live_runner_runs_clauses_and_leaves_nothing(place):
    given = {key: place.connection[key] for key in ("account", "user", "password", "host", "port", "protocol")}
    given |= {"database": place.database, "warehouse": "LOADING"}
    variables = {f"SLUICEWAY_TEST_SNOWFLAKE_{key.upper()}": str(value) for key, value in given.items()}
    ended = run(variables, "-k", "remove_tells or merge_refuses")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 passed" in ended.stdout
    made = [one["text"] for one in place.statements() if one["text"].startswith(("CREATE SCHEMA", "DROP SCHEMA"))]
    assert [text.split()[0] for text in made] == ["CREATE", "DROP"] * 2


def test_the_live_runner_names_the_variables_that_are_missing():
    ended = run({}, "-k", "remove_tells")
    assert ended.returncode != 0
    assert "SLUICEWAY_TEST_SNOWFLAKE_ACCOUNT" in ended.stdout


def test_the_live_runner_runs_the_contract_of_drive_tables_and_leaves_nothing(place):
    given = {
        key: place.connection[key] for key in ("account", "user", "password", "host", "port", "protocol", "role")
    }
    given |= {"database": place.database, "warehouse": "LOADING"}
    variables = {f"SLUICEWAY_TEST_SNOWFLAKE_{key.upper()}": str(value) for key, value in given.items()}
    ended = run(variables, "tests/live/live_drive.py", "-k", "renewed and call or unknown and reopened")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 passed" in ended.stdout
    drives = f"{place.database}.SLUICEWAY_DRIVE_"
    ran = [one["text"] for one in place.server.get("/test/statements")]
    made = [text for text in ran if drives in text.replace(chr(34), "")]
    words = [text.split()[:2] for text in made if text.startswith(("CREATE SCHEMA", "DROP SCHEMA"))]
    assert words == [["CREATE", "SCHEMA"], ["DROP", "SCHEMA"]] * 2


def test_the_live_runner_runs_the_contract_of_loaders_and_leaves_nothing(place):
    names = ("account", "user", "password", "host", "port", "protocol", "role")
    given = {**{key: place.connection[key] for key in names}, "database": place.database, "warehouse": "LOADING"}
    variables = {f"SLUICEWAY_TEST_SNOWFLAKE_{key.upper()}": str(value) for key, value in given.items()}
    ended = run(
        variables,
        "tests/live/live_loader.py",
        "-k",
        "copy_loads_exactly or of_equal_order or older_rows_leave_and",
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "3 passed" in ended.stdout
    ran = [one["text"] for one in place.server.get("/test/statements")]
    made = [text.split()[:2] for text in ran if f"{place.database}.SLUICEWAY_LOADER_" in text.replace(chr(34), "")]
    words = [text for text in made if text[1] == "SCHEMA"]
    assert words.count(["CREATE", "SCHEMA"]) == words.count(["DROP", "SCHEMA"]) >= 3
