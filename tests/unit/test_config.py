"""Config files: read strictly, judged as a whole, written whole; secrets never come back out."""

from __future__ import annotations

import copy
import json
import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from service.config import (
    create_config_template,
    load_config,
    parse_config,
    save_config,
    validate_config,
)
from service.config_text import read_text
from service.problems import InvalidConfig, Severity
from service.rules import RULES
from state.errors import ConfigurationError

GOOD = {
    "config_version": 1,
    "pipeline_metadata": {"pipeline_name": "flights", "owner_email": "team@example.com"},
    "windows": {"start": "2013-01-01T00:00:00Z", "width": "1h"},
    "source_system": {
        "type": "elasticsearch",
        "endpoint": "https://es.example.com:9200",
        "index": "flights-*",
        "cursor": "time_hour",
        "auth": {"api_key": {"env": "ES_API_KEY"}},
    },
    "stage_system": {"directory": "stage"},
    "target_system": {"type": "duckdb", "database": "w.duckdb", "table": "flights", "key": ["flight_id"]},
}


def changed(path: str, value: object, base: dict = GOOD) -> dict:
    """`base` with one key set; removed if `value` is `...`."""
    made = copy.deepcopy(base)
    *above, last = path.split(".")
    group = made
    for key in above:
        group = group.setdefault(key, {})
    if value is ...:
        del group[last]
    else:
        group[last] = value
    return made


