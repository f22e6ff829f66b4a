"""Doors for crash tests: one that records effects, one that kills or loses the answer at the n-th of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from state.errors import TransientError
from state.port import Port


class Moment(StrEnum):
    """Where in an effect the process dies, or what it is told."""

    BEFORE = "before"
    AFTER = "after"
    ANSWER_LOST = "answer lost"


@dataclass(frozen=True)
class Point:
    """The `occurrence`-th time of the effect, counted from 1."""

    name: str
    occurrence: int
    moment: Moment

    def __str__(self) -> str:
        return f"{self.moment} {self.name} (time {self.occurrence})"

    @property
    def folder(self) -> str:
        """A name for what belongs to it."""
        return f"{self.name}-{self.occurrence}-{self.moment.name.lower()}"

    def trap(self) -> Port:
        """A door at which the process is killed here, or the answer lost."""
        return trap_at(self.name, self.occurrence, self.moment)


def recorder(log: Path) -> Port:
    """Appends the name of every effect to `log`, one per line, in the order in which they begin."""

    @contextmanager
    def port(name: str) -> Iterator[None]:
        with log.open("a") as file:
            file.write(name + "\n")
        yield

    return port


def trap(number: int, moment: Moment) -> Port:
    """Lets `number` effects pass; at the next one the process is killed, or the effect's answer is lost."""
    seen = 0

    @contextmanager
    def port(_name: str) -> Iterator[None]:
        nonlocal seen
        mine, seen = seen == number, seen + 1
        if mine and moment is Moment.BEFORE:
            os.kill(os.getpid(), signal.SIGKILL)
        yield
        if mine and moment is Moment.AFTER:
            os.kill(os.getpid(), signal.SIGKILL)
        if mine:
            raise TransientError("the answer was lost on its way", code="answer_lost")

    return port


def trap_at(name: str, occurrence: int, moment: Moment) -> Port:
    """The same at the `occurrence`-th effect of that name, counted from 1: others may come in another order."""
    seen = 0

    @contextmanager
    def port(effect: str) -> Iterator[None]:
        nonlocal seen
        seen += effect == name
        if effect != name or seen != occurrence:
            yield
            return
        with trap(0, moment)(effect):
            yield

    return port


def run_into_trap(world: Any, name: str, occurrence: int, moment: Moment) -> None:
    """Body of a worker process: all due windows of a world, with `trap_at` at its door."""
    world.run(trap_at(name, occurrence, moment))
