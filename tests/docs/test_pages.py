"""What the pages say about the repository is so: links, names of tests, files, and words."""

from __future__ import annotations

import re

import pytest

from service import exit_codes
from service.cli.commands import app, drive
from service.cli.reference import commands
from service.demo import words
from state.errors import SluicewayError
from state.model import Phase
from tests.docs.markdown import PAGES, README, ROOT, blocks, functions, links, named_tests


def name_of(page) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_into_the_repository_leads_somewhere(page):
    assert [link for link in links(page) if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", [README, ROOT / "docs/guarantees.md"], ids=name_of)
def test_every_test_that_a_guarantee_names_exists(page):
    named = named_tests(page)
    assert len(named) >= 5
    for name in named:
        file, _, function = name.partition("::")
        assert (ROOT / file).exists(), name
        assert not function or function in functions(ROOT / file), name


def test_every_file_that_the_architecture_names_exists():
    page = (ROOT / "docs/architecture.md").read_text()
    named = re.findall(r"`((?:service|connectors|loaders|state|tests)/[a-z_/.]+)`", page)
    assert len(named) >= 15
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_readme_has_every_command_and_no_other():
    told = set(re.findall(r"^\| .*`sluiceway ([a-z-]+(?: [a-z]+)?)`", README.read_text(), re.MULTILINE))
    told |= set(re.findall(r", `sluiceway ([a-z-]+ [a-z]+)`", README.read_text()))
    there = {command.name or command.callback.__name__ for command in app.registered_commands}
    there |= {f"drive {command.name or command.callback.__name__}" for command in drive.registered_commands}
    told |= {"drive init"} if "`sluiceway drive init`" in README.read_text() else set()
    assert told == there


def test_the_readme_names_the_commands_that_take_no_json():
    [names] = re.findall(r"All but (.*?) take `--json`", README.read_text())
    without = {
        name for name, made in commands() if not any("--json" in parameter.opts for parameter in made.params)
    }
    assert set(re.findall(r"`([^`]+)`", names)) == without


def test_readme_and_runbook_have_every_exit_code():
    codes = {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}
    runbook = (ROOT / "docs/operations.md").read_text()
    rows = re.findall(r"^\| ([\d, ]+) \|", runbook, re.MULTILINE)
    assert {int(code) for row in rows for code in row.split(",")} == codes
    [line] = re.findall(r"Exit codes: (.*?)More:", README.read_text(), re.DOTALL)
    assert {int(code) for code in re.findall(r"\b\d+\b", line)} == codes


def test_the_runbook_has_every_class_of_failure():
    kinds, todo = set(), [SluicewayError]
    while todo:
        error = todo.pop()
        todo += error.__subclasses__()
        kinds |= {error.kind} if error is not SluicewayError else set()
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    assert set(rows) == kinds
    assert len(rows) == len(kinds)


@pytest.mark.parametrize("page", [README, ROOT / "docs/architecture.md"], ids=name_of)
def test_the_seven_phases_are_named_in_order(page):
    found = [word for word in re.findall(r"`(\w+)`", page.read_text()) if word in set(Phase)]
    assert found[:7] == [phase.value for phase in Phase]


def test_the_transcript_of_the_readme_is_the_demo_as_it_speaks_now():
    [transcript] = [block.text for block in blocks(README) if "[1/8]" in block.text]
    story = (ROOT / "service/demo/story.py").read_text()
    headings = re.findall(r"^\[\d/8\] (.*)$", transcript, re.MULTILINE)
    assert len(headings) >= 5
    assert [heading for heading in headings if f'"{heading}"' not in story] == []
    for said in (words.KILLED, words.HOLDS, words.TARGET_SAYS, words.FILL.partition(".")[0]):
        pattern = re.sub(r"\\\{.*?\\\}", r"\\S+", re.escape(" ".join(said.split())))
        assert re.search(pattern, " ".join(transcript.split())), said