def put(folder: Path, text: str, name: str = "p.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def errors(config) -> dict[str, str]:
    return {p.path: str(p) for p in validate_config(config) if p.severity is Severity.ERROR}


def warnings(config) -> list[str]:
    return [p.path for p in validate_config(config) if p.severity is Severity.WARNING]


def test_a_good_configuration_has_no_problems():
    assert validate_config(GOOD) == []
    assert parse_config(GOOD).pipeline_metadata.pipeline_name == "flights"


def test_what_operators_have_validates_once_completed():
    seed = """
    pipeline_metadata: {pipeline_name: my_pipeline, owner_email: team@company.com}
    source_system: {type: elasticsearch, endpoint: "https://es.company.com:9200"}
    phases:
      audit:
        enabled: true
        count_tolerances: {source_to_stage_tolerance_percent: 2.0, stage_to_target_tolerance_percent: 0.0}
    """
    data = yaml.safe_load(seed)
    assert set(errors(data)) == {
        "config_version",
        "windows",
        "source_system.index",
        "stage_system",
        "target_system",
    }
    for key in ("config_version", "windows", "stage_system", "target_system"):
        data[key] = GOOD[key]
    data["source_system"]["index"] = "flights-*"
    assert set(errors(data)) == {"source_system.cursor"}
    data["source_system"]["cursor"] = "time_hour"
    config = parse_config(data)
    assert config.phases.audit.count_tolerances.source_to_stage_tolerance_percent == 2.0


@pytest.mark.parametrize("source", ["elasticsearch", "opensearch", "files"])
def test_a_template_validates_as_it_is(tmp_path, source):
    path = put(tmp_path, create_config_template(source, "duckdb"))
    assert validate_config(path) == []
    assert load_config(path).source_system.type == source


@pytest.mark.parametrize("kind", ["sqlite", "mysql", "snowflake"])
def test_the_template_offers_each_drive_table_as_a_line_to_choose(tmp_path, kind):
    """The choices are comments; one of them put in the place of the default is valid."""
    text = create_config_template("files", "snowflake")
    chosen = re.search(rf"(?m)^# (drive_table: \{{type: {kind},[^}}\n]*\}}?.*)$", text)
    if kind != "sqlite":
        text = re.sub(r"(?m)^drive_table:\n(  .*\n)+", chosen[1] + "\n", text)
    path = put(tmp_path, text)
    assert validate_config(path) == []
    assert load_config(path).drive_table.type == kind


@pytest.mark.parametrize(("source", "target"), [("oracle", "duckdb"), ("files", "bigquery")])
def test_a_template_of_an_unknown_kind_is_refused(source, target):
    with pytest.raises(ConfigurationError) as caught:
        create_config_template(source, target)
    assert "duckdb" in caught.value.hint or "files" in caught.value.hint


def test_all_problems_are_reported_at_once_with_path_value_and_remedy():
    data = changed("windows.widht", "1h", changed("windows.max_open", 0, changed("source_system.index", ...)))
    data = changed("target_system.key", [], data)  # a rule between settings, although others are wrong
    found = errors(data)
    assert set(found) == {"windows.widht", "windows.max_open", "source_system.index", "target_system.key"}
    assert "Did you mean width?" in found["windows.widht"]
    assert "given: 0" in found["windows.max_open"]
    assert "Add it. Index, alias" in found["source_system.index"]
    assert "set target_system.mode: append" in found["target_system.key"]


def test_problems_name_file_and_line(tmp_path):
    text = yaml.safe_dump(changed("windows.width", "1 hour"), sort_keys=False)
    line = next(n for n, each in enumerate(text.splitlines(), 1) if "1 hour" in each)
    [problem] = validate_config(put(tmp_path, text))
    assert (problem.file, problem.line, problem.path) == (str(tmp_path / "p.yaml"), line, "windows.width")


def test_keys_given_twice_are_errors_x11(tmp_path):
    text = yaml.safe_dump(GOOD) + "config_version: 1\n"
    [problem] = validate_config(put(tmp_path, text))
    assert (problem.path, problem.line) == ("config_version", len(text.splitlines()))
    text = json.dumps(GOOD)[:-1] + ', "config_version": 1}'
    [problem] = validate_config(put(tmp_path, text, "p.json"))
    assert (problem.path, problem.message) == ("config_version", "is given twice")


def test_words_and_dates_stay_what_was_written(tmp_path):
    text = "a: no|on: [failed]|b: 2025-11-15|c: 010|d: 1:30|e: .5|f: 1e3|g: TRUE|h: ~|i: 0x1f|j: '1'|k: -.inf"
    data = read_text(text.replace("|", "\n"), "x.yaml").data
    assert data == {
        "a": "no", "on": ["failed"], "b": "2025-11-15", "c": 10, "d": "1:30", "e": 0.5, "f": 1000.0, "g": True,
        "h": None, "i": 31, "j": "1", "k": float("-inf"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("- a", "not a group of keys"),
        ("a: [1", "is no YAML"),
        ("a: !!python/object/apply:os.system [ls]", "holds a tag"),
        ("a: !!python/name:os.system x", "holds a tag"),
        ("a: &x [*x]", "alias of itself"),
        ("a: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
         "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]", "too many values"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: " + "9" * 5000, "number that cannot be read"),
        ("? [a]\n: 1", "a key that is no word"),
        ("a: \0", "is no YAML"),
    ],
)  # fmt: skip
def test_text_that_is_no_configuration_x11(tmp_path, text, words):
    [problem] = validate_config(put(tmp_path, text))
    assert words in problem.message
    assert problem.remedy


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "is no JSON"), ('{"a": NaN}', "no JSON value"), ("[]", "not a group"), ("9" * 5000, "too long")],
)
def test_json_that_is_no_configuration_x11(tmp_path, text, words):
    [problem] = validate_config(put(tmp_path, text, "p.json"))
    assert words in problem.message


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path):
    assert "no such file" in validate_config(tmp_path / "none.yaml")[0].message
    assert "is a directory" in validate_config(tmp_path)[0].message
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe4")
    assert "not UTF-8" in validate_config(tmp_path / "latin.yaml")[0].message
    assert "larger than 1 MiB" in validate_config(put(tmp_path, "#" * 2_000_000))[0].message


