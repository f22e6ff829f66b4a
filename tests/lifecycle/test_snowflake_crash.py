"""A process killed at any of its effects, with Snowflake as target: nothing is lost, nothing is twice (G-2, G-8).

As in `test_crash.py` the points come from a recorded run. Here each kind of effect is tried once per moment; the
soak test tries every one. What a killed worker was doing in Snowflake goes on without it: its transaction stays
open and holds the fence until the server ends it, for it is idle and somebody waits.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from state.model import RunStatus
from tests.lifecycle.ports import Moment, recorder, trap_at
from tests.lifecycle.processes import exit_code
from tests.lifecycle.snowflake_world import DRIVES, SnowflakeWorld, world_at
from tests.lifecycle.world import events
from tests.snowflake.accounts import settings
from tests.snowflake.running import Place, SnowflakeServer

LOGIN = "snowflake.login"
LOCAL = ("source.", "spool.")
IDLE_SECONDS = 0.5

Expected = tuple[str, list[str]]


@dataclass(frozen=True)
class Point:
    """The `occurrence`-th time of the effect, counted from 1."""

    name: str
    occurrence: int
    moment: Moment

    def __str__(self) -> str:
        return f"{self.moment} {self.name} (time {self.occurrence})"


def some_points(times: Counter[str], drive: str) -> list[Point]:
    """Each kind of effect once per moment: the first, the last, and one between; what stays on this machine only
    once. With the drive table in Snowflake those that the kind of drive table makes a difference to."""
    names = sorted(times) if drive == "sqlite" else sorted(name for name in times if matters(name))
    points = [Point(name, occurrence(times, name, moment), moment) for name in names for moment in Moment]
    return [point for point in points if point.moment is Moment.AFTER or not point.name.startswith(LOCAL)]


def matters(name: str) -> bool:
    """Writes of the drive table, and what it follows: fence, merge and sessions."""
    return name.startswith(("drive.", "loader.fence", "loader.merge.commit", LOGIN))


def occurrence(times: Counter[str], name: str, moment: Moment) -> int:
    middle = (times[name] + 1) // 2
    last = middle if name == LOGIN else times[name]  # how often is a matter of luck: calls share sessions
    return {Moment.BEFORE: 1, Moment.AFTER: last, Moment.ANSWER_LOST: middle}[moment]


def attempt(world: SnowflakeWorld, point: Point | None) -> None:
    """Body of a worker process."""
    runs = world.run() if point is None else world.run(trap_at(point.name, point.occurrence, point.moment))
    wrong = [run for run in runs if not run.unfinished and run.status is not RunStatus.COMPLETED]
    assert not wrong, [(run.name, run.failure) for run in wrong]


def new_world(server: SnowflakeServer, root: Path, drive: str, windows: int) -> SnowflakeWorld:
    width = {"windows": {"width": f"{120 // windows}m"}}
    world = world_at(server.place(), root, width, drive)
    world.write("day", events(100))
    return world


def no_fault(server: SnowflakeServer, base: Path, drive: str, windows: int = 1) -> tuple[Counter[str], Expected]:
    """How often each effect of a run without fault happens, and what it leaves: content hash and receipts."""
    world = new_world(server, base / "without-fault", drive, windows)
    log = base / "effects"
    runs = world.run(recorder(log))
    assert [run.status for run in runs] == [RunStatus.COMPLETED] * windows
    expected = (world.content_hash(), sorted(world.receipts()))
    assert len(expected[1]) == windows
    return Counter(log.read_text().split()), expected


def survives(server: SnowflakeServer, base: Path, drive: str, point: Point, expected: Expected) -> str:
    """Kill at `point`, restart with an empty spool; what is wrong afterwards, or an empty text."""
    folder = f"{point.name}-{point.occurrence}-{point.moment.name.lower()}"
    world = new_world(server, base / folder, drive, len(expected[1]))
    code = exit_code(attempt, world, point, seconds=120)
    if point.moment is not Moment.ANSWER_LOST and code != -9 and point.name != LOGIN:
        return f"{point}: was not killed, exit {code}"
    shutil.rmtree(world.root / "spool", ignore_errors=True)
    again = exit_code(attempt, world, None, seconds=120)
    unfinished = [f"{run.name} {run.status}" for run in world.runs() if run.status is not RunStatus.COMPLETED]
    if again != 0 or unfinished:
        return f"{point}: exit {code}, then {again}, and the drive table says {unfinished}"
    found = (world.content_hash(), sorted(world.receipts()))
    left = world.left_in_stage()
    shutil.rmtree(world.root)
    if found != expected:
        return f"{point}: exit {code}; receipts {found[1]}; same rows: {found[0] == expected[0]}"
    return f"{point}: left over in the stage: {left}" if left else ""


def wrong_at(todo: list[Point], tried: Callable[[Point], str]) -> list[str]:
    """What is wrong after a crash at each of `todo`; empty if nothing is."""
    with ThreadPoolExecutor(3) as pool:
        return [text for text in pool.map(tried, todo) if text]


@pytest.mark.parametrize("drive", DRIVES)
def test_killed_at_any_kind_of_effect_the_target_equals_the_run_without_fault(
    place: Place, tmp_path: Path, drive: str, capsys
):
    server = place.server
    times, expected = no_fault(server, tmp_path, drive)
    todo = some_points(times, drive)
    with settings(place, idle_seconds=IDLE_SECONDS):
        wrong = wrong_at(todo, lambda point: survives(server, tmp_path, drive, point, expected))
    with capsys.disabled():
        print(
            f"\nSnowflake, drive {drive}: {len(todo)} crash points of {times.total()} effects, {len(wrong)} wrong"
        )
    assert {"loader.merge.commit", "drive.checkpoint", LOGIN} <= set(times)
    assert not wrong, "\n".join(wrong)
