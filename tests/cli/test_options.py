"""Every option and argument once with bad input: exit code, what is wrong, a remedy, nothing written (item 9)."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer.main

from service.cli.commands import app
from service.cli.reference import commands
from service.exit_codes import CONFIG
from tests.cli.shell import Pipeline, process, sluiceway, tree

CONFIGS = ("doctor", "plan", "run", "windows", "drive init", "drive upgrade")
OTHERS = ("backfill", "show", "retry", "test-phase")
FLAG = "does not take a value"
NO_FILE = "there is no configuration none.yaml"

BAD: dict[tuple[str, str], tuple[list[str], str]] = {
    ("", "--version"): (["--version=1"], FLAG),
    ("", "--debug"): (["--debug=1"], FLAG),
    ("init", "FILE"): (["init", "."], "is a directory"),
    ("init", "--source"): (["init", "x.yaml", "--source", "oracle"], "none of elasticsearch, opensearch, mysql"),
    ("init", "--target"): (["init", "x.yaml", "--target", "oracle"], "none of duckdb"),
    ("init", "--phases"): (["init", "x.yaml", "--phases=all"], FLAG),
    ("init", "--force"): (["init", "x.yaml", "--force=no"], FLAG),
    ("init", "--from"): (["init", "--from", "oracle://db"], "no URL of a source"),
    ("init", "--tables"): (["init", "x.yaml", "--tables", "a"], "has a meaning only with --from"),
    ("init", "--to"): (["init", "--from", "http://127.0.0.1:9", "--to", "oracle"], "oracle is no target"),
    ("init", "--out"): (["init", "--from", "http://127.0.0.1:9", "--out", "events.yaml"], "is a file"),
    ("validate", "FILE|DIR"): (["validate", "none.yaml"], "cannot be read: no such file"),
    ("validate", "--json"): (["validate", "--json=1"], FLAG),
    ("plan", "--limit"): (["plan", "--limit", "0"], "must be greater than or equal to 1"),
    ("run", "--window"): (["run", "--window", "2025-11-15T00:00Z"], "is no START/END"),
    ("serve", "CONFIG_DIR"): (["serve", "events.yaml"], "is no folder"),
    ("serve", "--log"): (["serve", ".", "--log", "xml"], "is not one of"),
    ("backfill", "--from"): (["backfill", "--to", "2025-11-15T01:00Z", "--from", "noon"], "no ISO 8601 instant"),
    ("backfill", "--to"): (
        ["backfill", "--from", "2025-11-15T01:00Z", "--to", "2025-11-15T00:00Z"],
        "2025-11-15T00:00Z is not after --from 2025-11-15T01:00Z",
    ),
    ("windows", "--from"): (["windows", "--from", "2025-11-15T00:00"], "has no zone: add Z for UTC"),
    ("windows", "--to"): (["windows", "--to", "3025-11-15T00:00Z"], "is not between the years"),
    ("show", "RUN"): (["show", ""], "must not be empty"),
    ("retry", "RUN"): (["retry"], "name one run, or give --all"),
    ("retry", "--all"): (["retry", "x", "--all"], "name one run, or give --all"),
    ("retry", "--code"): (["retry", "x", "--code", "no_warehouse"], "chooses among the runs of --all"),
    ("retry", "--from"): (["retry", "x", "--from", "audits"], "Did you mean audit?"),
    ("test-phase", "PIPELINE"): (["test-phase", "none", "audit"], "'none' is neither a file nor a pipeline"),
    ("test-phase", "PHASE"): (["test-phase", "events.yaml", "merge"], "'merge' is no phase"),
    ("test-phase", "--config"): (["test-phase", "x", "audit", "-c", "none.yaml"], "neither a file nor a pipeline"),
    ("test-phase", "--window"): (
        ["test-phase", "events.yaml", "audit", "--window", "2025-11-15T01:00Z/2025-11-15T01:00Z"],
        "must be after start",
    ),
    ("drive sql", "NAME"): (["drive", "sql", "tables"], "'tables' is no script"),
    ("demo", "DIR"): (["demo", "events.yaml"], "is a file"),
    ("demo", "--rows"): (["demo", "--rows", "-1"], "must be greater than or equal to 1"),
    ("demo", "--json"): (["demo", "--json=1"], FLAG),
    ("backfill", "--config"): (
        ["backfill", "--from", "2025-11-15T00:00Z", "--to", "2025-11-15T01:00Z", "-c", "none.yaml"],
        NO_FILE,
    ),
    ("show", "--config"): (["show", "x", "-c", "none.yaml"], NO_FILE),
    ("retry", "--config"): (["retry", "x", "-c", "none.yaml"], NO_FILE),
    **{(name, "--config"): ([*name.split(), "-c", "none.yaml"], NO_FILE) for name in CONFIGS},
    **{(name, "--json"): ([*name.split(), "--json=1"], FLAG) for name in (*CONFIGS, *OTHERS)},
}  # fmt: skip


def written(parameter) -> str:
    """How a parameter is called."""
    return parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar


def test_no_option_and_no_argument_is_without_a_bad_input():
    root = typer.main.get_command(app)
    known = {("", written(parameter)) for parameter in root.params}
    known |= {(name, written(parameter)) for name, command in commands() for parameter in command.params}
    assert known == set(BAD)


@pytest.mark.parametrize("row", BAD, ids=lambda row: " ".join(row).strip())
def test_bad_input_is_named_and_nothing_is_written(pipeline: Pipeline, row):
    before = tree(pipeline.root)
    arguments, words = BAD[row]
    answer = sluiceway(*arguments)
    assert answer.code == CONFIG
    assert words in answer.said
    assert "Traceback" not in answer.said
    assert tree(pipeline.root) == before


JSON = {name for name, command in commands() if "--json" in map(written, command.params)}
SCRIPTED = [row for row in BAD if row[0] in JSON and row != ("validate", "FILE|DIR")]
"""Bad input for commands that a script reads; `validate` reports an unreadable file as it does a bad one."""


@pytest.mark.parametrize("row", SCRIPTED, ids=lambda row: " ".join(row).strip())
def test_bad_input_is_told_to_a_script_as_json(pipeline: Pipeline, row):
    arguments, words = BAD[row]
    answer = sluiceway(*arguments, "--json")
    assert answer.code == CONFIG
    error = answer.json["error"]
    assert words in error["what"]
    assert error["do"]
    assert set(error) == {"title", "what", "where", "kind", "code", "data", "next", "do", "path", "problems"}
    assert answer.err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["runn"], "Did you mean 'run'?"),
        (["plan", "--limt", "3"], "No such option: --limt (Possible options: --limit)"),
        (["drive"], "Missing command"),
        (["run", "extra"], "unexpected extra argument"),
        (["init", "x.yaml", "--from", "http://es"], "goes without FILE, --phases, --source and --target"),
        (["init", "--from", "http://es", "--source", "files"], "goes without FILE"),
        (["init", "--to", "duckdb:x"], "has a meaning only with --from"),
    ],
)
def test_a_command_that_means_nothing_is_answered_with_what_was_meant(pipeline, arguments, words):
    answer = sluiceway(*arguments)
    assert answer.code == CONFIG
    assert words.lower() in answer.said.lower()
    assert "--help` shows what it takes" in answer.said


def test_a_folder_is_no_configuration(pipeline: Pipeline):
    answer = sluiceway("run", "-c", pipeline.root)
    assert answer.code == CONFIG
    assert "is a folder" in answer.said


def test_in_a_process_of_its_own_the_code_and_the_streams_are_the_same(tmp_path: Path):
    answer = process("run", "--window", "now", folder=tmp_path)
    assert (answer.code, answer.out) == (CONFIG, "")
    assert "'now' is no START/END" in answer.said


def test_the_variable_names_the_configuration(pipeline: Pipeline, monkeypatch):
    monkeypatch.setenv("SLUICEWAY_CONFIG", "events.yaml")
    assert sluiceway("plan").code == 0
    assert "Next: sluiceway run\n" in sluiceway("plan").out
    monkeypatch.setenv("SLUICEWAY_CONFIG", "none.yaml")
    assert NO_FILE in sluiceway("plan").said


def test_next_commands_name_a_configuration_that_is_not_the_usual_one(pipeline: Pipeline):
    assert "Next: sluiceway run -c events.yaml\n" in sluiceway("plan", "-c", "events.yaml").out
