"""`BEHAVIOURS.md` names every behaviour of Snowflake that the test server has, and a test that exists for each."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.snowflake.conformance import DOCUMENTATION, clauses

HERE = Path(__file__).parent
ROW = re.compile(r"\| (?P<behaviour>.+) \| \[(?P<page>[^\]]+)\]\((?P<url>[^)]+)\) \| `(?P<test>[^`]+)` \|")


def table_under(heading: str) -> list[str]:
    """The lines of the table that begins with this line, without its head."""
    _, _, after = (HERE / "BEHAVIOURS.md").read_text().partition(f"{heading}\n")
    return after.split("\n\n")[0].splitlines()[1:]


def rows() -> list[dict[str, str]]:
    table = table_under("| behaviour | page | test |")
    found = [ROW.fullmatch(line) for line in table]
    assert all(found), [line for line, match in zip(table, found, strict=True) if not match]
    return [match.groupdict() for match in found if match]


def existing() -> set[str]:
    """Every test of this folder, a clause as a parameter."""
    found = {f"test_conformance.py::test_conformance[{name}]" for name in clauses()}
    for path in HERE.glob("test_*.py"):
        functions = ast.walk(ast.parse(path.read_text()))
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        names = {one.name for one in functions if isinstance(one, kinds) and one.name.startswith("test_")}
        found |= {f"{path.name}::{name}" for name in names - {"test_conformance"}}
    return found


def test_every_behaviour_names_a_test_that_exists():
    assert {row["test"] for row in rows()} <= existing()


def test_every_page_is_one_of_the_documentation():
    assert {row["url"] for row in rows()} == {DOCUMENTATION + row["page"] for row in rows()}


def test_a_clause_is_told_in_its_own_words():
    told = {row["test"]: (row["behaviour"].replace(r"\|", "|"), row["page"]) for row in rows()}
    for name, clause in clauses().items():
        assert told[f"test_conformance.py::test_conformance[{name}]"] == (clause.behaviour, clause.page)


def test_every_assumption_says_what_hangs_on_it_and_how_to_try_it():
    table = table_under("| assumed | if it is not so | how to try it |")
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]
    assert len(cells) > 10
    assert [line for line in cells if len(line) != 3 or not all(line)] == []
    named = {name for *_, how in cells for name in re.findall(r"`(\w+_\w+_\w+)`", how)}
    of_the_driver = {"get_query_status", "session_parameters", "_statement_params"}
    assert named - of_the_driver <= set(clauses())