READING = "phases.source_to_stage_transfer"
CLEANING = "phases.target_cleaning"
ACCESS = "phases.stage_cleaning.archive_access"
KEYS = {"access_key": {"env": "A"}, "secret_key": {"env": "B"}}
CANARY = "c4n4ry-s3cr3t"


@pytest.mark.parametrize(
    "broken",
    [
        changed("source_system.auth.api_key", CANARY),
        changed("source_system.auth.api_key", {"env": CANARY, "file": CANARY}),
        changed("source_system.auth.api_key", {"value": CANARY}),
        changed("source_system.auth.apikey", CANARY),
        changed("source_system.auth", CANARY),
        changed("source_system.auth", {"user": "u", "password": [CANARY]}),
        changed("source_system.password", CANARY),
        changed("source_system.pasword", CANARY),
        changed("source_system.endpoint", f"https://user:{CANARY}@es.example.com"),
        changed("source_system.endpoint", f"ftp://user:{CANARY}@es.example.com"),
        changed("source_system.endpoint", f"ftp://es.example.com?token={CANARY}"),
        changed("pipeline_metadata.notifications", {"slack_webhook": f"https://hooks.example.com/{CANARY}"}),
        changed("pipeline_metadata.notifications", {"webhook": f"https://hooks.example.com/{CANARY}"}),
        changed("pipeline_metadata.notifications", {"webhook": {"url": f"https://hooks.example.com/{CANARY}"}}),
        changed("pipeline_metadata.notifications", {"webhook": {"headers": {"Authorization": CANARY}}}),
        changed("pipeline_metadata.notifications", {"webhook": {"headers": CANARY, "signing_key": CANARY}}),
        changed("pipeline_metadata.notifications", {"smtp": {"password": CANARY}}),
        changed("snowflake_connection", {"password": CANARY}),
        changed("drive_table", [CANARY]),
    ],
)
def test_a_secret_never_comes_back_out_x9(tmp_path, broken):
    with pytest.raises(InvalidConfig) as caught:
        parse_config(broken)
    path = put(tmp_path, yaml.safe_dump(broken))
    for said in (str(caught.value), repr(caught.value.problems), repr(validate_config(path))):
        assert CANARY not in said


@pytest.mark.parametrize(
    "text", [f"p: *{CANARY}", f"p: !{CANARY} x", f'p: "{CANARY}', f"p: %{CANARY}", f"p: {CANARY}: 1"]
)
def test_a_secret_in_broken_yaml_never_comes_back_out_x9(tmp_path, text):
    assert CANARY not in repr(validate_config(put(tmp_path, text)))


@pytest.mark.parametrize(
    ("path", "value", "at", "words"),
    [
        ("target_system.key", [], "target_system.key", "mode merge needs a key"),
        ("windows.start", "2013-01-01T00:30:00Z", "windows.start", "not the start of a calendar day"),
        ("windows.end", "2012-01-01T00:00:00Z", "windows.end", "not after windows.start"),
        (READING, {"enabled": False}, f"{READING}.enabled", "nothing to merge"),
        (CLEANING, {"enabled": True}, f"{CLEANING}.retention", "how old a row may get"),
        (CLEANING, {"retention": "59m"}, f"{CLEANING}.retention", "shorter than a window"),
        (ACCESS, KEYS, f"{ACCESS}.access_key", "a key of S3"),
        ("phases.stage_cleaning.archive", "@STAGE", "phases.stage_cleaning.archive", "a stage of Snowflake"),
        (READING, {"function": "a:b"}, "stage_system.table", "has no table"),
        ("limits.retry_cap_seconds", 1, "limits.retry_cap_seconds", "less than limits.retry_base_seconds (30)"),
        ("limits.try_base_seconds", 31, "limits.try_cap_seconds", "less than limits.try_base_seconds (31)"),
        ("limits.spool_quota_bytes", 1024, "limits.spool_quota_bytes", "not even one chunk"),
        ("stage_system", {"type": "snowflake", "stage": "A.B.S"}, "stage_system.type", "a stage of its own kind"),
    ],
)  # fmt: skip
def test_rules_between_settings(path, value, at, words):
    base = changed("windows.width", "day") if path == "windows.start" else GOOD
    found = errors(changed(path, value, base))
    assert set(found) == {at}
    assert words in found[at]


