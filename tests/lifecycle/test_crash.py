"""A process killed at any of its effects loses nothing and loads nothing twice (G-2, G-8; cases 1-7, 13).

The points come from a recorded run, so an effect that somebody adds is a point on the same day. Each point is
tried three ways: killed before it, killed after it, and its answer lost. The restart finds an empty spool.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.app import opened
from state.model import Run, RunStatus
from state.port import Port, direct
from state.sqlite import SqliteDrive
from tests.lifecycle.ports import Moment, Point, recorder
from tests.lifecycle.processes import exit_code
from tests.lifecycle.world import CONTENT, RECEIPTS, START, World, digest, events

MODES = {
    "merge": {},
    "append": {"target_system": {"mode": "append", "key": [], "version": "read_at"}, "source_system": {"key": []}},
}
STAGE_TABLES = "SELECT table_name FROM duckdb_tables() WHERE contains(table_name, '_A')"

Make = Callable[[Path], World]
"""A fresh world below that folder, with rows in its source."""
Choice = Callable[[Counter[str]], list[Point]]
"""The points to try, told how often each effect happens."""
Expected = tuple[str, list[str]]
"""Content hash and receipts of a run without fault."""


def attempt(world: World, point: Point | None) -> None:
    """Body of a worker process."""
    runs = asyncio.run(loaded(world, direct if point is None else point.trap()))
    assert all(run.status is RunStatus.COMPLETED for run in runs if not run.unfinished)


async def loaded(world: World, port: Port) -> list[Run]:
    """All due windows once. The target is opened as the daemon does it: by an engine that is there, where no
    function of the user's may open it too."""
    await SqliteDrive.init(world.root / "drive.sqlite")
    alone = not world.config.phases.have_functions
    async with opened(world.config, lambda _event: None, port, alone=alone) as worker:
        return await worker.run_due()


def agreed(_config: dict[str, Any], _record: dict[str, Any]) -> dict[str, Any]:
    """A user's function: it finds nothing wrong."""
    return {}


WITH_FUNCTION = {"phases": {"audit": {"function": f"{__name__}:{agreed.__name__}"}}}
"""Then each call of the loader has an engine of its own, as in a one-shot command."""


def from_files(settings: dict[str, Any]) -> Make:
    """Worlds with one file of a hundred rows."""

    def make(root: Path) -> World:
        world = World(root, settings)
        world.write("day", events(100, START, timedelta(seconds=60)))
        return world

    return make


def points_at(times: Counter[str], occurrences: Callable[[str], Iterable[int]]) -> list[Point]:
    """Those times of each effect, before, after, and with its answer lost."""
    return [Point(name, n, moment) for name in times for n in sorted({*occurrences(name)}) for moment in Moment]


def first_and_last(times: Counter[str]) -> list[Point]:
    """The first and the last time that each effect happens."""
    return points_at(times, lambda name: (1, times[name]))


def once_per_moment(times: Counter[str]) -> list[Point]:
    """Before the first time of each effect, after the last, and the answer of one between lost."""
    when = {Moment.BEFORE: lambda n: 1, Moment.AFTER: lambda n: n, Moment.ANSWER_LOST: lambda n: (n + 1) // 2}
    return [Point(name, when[moment](times[name]), moment) for name in times for moment in Moment]


def survives(base: Path, make: Make, point: Point, expected: Expected) -> str:
    """Kill at `point`, restart with an empty spool; what is wrong afterwards, or an empty text."""
    world = make(base / point.folder)
    code = exit_code(attempt, world, point)
    if point.moment is not Moment.ANSWER_LOST and code != -9:
        return f"{point}: was not killed, exit {code}"
    shutil.rmtree(world.root / "spool", ignore_errors=True)
    again = exit_code(attempt, world, None)
    content, receipts, left = world.answers(CONTENT, RECEIPTS, STAGE_TABLES)
    found = (digest(content), sorted(name for (name,) in receipts))
    left += [str(file) for file in (world.root / "stage").rglob("*.parquet")]
    unfinished = [f"{run.name} {run.status}" for run in world.runs() if run.status is not RunStatus.COMPLETED]
    shutil.rmtree(world.root)
    if again != 0 or found != expected:
        return f"{point}: exit {code}, then {again}; receipts {found[1]}; same rows: {found[0] == expected[0]}"
    if unfinished:
        return f"{point}: exit {again}, and the drive table says {unfinished}"
    return f"{point}: left over in the stage: {left}" if left else ""


def no_fault(base: Path, make: Make) -> tuple[Counter[str], Expected]:
    """How often each effect of a run without fault happens, and what it leaves: content hash and receipts."""
    world = make(base / "without-fault")
    log = base / "effects"
    runs = asyncio.run(loaded(world, recorder(log)))
    assert [run.status for run in runs] == [RunStatus.COMPLETED] * 2
    expected = (world.content_hash(), sorted(world.receipts()))
    assert len(expected[1]) == 2
    assert world.query('SELECT id, "at", version, value FROM events ORDER BY id') == [
        tuple(row.values()) for row in events(100).to_pylist()
    ]
    return Counter(log.read_text().split()), expected


def wrong_at(base: Path, make: Make, todo: list[Point], expected: Expected) -> list[str]:
    """What is wrong after a crash at each of `todo`; empty if nothing is."""
    with ThreadPoolExecutor(2) as pool:
        return [text for text in pool.map(lambda point: survives(base, make, point, expected), todo) if text]


def crash(
    base: Path,
    what: str,
    make: Make,
    chosen: Callable[[Counter[str]], list[Point]],
    say: pytest.CaptureFixture[str],
) -> None:
    """Try the points that are chosen of a recorded run, and say how many there were."""
    times, expected = no_fault(base, make)
    todo = chosen(times)
    wrong = wrong_at(base, make, todo, expected)
    with say.disabled():
        kinds = len(times)
        print(f"\n{what}: {len(todo)} crash points of {times.total()} effects ({kinds} kinds), {len(wrong)} wrong")
    assert {point.name for point in todo} == set(times)
    assert len(todo) >= 25
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("mode", MODES)
def test_killed_at_any_effect_the_target_equals_the_run_without_fault(
    tmp_path: Path, mode: str, capsys: pytest.CaptureFixture[str]
):
    crash(tmp_path, mode, from_files(MODES[mode]), first_and_last, capsys)


def test_killed_at_any_kind_of_effect_with_an_engine_for_each_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """The way that one-shot commands open the file, and the daemon beside a function of the user's."""
    crash(tmp_path, "an engine for each call", from_files(WITH_FUNCTION), once_per_moment, capsys)
