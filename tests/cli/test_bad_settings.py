"""Every setting once with a bad value, through the command line: exit code, path and remedy (item 9)."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from service.exit_codes import CONFIG
from service.reference import settings
from tests.cli.bad_settings import BAD, CANARY
from tests.cli.shell import process, sluiceway

SEARCH = {"type": "elasticsearch", "endpoint": "https://es.example.com:9200", "index": "flights", "cursor": "at"}
FILES = {"type": "files", "path": "in/*.parquet", "cursor": "at"}
GOOD: dict[str, Any] = {
    "config_version": 1,
    "pipeline_metadata": {"pipeline_name": "flights"},
    "windows": {"start": "2013-01-01T00:00:00Z"},
    "source_system": SEARCH,
    "stage_system": {"directory": "stage"},
    "target_system": {"type": "duckdb", "database": "w.duckdb", "table": "flights", "key": ["_id"]},
}


WAREHOUSE = {"account": "org-acc", "user": "U", "role": "R", "warehouse": "W", "private_key": {"env": "KEY"}}
IN_SNOWFLAKE = {
    "stage_system": {"stage": "DB.RAW.STAGE"},
    "target_system": {"type": "snowflake", "table": "DB.RAW.FLIGHTS", "key": ["_id"]},
    "snowflake_connection": WAREHOUSE,
}
MYSQL = {"type": "mysql", "host": "db", "user": "u", "password": {"env": "KEY"}, "database": "drive"}
KINDS: dict[str, dict[str, Any]] = {
    "files": {"source_system": FILES},
    "mysql/mariadb": {"source_system": MYSQL | {"table": "flights", "cursor": "at"}},
    "snowflake": IN_SNOWFLAKE,
    "mysql": {"drive_table": MYSQL},
    "warehouse": {
        "drive_table": {"type": "snowflake", "database_schema": "DB.SLUICEWAY"},
        "snowflake_connection": WAREHOUSE,
    },
}
"""What rows with that word before their path are tried in."""


def row_of(setting) -> str:
    if setting.keys[0] == "snowflake_connection" and len(setting.keys) > 1:
        return f"snowflake:{setting.path}"
    if setting.variant in ("", "duckdb", "sqlite/memory", "elasticsearch/opensearch"):
        return setting.path
    kind = "warehouse" if (setting.keys[0], setting.variant) == ("drive_table", "snowflake") else setting.variant
    return f"{kind}:{setting.path}"


def path_of(row: str) -> str:
    return row.rpartition(":")[2]


def with_value(row: str, value: object) -> dict:
    """A good configuration with one key set."""
    kind = row.rpartition(":")[0]
    data = copy.deepcopy({**GOOD, **KINDS.get(kind, {})})
    *above, last = path_of(row).split(".")
    group = data
    for key in above:
        group = group.setdefault(key, {})
    group[last] = value
    return data


def written(folder: Path, data: dict) -> Path:
    path = folder / "flights.json"
    path.write_text(json.dumps(data))
    return path


def is_about(found: str, path: str) -> bool:
    """The problem is told at the key, at an item of its list, or at the group that the value is."""
    return found == path or found.startswith(f"{path}.")


def test_no_setting_is_without_a_bad_value():
    assert {row_of(setting) for setting in settings()} == set(BAD)


@pytest.mark.parametrize("kind", ["search", *KINDS])
def test_the_good_configuration_is_good(tmp_path, kind):
    answer = sluiceway("validate", written(tmp_path, {**GOOD, **KINDS.get(kind, {})}))
    assert (answer.code, answer.out.strip()) == (0, f"{tmp_path}/flights.json: OK")


@pytest.mark.parametrize("row", BAD)
def test_a_bad_value_is_named_with_its_remedy_x11(tmp_path, row):
    value, words = BAD[row]
    path = path_of(row)
    config = written(tmp_path, with_value(row, value))
    answer = sluiceway("validate", config, "--json")
    assert answer.code == CONFIG
    [file] = answer.json["files"]
    errors = [problem for problem in file["problems"] if problem["severity"] == "error"]
    about = [problem for problem in errors if is_about(problem["path"], path)]
    assert any(words in problem["message"] for problem in about), errors
    assert all(problem["remedy"] for problem in errors)
    shown = sluiceway("validate", config)
    assert shown.code == CONFIG
    for problem in about:
        assert problem["path"] in shown.said
        assert " ".join(problem["remedy"].split()) in shown.said
    assert CANARY not in answer.out + answer.err + shown.out + shown.err


@pytest.mark.parametrize("group", [setting for setting in settings() if setting.groups], ids=lambda s: s.path)
def test_an_unknown_key_of_any_group_is_named_with_those_it_has_x11(tmp_path, group):
    data = with_value(f"{group.path}.xyzzy", 1)
    answer = sluiceway("validate", written(tmp_path, data), "--json")
    assert answer.code == CONFIG
    problems = {problem["path"]: problem for problem in answer.json["files"][0]["problems"]}
    found = problems[f"{group.path}.xyzzy"]
    assert "no known key" in found["message"]
    assert "Known here: " in found["remedy"]


@pytest.mark.parametrize("row", ["windows.width", "source_system.auth.api_key", "target_system.key"])
def test_a_command_that_would_work_refuses_the_same_way(tmp_path, row):
    value, words = BAD[row]
    answer = process("run", "-c", written(tmp_path, with_value(row, value)), folder=tmp_path)
    assert answer.code == CONFIG
    assert path_of(row) in answer.said
    assert words in answer.said
    assert "Nothing was started and nothing was written." in answer.said
    assert CANARY not in answer.out + answer.err
    assert "Traceback" not in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["flights.json"]
