"""Retention: only what is old leaves the target, never too much, never unasked, never at a run's cost (F-20)."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.app import opened
from service.events import CleaningFailed, TargetCleaned
from service.progress import sentence
from service.tick import new_run
from state.model import Phase, PhaseStatus, Run, RunKind, RunStatus, Window
from tests.lifecycle.ports import Moment, recorder, trap
from tests.lifecycle.processes import exit_code
from tests.lifecycle.world import HOUR, START, World, events

KEEPING = {"enabled": True, "retention": "1h", "max_percent": 60, "dry_run": False}


def world_of(root: Path, **cleaning) -> World:
    """Two windows of sixty rows; when the second is loaded, the first is older than an hour."""
    world = World(root, {"phases": {"target_cleaning": {**KEEPING, **cleaning}}})
    world.write("day", events(120))
    return world


def hours(world: World) -> dict[int, int]:
    """Rows of the target by the hour of their cursor."""
    return dict(world.query("SELECT hour(\"at\" AT TIME ZONE 'UTC'), count(*) FROM events GROUP BY 1"))


def cleaned(run) -> dict:
    return run.phases[Phase.TARGET_CLEANING].figures


def test_old_rows_leave_when_a_newer_window_is_loaded_f20(tmp_path):
    heard = []
    world = world_of(tmp_path)
    first, second = world.run(emit=heard.append)
    assert (cleaned(first)["rows_older"], cleaned(first)["rows_removed"]) == (0, 0)
    assert cleaned(second) == {
        "rows_removed": 60,
        "rows_older": 60,
        "rows_total": 120,
        "older_than": "2025-11-15T01:00Z",
        "column": "at",
        "dry_run": False,
        "refused": None,
    }
    assert hours(world) == {1: 60}
    assert len(world.receipts()) == 2
    [told] = [sentence(event) for event in heard if isinstance(event, TargetCleaned)]
    assert told == f"{second.name}: removed 60 of 120 target rows, older than 2025-11-15T01:00Z"


def test_unless_it_is_told_otherwise_it_only_counts_f20(tmp_path):
    heard = []
    world = World(tmp_path, {"phases": {"target_cleaning": {"enabled": True, "retention": "1h"}}})
    world.write("day", events(120))
    _, second = world.run(emit=heard.append)
    figures = cleaned(second)
    assert (figures["rows_removed"], figures["rows_older"], figures["dry_run"]) == (0, 60, True)
    assert "60 of 120 rows" in figures["refused"]  # as it would be: 50 percent are more than the 10 that may go
    assert hours(world) == {0: 60, 1: 60}
    assert any("would remove 60 of 120 target rows" in sentence(event) for event in heard)


@pytest.mark.parametrize(
    ("limit", "setting"), [({"max_percent": 49.9}, "max_percent"), ({"max_rows": 59}, "max_rows")]
)
def test_too_many_at_once_are_refused_and_the_run_stays_completed_f20(tmp_path, limit, setting):
    heard = []
    world = world_of(tmp_path, **limit)
    _, second = world.run(emit=heard.append)
    record = second.phases[Phase.TARGET_CLEANING]
    assert (second.status, record.status) == (RunStatus.COMPLETED, PhaseStatus.FAILED)
    assert (
        f"60 of 120 rows of the target are older than phases.target_cleaning.retention, more than {setting}"
        in (record.figures["error"])
    )
    assert f"phases.target_cleaning.{setting}" in record.figures["hint"]
    assert [event.phase for event in heard if isinstance(event, CleaningFailed)] == [Phase.TARGET_CLEANING]
    assert hours(world) == {0: 60, 1: 60}


def test_a_retention_that_matches_every_row_is_refused_f20(tmp_path):
    world = World(tmp_path, {"phases": {"target_cleaning": {**KEEPING, "column": "born", "max_percent": 100}}})
    table = events(120)
    world.write("day", table.append_column("born", [[at.as_py().replace(year=2001) for at in table["at"]]]))
    for run in world.run():
        record = run.phases[Phase.TARGET_CLEANING]
        assert (run.status, record.status) == (RunStatus.COMPLETED, PhaseStatus.FAILED)
        assert "never takes all" in record.figures["error"]
    assert hours(world) == {0: 60, 1: 60}


def test_a_column_that_tells_no_age_is_named_and_the_run_stays_completed(tmp_path):
    [run, _] = world_of(tmp_path, column="value").run()
    assert run.status is RunStatus.COMPLETED
    assert "the column value of events is DOUBLE" in run.phases[Phase.TARGET_CLEANING].figures["error"]


async def backfill(world: World, window: Window) -> Run:
    """One run of a window that was loaded before."""
    async with opened(world.config, lambda _event: None) as worker:
        loads = await worker.repair()
        new = [new_run(world.config, loads, window, RunKind.BACKFILL)]
        [run] = await worker.drive.create(worker.pipeline, worker.owner, new)
        [ended] = await worker.run_these([run.id])
        return ended


def test_a_backfill_of_an_old_window_keeps_what_it_brings_and_takes_nothing_newer(tmp_path):
    world = world_of(tmp_path)
    world.run()
    assert hours(world) == {1: 60}
    run = asyncio.run(backfill(world, Window(START, START + HOUR)))
    assert (cleaned(run)["rows_older"], run.status) == (0, RunStatus.COMPLETED)
    assert hours(world) == {0: 60, 1: 60}


def attempt(world: World, number: int | None, moment: Moment) -> None:
    """Body of a worker process: a run that is killed, or told a lie, at its `number`-th effect."""
    world.run() if number is None else world.run(trap(number, moment))


def survives(base: Path, number: int, moment: Moment) -> str:
    """What is wrong after that and a restart; empty if nothing is."""
    world = world_of(base / f"{number}-{moment.name}")
    codes = (exit_code(attempt, world, number, moment), exit_code(attempt, world, None, moment))
    runs = world.runs()
    cleanings = [run.phases[Phase.TARGET_CLEANING].status for run in runs]
    found = (hours(world), [run.status for run in runs], cleanings, len(world.receipts()))
    expected = ({1: 60}, [RunStatus.COMPLETED] * 2, [PhaseStatus.COMPLETED] * 2, 2)
    killed = codes[0] == -9
    fine = codes[1] == 0 and found == expected and killed is (moment is not Moment.ANSWER_LOST)
    return "" if fine else f"{moment} effect {number}: exits {codes}, {found}"


def test_killed_at_any_effect_of_the_removal_the_rows_are_gone_once_and_for_all_f20(tmp_path, capsys):
    log = tmp_path / "effects"
    world_of(tmp_path / "without-fault").run(recorder(log))
    names = log.read_text().split()
    points = [number for number, name in enumerate(names) if name.startswith("loader.retire")]
    assert {names[number] for number in points} == {
        "loader.retire.open",
        "loader.retire.begin",
        "loader.retire.fence",
        "loader.retire.delete",
        "loader.retire.commit",
    }
    todo = [(number, moment) for number in points for moment in Moment]
    with ThreadPoolExecutor(2) as pool:
        wrong = [text for text in pool.map(lambda point: survives(tmp_path, *point), todo) if text]
    with capsys.disabled():
        print(f"\nretention: {len(todo)} crash points, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)
