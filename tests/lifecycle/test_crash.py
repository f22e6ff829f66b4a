"""A process killed at any of its effects loses nothing and loads nothing twice (G-2, G-8; cases 1-7, 13).

The points come from a recorded run, so an effect that somebody adds is a point on the same day. Each point is
tried three ways: killed before it, killed after it, and its answer lost. The restart finds an empty spool.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from state.model import RunStatus
from tests.lifecycle.ports import Moment, recorder, trap
from tests.lifecycle.processes import exit_code
from tests.lifecycle.world import START, World, events

MODES = {
    "merge": {},
    "append": {"target_system": {"mode": "append", "key": [], "version": "read_at"}, "source_system": {"key": []}},
}


@dataclass(frozen=True)
class Point:
    """The `number`-th effect of the recorded run."""

    number: int
    name: str
    moment: Moment

    def __str__(self) -> str:
        return f"{self.moment} {self.name} (effect {self.number})"


def attempt(world: World, point: Point | None) -> None:
    """Body of a worker process."""
    runs = world.run() if point is None else world.run(trap(point.number, point.moment))
    assert all(run.status is RunStatus.COMPLETED for run in runs if not run.unfinished)


def new_world(root: Path, mode: str) -> World:
    world = World(root, MODES[mode])
    world.write("day", events(100, START, timedelta(seconds=60)))
    return world


def points(names: list[str]) -> list[Point]:
    """The first and the last time that each effect happens, before, after, and with its answer lost."""
    last = {name: number for number, name in enumerate(names)}
    chosen = {names.index(name) for name in last} | set(last.values())
    return [Point(number, names[number], moment) for number in sorted(chosen) for moment in Moment]


def survives(base: Path, mode: str, point: Point, expected: tuple[str, list[str]]) -> str:
    """Kill at `point`, restart with an empty spool; what is wrong afterwards, or an empty text."""
    world = new_world(base / f"{point.number:04d}-{point.moment.name.lower()}", mode)
    code = exit_code(attempt, world, point)
    if point.moment is not Moment.ANSWER_LOST and code != -9:
        return f"{point}: was not killed, exit {code}"
    shutil.rmtree(world.root / "spool", ignore_errors=True)
    again = exit_code(attempt, world, None)
    found = (world.content_hash(), sorted(world.receipts()))
    left = [name for (name,) in world.query("SELECT table_name FROM duckdb_tables()") if "_A" in name]
    left += [str(file) for file in (world.root / "stage").rglob("*.parquet")]
    unfinished = [f"{run.name} {run.status}" for run in world.runs() if run.status is not RunStatus.COMPLETED]
    shutil.rmtree(world.root)
    if again != 0 or found != expected:
        return f"{point}: exit {code}, then {again}; receipts {found[1]}; same rows: {found[0] == expected[0]}"
    if unfinished:
        return f"{point}: exit {again}, and the drive table says {unfinished}"
    return f"{point}: left over in the stage: {left}" if left else ""


def no_fault(base: Path, mode: str) -> tuple[list[str], tuple[str, list[str]]]:
    """The effects of a run without fault, and what it leaves: content hash and receipts."""
    world = new_world(base / "without-fault", mode)
    log = base / "effects"
    runs = world.run(recorder(log))
    assert [run.status for run in runs] == [RunStatus.COMPLETED] * 2
    expected = (world.content_hash(), sorted(world.receipts()))
    assert len(expected[1]) == 2
    return log.read_text().split(), expected


def wrong_at(base: Path, mode: str, todo: list[Point], expected: tuple[str, list[str]]) -> list[str]:
    """What is wrong after a crash at each of `todo`; empty if nothing is."""
    with ThreadPoolExecutor(2) as pool:
        return [text for text in pool.map(lambda point: survives(base, mode, point, expected), todo) if text]


@pytest.mark.parametrize("mode", MODES)
def test_killed_at_any_effect_the_target_equals_the_run_without_fault(tmp_path: Path, mode: str, capsys):
    names, expected = no_fault(tmp_path, mode)
    todo = points(names)
    wrong = wrong_at(tmp_path, mode, todo, expected)
    with capsys.disabled():
        kinds = len(set(names))
        print(f"\n{mode}: {len(todo)} crash points of {len(names)} effects ({kinds} kinds), {len(wrong)} wrong")
    assert len(todo) >= 25
    assert not wrong, "\n".join(wrong)
