"""The pages about commands and settings are current, complete, and their examples are real."""

from __future__ import annotations

import ast
import inspect
import json
import shlex
import sys
from pathlib import Path

import pytest
import typer.main

from service import exit_codes
from service.cli.commands import app
from service.cli.reference import JSON_KEYS, RUN_KEYS, commands, main, pages
from service.config import json_schema
from service.daemon.settings import DaemonSettings
from service.reference import settings
from service.report import RunReport
from tests.cli.shell import ROOT, sluiceway

COMMANDS = dict(commands())


@pytest.mark.parametrize("name", pages())
def test_a_page_is_current(name):
    written = (ROOT / "docs" / name).read_text()
    assert written == pages()[name], "run `python -m service.cli.reference`"


def test_the_generator_writes_every_page(tmp_path: Path):
    main(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(pages())


def test_every_command_of_the_issue_is_there():
    assert set(COMMANDS) == {
        "init", "validate", "schema", "doctor", "plan", "run", "backfill", "windows", "show", "retry",
        "test-phase", "demo", "drive init", "drive upgrade", "drive sql", "serve",
    }  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_an_example_that_its_options_know(name):
    example = COMMANDS[name].epilog
    assert example.startswith("Example: sluiceway ")
    words = shlex.split(example.removeprefix("Example: sluiceway ").partition(" > ")[0])
    assert words[: len(name.split())] == name.split()
    known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


@pytest.mark.parametrize("name", ["", *COMMANDS])
@pytest.mark.parametrize("columns", ["80", "120"])
def test_help_fits_the_terminal(name, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERMINAL_WIDTH", columns)
    answer = sluiceway(*name.split(), "--help")
    assert answer.code == 0
    assert "Usage: sluiceway" in answer.out
    assert max(len(line) for line in answer.out.splitlines()) <= int(columns)
    assert "Example: sluiceway" in answer.said


def test_every_setting_is_on_its_page():
    page = pages()["configuration.md"]
    plain = [setting for setting in (*settings(), *settings(DaemonSettings)) if not setting.groups]
    assert [setting.path for setting in plain if f"| `{setting.path}` |" not in page] == []
    assert [setting.path for setting in plain if not setting.text] == []


def test_every_exit_code_is_on_the_page_and_said_once():
    page = pages()["cli.md"]
    names = [
        target.id
        for statement in ast.parse(inspect.getsource(exit_codes)).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
    ]
    codes = [getattr(exit_codes, name) for name in names]
    assert len(codes) == len(set(codes)) == 8
    assert all(f"\n| {code} | " in page for code in codes)


def test_every_command_with_json_has_its_keys_on_the_page():
    scripted = {
        name
        for name, command in COMMANDS.items()
        if any("--json" in parameter.opts for parameter in command.params)
    }
    assert scripted - {"demo"} == set(JSON_KEYS)
    assert set(RUN_KEYS) == set(RunReport.__struct_fields__)


def test_the_schema_page_is_what_the_command_writes():
    assert json.loads(sluiceway("schema").out) == json.loads(pages()["schema.json"]) == json_schema()


def test_nothing_of_a_machine_is_on_a_page():
    for text in pages().values():
        assert str(Path.home()) not in text
        assert sys.prefix not in text


def test_options_of_one_name_mean_one_thing():
    """--config is the same everywhere, and so is --json."""
    for option in ("--config", "--json"):
        helps = {
            parameter.help
            for _, command in commands(typer.main.get_command(app))
            for parameter in command.params
            if option in parameter.opts
        }
        assert len(helps) == 1
