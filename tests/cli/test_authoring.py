"""init, validate, schema: what they write is valid, what they read is judged file by file."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import yaml

from service import exit_codes
from service.cli.reference import JSON_KEYS
from state.model import Phase
from tests.cli.shell import Pipeline, process, sluiceway

SEED = """
pipeline_metadata: {pipeline_name: my_pipeline, owner_email: team@company.com}
source_system: {type: elasticsearch, endpoint: "https://es.company.com:9200"}
phases:
  audit:
    enabled: true
    count_tolerances:
      source_to_stage_tolerance_percent: 2.0
      stage_to_target_tolerance_percent: 0.0
"""
MISSING = {
    "config_version": 1,
    "windows": {"start": "2025-11-15T00:00:00Z"},
    "source_system": {"index": "orders-*", "cursor": "updated_at"},
    "stage_system": {"directory": "stage"},
    "target_system": {"type": "duckdb", "database": "w.duckdb", "table": "orders", "key": ["_id"]},
}
"""What the sections that operators have lack, by section."""


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLUICEWAY_CONFIG", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.mark.parametrize("source", ["elasticsearch", "opensearch", "mysql", "mariadb", "files"])
def test_what_init_writes_is_valid_as_it_stands(tmp_path: Path, source):
    answer = sluiceway("init", "--source", source, "--target", "duckdb")
    assert answer.code == exit_codes.OK
    assert answer.out.splitlines()[-1] == "Next: sluiceway validate"
    assert sluiceway("validate").out == "sluiceway.yaml: OK\n"
    assert "#" in (tmp_path / "sluiceway.yaml").read_text()


def test_init_replaces_a_file_only_when_told_to(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("precious")
    answer = sluiceway("init", "mine.yaml")
    assert answer.code == exit_codes.CONFIG
    assert "mine.yaml exists already" in answer.said
    assert "--force" in answer.said
    assert (tmp_path / "mine.yaml").read_text() == "precious"
    assert sluiceway("init", "mine.yaml", "--force").code == exit_codes.OK
    assert "config_version: 1" in (tmp_path / "mine.yaml").read_text()


def test_init_with_phases_keeps_a_configuration_that_exists(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("precious")
    assert sluiceway("init", "mine.yaml", "--phases").code == exit_codes.OK
    assert (tmp_path / "mine.yaml").read_text() == "precious"
    assert sluiceway("init", "mine.yaml", "--phases").code == exit_codes.CONFIG  # the module exists by now


def test_the_module_that_init_writes_has_a_commented_function_for_each_phase(tmp_path: Path):
    sluiceway("init", "--phases")
    spec = importlib.util.spec_from_file_location("written", tmp_path / "my_phases.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for phase in Phase:
        assert getattr(module, phase.value).__doc__
    assert "my_phases:pre_validation" in module.__doc__


TRIED = {
    Phase.SOURCE_TO_STAGE_TRANSFER: exit_codes.TRANSIENT,
    Phase.STAGE_TO_TARGET_TRANSFER: exit_codes.TRANSIENT,
}
"""As written, the two transfer functions say that they are not done yet."""


@pytest.mark.parametrize("phase", Phase)
def test_each_function_that_init_writes_runs_as_it_stands(pipeline: Pipeline, phase):
    assert sluiceway("init", pipeline.config, "--phases").code == exit_codes.OK
    pipeline.save(phases={phase.value: {"enabled": True, "function": f"my_phases:{phase}"}})
    answer = process("test-phase", pipeline.config, phase, "--json", folder=pipeline.root)
    assert answer.code == TRIED.get(phase, exit_codes.OK), answer.said
    if phase not in TRIED:
        assert answer.json["figures"]["function"] == f"my_phases:{phase}"


def test_the_seed_configuration_fails_naming_exactly_what_is_missing(tmp_path: Path):
    """The sections that operators have (item 10)."""
    (tmp_path / "seed.yaml").write_text(SEED)
    answer = sluiceway("validate", "seed.yaml", "--json")
    assert answer.code == exit_codes.CONFIG
    [file] = answer.json["files"]
    assert {problem["path"]: problem["message"] for problem in file["problems"]} == {
        "config_version": "config_version is missing",
        "windows": "windows is missing",
        "source_system.index": "index is missing",
        "stage_system": "stage_system is missing",
        "target_system": "target_system is missing",
    }
    assert all(problem["remedy"].startswith("Add it. ") for problem in file["problems"])


def test_the_seed_configuration_validates_once_completed(tmp_path: Path):
    data = yaml.safe_load(SEED)
    for section, values in MISSING.items():
        data[section] = data[section] | values if section in data else values
    (tmp_path / "seed.yaml").write_text(yaml.safe_dump(data))
    answer = sluiceway("validate", "seed.yaml")
    assert (answer.code, answer.out) == (exit_codes.OK, "seed.yaml: OK\n")
    del data["source_system"]["cursor"]
    (tmp_path / "seed.yaml").write_text(yaml.safe_dump(data))
    [problem] = sluiceway("validate", "seed.yaml", "--json").json["files"][0]["problems"]
    assert problem["path"] == "source_system.cursor"


def test_in_a_folder_a_bad_file_never_hides_the_others(tmp_path: Path):
    for name in ("a", "b", "c"):
        sluiceway("init", f"{name}.yaml")
        text = (tmp_path / f"{name}.yaml").read_text()
        (tmp_path / f"{name}.yaml").write_text(text.replace("my_pipeline", f"pipeline_{name}"))
    (tmp_path / "b.yaml").write_text("pipeline_metadata: [")
    (tmp_path / "shared.yaml").write_text("connections: {}\n")
    (tmp_path / "notes.txt").write_text("not a configuration")
    answer = sluiceway("validate", ".", "--json")
    assert answer.code == exit_codes.CONFIG
    assert set(answer.json) == set(JSON_KEYS["validate"])
    assert {file["file"]: file["ok"] for file in answer.json["files"]} == {
        "a.yaml": True,
        "b.yaml": False,
        "c.yaml": True,
    }
    shown = sluiceway("validate", ".").said
    assert "a.yaml: OK" in shown
    assert "c.yaml: OK" in shown
    assert "is no YAML" in shown


def test_the_settings_of_a_daemon_are_judged_as_such(tmp_path: Path):
    sluiceway("init", "a.yaml")
    (tmp_path / "daemon.yaml").write_text("drain_seconds: 5.0\nmax_runs: 0\nhelth: {port: 1}\n")
    for path in (".", "daemon.yaml"):
        answer = sluiceway("validate", path)
        assert answer.code == exit_codes.CONFIG
        assert "max_runs daemon.yaml:2" in answer.said
        assert "Did you mean health?" in answer.said
    (tmp_path / "daemon.yaml").write_text("max_runs: 2\n")
    answer = sluiceway("validate", ".")
    assert (answer.code, answer.out) == (exit_codes.OK, "a.yaml: OK\ndaemon.yaml: OK\n")


def test_two_pipelines_of_one_name_are_a_problem_of_both(tmp_path: Path):
    sluiceway("init", "a.yaml")
    sluiceway("init", "b.yaml")
    answer = sluiceway("validate", ".")
    assert answer.code == exit_codes.CONFIG
    assert answer.said.count("names runs, files and receipts") == 2


def test_a_folder_without_configurations_says_so(tmp_path: Path):
    answer = sluiceway("validate", tmp_path)
    assert answer.code == exit_codes.CONFIG
    assert "there is no configuration in" in answer.said


def test_warnings_are_shown_and_do_not_fail(tmp_path: Path):
    sluiceway("init")
    text = (tmp_path / "sluiceway.yaml").read_text().replace("type: sqlite", "type: memory")
    (tmp_path / "sluiceway.yaml").write_text(text)
    answer = sluiceway("validate")
    assert answer.code == exit_codes.OK
    assert "OK, 1 warning" in answer.said
    assert "Use sqlite for anything but a trial." in answer.said


def test_problems_stand_with_file_and_line(tmp_path: Path):
    sluiceway("init")
    text = (tmp_path / "sluiceway.yaml").read_text().replace("width: 1h", "width: 1 hour")
    (tmp_path / "sluiceway.yaml").write_text(text)
    line = 1 + next(n for n, each in enumerate(text.splitlines()) if "width: 1 hour" in each)
    assert f"windows.width sluiceway.yaml:{line}" in sluiceway("validate").said


def test_schema_is_a_json_schema():
    answer = sluiceway("schema")
    assert answer.code == exit_codes.OK
    assert json.loads(answer.out)["$schema"] == "https://json-schema.org/draft/2020-12/schema"