ORDERS = {
    "type": "mysql",
    "host": "db",
    "user": "u",
    "password": {"env": "KEY"},
    "database": "shop",
    "table": "orders",
    "cursor": "at",
}
"""A table whose column `number` is the key `id` of the target."""


@pytest.mark.parametrize(
    ("columns", "at", "words"),
    [
        ({"mask": {"number": "x"}}, "target_system.key", "different rows would become one"),
        ({"types": {"number": "float64"}}, "target_system.key", "different rows would become one"),
        ({"on_bad_value": {"id": "null"}}, "target_system.key", "told apart by id"),
        ({"on_bad_value": {"id": "text"}}, "target_system.key", "told apart by id"),
        ({"hash": ["note"], "types": {"note": "json"}}, "source_system", "note is hashed or masked"),
        ({"mask": {"note": ""}, "on_bad_value": {"note": "null"}}, "source_system", "note is hashed or masked"),
    ],
)
def test_rows_of_mysql_stay_told_apart(columns, at, words):
    source = {**ORDERS, "columns": {"rename": {"number": "id"}, **columns}}
    found = errors(changed("target_system.key", ["id"], changed("source_system", source)))
    assert set(found) == {at}
    assert words in found[at]


@pytest.mark.parametrize("columns", [{"hash": ["number"]}, {"on_bad_value": {"id": "quarantine"}}])
def test_a_key_of_mysql_may_be_hashed_and_its_rows_set_aside(columns):
    source = {**ORDERS, "columns": {"rename": {"number": "id"}, **columns}}
    assert errors(changed("target_system.key", ["id"], changed("source_system", source))) == {}


WAREHOUSE = {"account": "o-a", "user": "U", "role": "R", "warehouse": "W", "private_key": {"env": "KEY"}}
IN_SNOWFLAKE = {"type": "snowflake", "table": "A.B.C", "key": ["id"]}


def test_what_is_in_snowflake_needs_a_connection_and_a_long_lease():
    target = changed("target_system", IN_SNOWFLAKE, changed("stage_system", {"stage": "A.B.S"}))
    assert "target_system of type snowflake" in errors(target)["snowflake_connection"]
    connected = changed("snowflake_connection", WAREHOUSE, target)
    assert validate_config(connected) == []
    assert warnings(changed("snowflake_connection", WAREHOUSE)) == ["snowflake_connection"]
    drive = changed("drive_table", {"type": "snowflake", "database_schema": "A.B"}, connected)
    assert parse_config(drive).lease_seconds == 600
    assert (
        "keeps the warehouse awake" in errors(changed("limits.lease_seconds", 60, drive))["limits.lease_seconds"]
    )


def test_sql_of_the_user_needs_to_be_trusted_by_name_x6():
    target = changed("target_system", {**IN_SNOWFLAKE, "transform": "SELECT * FROM {stage}"})
    found = errors(changed("snowflake_connection", WAREHOUSE, changed("stage_system", {"stage": "A.B.S"}, target)))
    assert "set trust: user_sql" in found["target_system"]


def test_what_one_machine_holds_is_refused_for_several_with_the_reason():
    found = errors(changed("limits.several_machines", True))
    assert "each would load every window" in found["drive_table.type"]
    assert "locks all others out" in found["target_system.type"]
    shared = {"type": "mysql", "host": "db", "user": "u", "password": {"env": "KEY"}, "database": "drive"}
    target = changed("target_system", IN_SNOWFLAKE, changed("stage_system", {"stage": "A.B.S"}))
    several = changed("limits.several_machines", True, changed("drive_table", shared, target))
    assert validate_config(changed("snowflake_connection", WAREHOUSE, several)) == []


