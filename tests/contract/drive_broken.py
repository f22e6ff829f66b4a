"""Drive tables that are wrong in one way each: the twin with a rule, a row operation or a method replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from state import rules
from state.memory import MemoryDrive, MemoryRows
from state.owner import owner_is_dead
from tests.contract.drive_desk import Clock, Make

FAITHFUL = {name: getattr(rules, name) for name in dir(rules) if callable(getattr(rules, name))}


async def twin(clock: Clock) -> MemoryDrive:
    """The faithful one."""
    return MemoryDrive(clock, owner_is_dead=owner_is_dead)


class Mutant(MemoryDrive):
    """`wrong`: rules that are replaced while a step runs; a step of the twin never awaits."""

    wrong: Mapping[str, Any] = {}

    async def _write(self, effect, step):
        with ExitStack() as stack:
            for name, rule in self.wrong.items():
                stack.enter_context(patch.object(rules, name, rule))
            return await super()._write(effect, step)


def rule(**wrong: Callable[..., Any]) -> Make:
    """The twin with rules replaced."""
    return method(type("WrongRule", (Mutant,), {"wrong": wrong}))


def row(**wrong: Any) -> Make:
    """The twin with operations on rows replaced."""

    class WrongRows(Mutant):
        def __init__(self, clock, **more):
            super().__init__(clock, **more)
            self.rows.__class__ = type("WrongRows", (MemoryRows,), wrong)

    return method(WrongRows)


def method(kind: type[MemoryDrive]) -> Make:
    """The twin with methods replaced."""

    async def make(clock: Clock) -> MemoryDrive:
        return kind(clock, owner_is_dead=owner_is_dead)

    return make


def wrapped(name: str, change: Callable[..., Any]) -> Make:
    """The twin whose rule `name` is `change(faithful rule, *arguments)`."""
    return rule(**{name: lambda *args, **more: change(FAITHFUL[name], *args, **more)})


def answer(name: str, change: Callable[[Any], Any]) -> Make:
    """The twin where `change` is made to what the rule `name` answers (and, by `put`, to nothing else)."""
    return wrapped(name, lambda faithful, *args, **more: change(faithful(*args, **more)))


def stored(change: Callable[[Any], Any]) -> Make:
    """The twin that changes every run it stores."""
    return row(put=lambda self, run: MemoryRows.put(self, change(run)))
