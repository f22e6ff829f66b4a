"""What the pages say is so: the README's commands answer as shown, links lead somewhere, named tests exist."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from service.cli.main import command_line

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#:]+)\)")
TEST = re.compile(r"`(tests/[\w/]+\.py)`")
SECONDS = re.compile(r"\d+\.\d ")


def transcript() -> list[tuple[str, list[str]]]:
    """The commands of the README's example, each with the lines that it shows."""
    shown = (ROOT / "README.md").read_text().partition("$ cd examples\n")[2].partition("\n\n")[0]
    commands: list[tuple[str, list[str]]] = []
    for line in (line.strip() for line in shown.splitlines()):
        if line.startswith("$ "):
            commands.append((line.removeprefix("$ sluiceway "), []))
        else:
            commands[-1][1].append(line)
    return commands


def without_seconds(text: str) -> str:
    return SECONDS.sub("", " ".join(text.split()) + " ")


def test_the_example_of_the_readme_answers_as_it_is_shown(tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path / "examples")
    monkeypatch.setenv("COLUMNS", "100")
    commands = transcript()
    assert [command.split()[0] for command, _ in commands] == ["drive", "doctor", "run", "show"]
    for command, shown in commands:
        assert command_line(command.split()) == 0
        said = {without_seconds(line) for line in capsys.readouterr().out.splitlines()}
        assert {without_seconds(line) for line in shown} <= said


@pytest.mark.parametrize("name", ["orders.yaml", "search.yaml"])
def test_an_example_is_valid(name, monkeypatch):
    monkeypatch.chdir(ROOT / "examples")
    assert command_line(["validate", name]) == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_tests_that_a_page_names_exist(page):
    text = page.read_text()
    for target in LINK.findall(text):
        assert (page.parent / target).exists(), target
    for test in TEST.findall(text):
        assert (ROOT / test).exists(), test


def test_each_sentence_of_the_guarantee_names_a_test_g1():
    table = (ROOT / "docs" / "guarantees.md").read_text().partition("| sentence |")[2].partition("\n\n")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "---" not in line]
    assert len(rows) >= 6
    assert all(TEST.search(row) for row in rows)