def test_a_wait_for_a_lock_is_shorter_than_a_lease_g6():
    """Whoever waits for a lock as long as its lease lasts renews it when another has taken the run."""
    shared = {"type": "mysql", "host": "db", "user": "u", "password": {"env": "KEY"}, "database": "drive"}
    waits = {**shared, "lock_wait_timeout_seconds": 3599, "answer_timeout_seconds": 3600}
    path = "drive_table.lock_wait_timeout_seconds"
    [problem] = validate_config(changed("drive_table", waits))
    assert (problem.path, problem.remedy) == (path, "Give 30 or less, or a longer lease.")
    assert validate_config(changed("drive_table", {**waits, "lock_wait_timeout_seconds": 30})) == []
    assert path in errors(changed("limits.lease_seconds", 59.0, changed("drive_table", {**waits, path[12:]: 30})))
    brief = validate_config(changed("limits.lease_seconds", 1.0, changed("drive_table", shared)))
    assert [problem.remedy for problem in brief] == ["Give a longer lease."]


def test_append_refuses_a_lookback_and_asks_for_a_steady_cursor():
    append = changed("target_system.mode", "append", changed("target_system.key", ...))
    assert warnings(append) == ["target_system.cursor_immutable"]
    steady = changed("target_system.cursor_immutable", True, append)
    assert validate_config(steady) == []
    assert (
        "mode append would keep twice"
        in errors(changed("windows.lookback_seconds", 60, steady))["windows.lookback_seconds"]
    )


@pytest.mark.parametrize(
    ("path", "value", "at"),
    [
        ("target_system.version", "updated_at", "windows.lookback_seconds"),
        ("phases.audit", {"enabled": False}, "phases.stage_cleaning.enabled"),
        ("drive_table", {"type": "memory"}, "drive_table.type"),
    ],
)
def test_advice_is_a_warning_and_keeps_nothing_from_running(path, value, at):
    config = changed(path, value)
    assert warnings(config) == [at]
    assert errors(config) == {}
    parse_config(config)


def test_advice_ends_where_it_is_followed():
    assert validate_config(changed("target_system.version", "time_hour")) == []
    late = changed("target_system.version", "updated_at", changed("windows.lookback_seconds", 60))
    assert validate_config(late) == []
    kept = changed("phases", {"audit": {"enabled": False}, "stage_cleaning": {"enabled": False}})
    assert validate_config(kept) == []


def test_rules_name_settings_that_exist():
    from service.reference import settings

    known = {setting.path for setting in settings()}
    assert [path for rule in RULES for path in rule.about if path not in known] == []


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("source_system.type", "oracle", "this version knows elasticsearch, opensearch, files, mysql, mariadb"),
        ("target_system", {"type": "bigquery", "table": "A.B.C"}, "this version knows duckdb, snowflake"),
        ("drive_table.type", "postgres", "this version knows sqlite, memory, mysql, snowflake"),
    ],
)
def test_what_is_not_in_this_version_is_one_clear_error(path, value, words):
    base = changed("stage_system", {"stage": "A.B.S", "table": "A.B.T"}) if path == "target_system" else GOOD
    found = errors(changed(path, value, base))
    assert len(found) == 1
    assert words in next(iter(found.values()))


SHARED = """
connections:
  search: {endpoint: "https://es.example.com:9200", auth: {api_key: {env: ES_API_KEY}}}
  warehouse: {type: duckdb, database: w.duckdb}
defaults:
  windows: {start: 2013-01-01T00:00:00Z, safety_lag_seconds: 300}
  stage_system: {directory: stage}
  limits: {lease_seconds: 10}
"""
SHARING = """
config_version: 1
shared: company.yaml
pipeline_metadata: {pipeline_name: flights}
windows: {safety_lag_seconds: 60}
source_system: {type: elasticsearch, connection: search, index: f, cursor: t, auth: {api_key: {file: /k}}}
target_system: {connection: warehouse, table: flights, key: [id]}
"""


