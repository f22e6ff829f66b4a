"""The helper that judges contract suites is judged itself: it must refuse a suite without teeth."""

from __future__ import annotations

import pytest

from tests.contract import kill_matrix
from tests.contract.kill_matrix import Matrix


async def adds(make) -> None:
    assert make()(2, 3) == 5


async def is_zero_on_zeros(make) -> None:
    assert make()(0, 0) == 0


async def refuses_text(make) -> None:
    with pytest.raises(TypeError):
        make()("a", 1)


CLAUSES = {"adds": adds, "zero": is_zero_on_zeros}
MUTANTS = {
    "multiplies": lambda: lambda a, b: a * b,
    "never zero": lambda: lambda a, b: a + b or 1,
}


def plus(a, b):
    return a + b


@pytest.fixture(autouse=True)
def said(monkeypatch):
    """What is said here stays apart from what the session says at its end."""
    lines = []
    monkeypatch.setattr(kill_matrix, "say", lambda _section, *more: lines.extend(more))
    return lines


async def test_a_suite_with_teeth_passes_and_is_said_at_the_end(said):
    matrix = await kill_matrix.prove("sum", CLAUSES, lambda: plus, MUTANTS)
    assert matrix.kills == {"multiplies": {"adds"}, "never zero": {"zero"}}
    assert said == [*matrix.lines(), ""]
    assert [line.split() for line in matrix.lines()[2:4]] == [["adds", "X", "."], ["zero", ".", "X"]]


async def test_a_twin_that_breaks_a_clause_is_refused():
    with pytest.raises(AssertionError, match="twin breaks"):
        await kill_matrix.prove("sum", CLAUSES, MUTANTS["multiplies"], MUTANTS)


async def test_a_mutant_that_nobody_notices_is_refused():
    with pytest.raises(AssertionError, match="no clause notices \\['same'\\]"):
        await kill_matrix.prove("sum", CLAUSES, lambda: plus, {**MUTANTS, "same": lambda: plus})


async def test_a_clause_that_is_no_only_killer_is_refused():
    with pytest.raises(AssertionError, match=r"only killer of any mutant: .*'text'"):
        await kill_matrix.prove("sum", {**CLAUSES, "text": refuses_text}, lambda: plus, MUTANTS)


async def test_an_assertion_of_pytest_itself_and_a_hanging_mutant_count_as_killed(monkeypatch):
    async def hangs(make) -> None:
        await make()

    async def forever() -> None:
        import asyncio

        await asyncio.Event().wait()

    async def at_once() -> None:
        return None

    monkeypatch.setattr(kill_matrix, "SECONDS_PER_CLAUSE", 0.01)
    await kill_matrix.prove("hang", {"ends": hangs}, at_once, {"hangs": forever})
    lenient = {"accepts text": lambda: lambda a, b: f"{a}{b}"}
    await kill_matrix.prove("text", {"text": refuses_text}, lambda: plus, lenient)


def test_several_killers_are_told_from_an_only_one():
    matrix = Matrix("t", ("a", "b"), {"m": frozenset({"a", "b"}), "n": frozenset({"a"})}, {})
    assert matrix.idle == ["b"]
    assert [line.split() for line in matrix.lines()[2:4]] == [["a", "x", "X"], ["b", "x", "."]]
