"""Proof that a contract suite has teeth: which clause notices which broken implementation.

A suite is a mapping from clause names to coroutine functions; each takes a *maker* and raises if what the
maker makes breaks the clause. What a maker is, the suite decides (usually a callable that returns a fresh
instance). A mutant is a maker of deliberately broken instances. `prove` demands three things:

- the faithful twin passes every clause;
- every mutant is killed by some clause;
- every clause is the *only* killer of at least one mutant, so that none of them is decoration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from tests.closing import say

Maker = TypeVar("Maker")

SECONDS_PER_CLAUSE = 10.0
"""A mutant that hangs is a killed one."""

SECTION = "kill matrices of the contract suites"


@dataclass(frozen=True)
class Matrix:
    """`kills[mutant]` is the set of clauses that noticed it; `twin_breaks` says what the twin did wrong."""

    title: str
    clauses: tuple[str, ...]
    kills: Mapping[str, frozenset[str]]
    twin_breaks: Mapping[str, str]

    @property
    def survivors(self) -> list[str]:
        """Mutants that no clause noticed."""
        return [mutant for mutant, killers in self.kills.items() if not killers]

    @property
    def idle(self) -> list[str]:
        """Clauses that are not the only killer of any mutant."""
        sole = {clause for killers in self.kills.values() if len(killers) == 1 for clause in killers}
        return [clause for clause in self.clauses if clause not in sole]

    def lines(self) -> list[str]:
        """A row per clause, a column per mutant: `X` the only killer, `x` one of several."""
        mutants = list(self.kills)
        width = max(len(clause) for clause in self.clauses)
        rows = [f"{self.title}: {len(self.clauses)} clauses x {len(mutants)} mutants (X: the only killer)"]
        rows.append(" " * width + "  " + " ".join(f"{n:>2}" for n in range(1, len(mutants) + 1)))
        for clause in self.clauses:
            marks = " ".join(f"{self._mark(clause, mutant):>2}" for mutant in mutants)
            rows.append(f"{clause:<{width}}  {marks}")
        rows += [f"  {n:>2} {mutant}" for n, mutant in enumerate(mutants, 1)]
        return rows

    def _mark(self, clause: str, mutant: str) -> str:
        killers = self.kills[mutant]
        return "." if clause not in killers else "X" if len(killers) == 1 else "x"


async def prove(
    title: str,
    clauses: Mapping[str, Callable[[Maker], Awaitable[None]]],
    twin: Maker,
    mutants: Mapping[str, Maker],
) -> Matrix:
    """Run every clause on the twin and on every mutant; AssertionError unless the suite has teeth."""
    breaks = {name: repr(error) for name, clause in clauses.items() if (error := await _broken(clause, twin))}
    kills = {}
    for mutant, maker in mutants.items():
        kills[mutant] = frozenset([name for name, clause in clauses.items() if await _broken(clause, maker)])
    matrix = Matrix(title, tuple(clauses), kills, breaks)
    say(SECTION, *matrix.lines(), "")
    shown = "\n".join(matrix.lines())
    assert not matrix.twin_breaks, f"the faithful twin breaks {dict(matrix.twin_breaks)}"
    assert not matrix.survivors, f"no clause notices {matrix.survivors}\n{shown}"
    assert not matrix.idle, f"not the only killer of any mutant: {matrix.idle}\n{shown}"
    return matrix


async def _broken(clause: Callable[[Maker], Awaitable[None]], maker: Maker) -> BaseException | None:
    """What the clause raises on what this maker makes, None if it passes."""

    async def run() -> None:
        await asyncio.wait_for(clause(maker), SECONDS_PER_CLAUSE)

    return (await asyncio.gather(run(), return_exceptions=True))[0]