def test_a_shared_file_gives_connections_and_defaults(tmp_path):
    put(tmp_path, SHARED, "company.yaml")
    config = load_config(put(tmp_path, SHARING.replace("auth: {api_key: {file: /k}}", "key: [a]")))
    assert config.source_system.endpoint == "https://es.example.com:9200"
    assert config.source_system.auth.api_key.env == "ES_API_KEY"
    assert str(config.target_system.database) == "w.duckdb"
    assert (config.windows.safety_lag_seconds, config.limits.lease_seconds) == (60, 10)


def test_a_problem_in_a_shared_file_is_placed_there(tmp_path):
    put(tmp_path, SHARED.replace("lease_seconds: 10", "lease_seconds: ten"), "company.yaml")
    [problem] = validate_config(put(tmp_path, SHARING.replace("auth: {api_key: {file: /k}}", "key: [a]")))
    assert (Path(problem.file).name, problem.line, problem.path) == ("company.yaml", 8, "limits.lease_seconds")


@pytest.mark.parametrize(
    ("old", "new", "path", "words"),
    [
        ("connection: search", "connection: serch", "source_system.connection", "Did you mean search?"),
        ("shared: company.yaml", "shared: none.yaml", "", "no such file"),
        ("shared: company.yaml", "shared: 7", "shared", "must be a path"),
    ],
)
def test_a_connection_that_is_not_there(tmp_path, old, new, path, words):
    put(tmp_path, SHARED, "company.yaml")
    found = errors(put(tmp_path, SHARING.replace(old, new)))
    assert words in found[path]


def test_a_stranger_in_a_shared_file_is_an_error_x11(tmp_path):
    put(tmp_path, SHARED + "default: {}\n", "company.yaml")
    assert "no known key of a shared file" in errors(put(tmp_path, SHARING))["default"]


@pytest.mark.parametrize("name", ["c.yaml", "c.json"])
def test_what_is_saved_loads_as_the_same_and_is_never_replaced_unasked(tmp_path, name):
    config = parse_config(changed("pipeline_metadata.notifications", {"on": ["failed"]}))
    path = tmp_path / name
    save_config(config, path)
    assert load_config(path) == config
    before = path.read_text()
    with pytest.raises(ConfigurationError, match="exists already"):
        save_config(parse_config(changed("windows.max_open", 7)), path)
    assert path.read_text() == before
    save_config(parse_config(changed("windows.max_open", 7)), path, overwrite=True)
    assert load_config(path).windows.max_open == 7
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_saving_where_nothing_can_be_written_says_so(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be written: no such file"):
        save_config(parse_config(GOOD), tmp_path / "none" / "c.yaml")


def test_a_save_that_dies_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "c.yaml"
    save_config(parse_config(GOOD), path)
    monkeypatch.setattr(os, "fsync", lambda _fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(ConfigurationError, match="no space left"):
        save_config(parse_config(changed("windows.max_open", 7)), path, overwrite=True)
    assert load_config(path) == parse_config(GOOD)
    assert [each.name for each in tmp_path.iterdir()] == ["c.yaml"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just({"env": "X"}),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2),
    max_leaves=4,
)
PATHS = [
    "source_system", "source_system.type", "source_system.auth.api_key", "windows.start", "windows", "shared",
    "phases.audit.count_tolerances", "target_system.key", "limits.lease_seconds", "config_version", "x.y",
]  # fmt: skip


@given(st.sampled_from(PATHS), VALUES)
def test_whatever_a_key_holds_the_answer_is_a_list_of_problems_x11(path, value):
    try:
        config = changed(path, value)
    except (AttributeError, TypeError):
        return
    for problem in validate_config(config):
        assert problem.message
        assert problem.remedy
