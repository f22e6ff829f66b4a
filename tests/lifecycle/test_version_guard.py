"""The guarantee's words about versions: an old window never undoes newer data (G-7, S-6)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from service.app import opened
from service.events import Emit, Event, PartRead
from service.tick import backfill_windows
from state.model import RunStatus, Window
from tests.lifecycle.world import HOUR, START, World, events

FIRST = Window(START, START + HOUR)
BOTH = Window(START, START + 2 * HOUR)


def row(key: str, at, version, value: float) -> pa.Table:
    return pa.table(
        {
            "id": pa.array([key]),
            "at": pa.array([at], pa.timestamp("us", tz="UTC")),
            "version": pa.array([version], pa.int64()),
            "value": pa.array([value]),
        }
    )


def backfill(world: World, span: Window):
    async def go():
        async with opened(world.config, lambda _event: None) as worker:
            return await worker.backfill(backfill_windows(world.config, span))

    runs = asyncio.run(go())
    assert [run.status for run in runs] == [RunStatus.COMPLETED] * len(runs)
    return runs


def value_of(world: World, key: str) -> float:
    [(value,)] = world.query(f"SELECT value FROM events WHERE id = '{key}'")
    return value


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, {})


def test_backfill_of_an_old_window_does_not_undo_newer_data_g7(world):
    world.write("old", row("k", START, 1, 1.0))
    world.write("new", row("k", START + HOUR, 2, 2.0))
    world.run()
    assert value_of(world, "k") == 2.0
    [again] = backfill(world, FIRST)
    assert again.id.number == 2
    assert again.receipt.counts.older == 1
    assert value_of(world, "k") == 2.0


def test_with_equal_versions_the_later_look_wins(world):
    world.write("a", row("k", START, 7, 1.0))
    world.run()
    world.write("a", row("k", START, 7, 9.0))
    [again] = backfill(world, FIRST)
    assert again.receipt.counts.updated == 1
    assert value_of(world, "k") == 9.0


def test_the_same_data_again_is_unchanged_not_updated(world):
    world.write("a", events(30))
    world.run()
    [again] = backfill(world, FIRST)
    assert (again.receipt.counts.unchanged, again.receipt.counts.updated) == (30, 0)


def test_a_null_version_is_older_than_any(world):
    world.write("a", row("k", START, 1, 1.0))
    world.write("b", row("k", START + HOUR, None, 2.0))
    world.run()
    assert value_of(world, "k") == 1.0


def test_a_null_version_enters_where_nothing_is(world):
    world.write("a", row("k", START, None, 1.0))
    world.run()
    assert value_of(world, "k") == 1.0
    world.write("a", row("k", START, 0, 5.0))
    backfill(world, FIRST)
    assert value_of(world, "k") == 5.0


def test_a_row_whose_cursor_moved_into_a_later_part_is_there_once_at_the_newest_version(world):
    """It was seen in the first part, changed, and was seen again in the second: both versions are staged."""
    world.write("a", row("k", START + timedelta(minutes=1), 1, 1.0))
    world.write("b", row("k", START + timedelta(minutes=59), 2, 2.0))
    world.write("fill", events(50, START))
    runs = world.run()
    counts = runs[0].receipt.counts
    assert counts.duplicates == 1
    assert world.query("SELECT count(*), max(value) FROM events WHERE id = 'k'") == [(1, 2.0)]


def after_the_first_part(act) -> Emit:
    """A listener that does `act` once, when the first part is read and the second is not."""
    done = False

    def hear(event: Event) -> None:
        nonlocal done
        if isinstance(event, PartRead) and not done:
            done = True
            act()

    return hear


ONE_PART_AT_A_TIME = {"phases": {"source_to_stage_transfer": {"parallel_parts": 1}}}


def moving(tmp_path: Path, settings: dict, before: timedelta, after: timedelta) -> World:
    """One window of two parts; `k` moves from `before` to `after` when the first part is read."""
    world = World(tmp_path, {**settings, **ONE_PART_AT_A_TIME, "windows": {"end": FIRST.end.isoformat()}})
    world.write("fill", events(60, START))
    world.write("k", row("k", START + before, 1, 1.0))
    [run] = world.run(
        emit=after_the_first_part(lambda: world.write("k", row("k", START + after, 2, 2.0))),
    )
    assert run.status is RunStatus.COMPLETED
    assert len(run.manifest.parts) == 2
    return world


EARLY, LATE = timedelta(minutes=1), timedelta(minutes=59)


def test_a_row_that_moves_forward_while_it_is_read_is_seen_twice_and_there_once(tmp_path: Path):
    world = moving(tmp_path, {}, EARLY, LATE)
    assert world.query("SELECT count(*), max(value) FROM events WHERE id = 'k'") == [(1, 2.0)]
    assert world.runs()[0].receipt.counts.duplicates == 1


def test_a_row_that_moves_backward_while_it_is_read_is_captured_when_its_window_is_read_again(tmp_path: Path):
    world = moving(tmp_path, {}, LATE, EARLY)
    assert world.query("SELECT count(*) FROM events WHERE id = 'k'") == [(0,)]
    backfill(world, FIRST)
    assert value_of(world, "k") == 2.0


def test_a_row_that_moved_out_of_the_range_is_captured_by_the_later_window(world):
    world.write("a", row("k", START, 1, 1.0))
    world.run()
    world.write("a", row("k", START + HOUR, 2, 2.0))
    backfill(world, Window(START + HOUR, START + 2 * HOUR))
    assert value_of(world, "k") == 2.0
    [first_again] = backfill(world, FIRST)
    assert first_again.receipt.counts.stage_rows == 0
    assert value_of(world, "k") == 2.0


def test_a_row_that_becomes_visible_late_is_captured_by_the_lookback_g9(tmp_path: Path):
    world = World(tmp_path, {"windows": {"lookback_seconds": 3600, "end": FIRST.end.isoformat()}})
    world.write("a", events(10, START))
    world.run()
    world.write("late", row("late", START + timedelta(minutes=30), 1, 3.0))
    World(tmp_path, {"windows": {"lookback_seconds": 3600}}).run()
    assert value_of(world, "late") == 3.0


APPEND = {"target_system": {"mode": "append", "key": [], "version": "read_at"}, "source_system": {"key": []}}


def test_append_doing_a_window_again_replaces_its_rows(tmp_path: Path):
    world = World(tmp_path, APPEND)
    world.write("a", events(100, START))
    world.run()
    world.write("a", events(90, START))
    backfill(world, FIRST)
    assert world.query("SELECT count(*) FROM events") == [(100,)]
    world.write("a", events(30, START + HOUR))
    [again] = backfill(world, FIRST)
    assert (again.receipt.counts.deleted, again.receipt.counts.inserted) == (60, 0)
    assert world.query("SELECT count(*) FROM events") == [(40,)]


def test_append_keeps_equal_rows_and_versions_as_they_are(tmp_path: Path):
    world = World(tmp_path, APPEND)
    for number in range(3):
        world.write(f"same{number}", row("k", START, None, 1.0))
    world.run()
    assert world.query("SELECT count(*) FROM events") == [(3,)]


def test_append_leaves_rows_of_others_in_the_window_alone(tmp_path: Path):
    world = World(tmp_path, APPEND)
    world.write("a", events(10, START))
    world.run()
    world.execute(f"INSERT INTO events (id, \"at\") VALUES ('by hand', TIMESTAMPTZ '{START.isoformat()}')")
    backfill(world, FIRST)
    assert world.query("SELECT count(*) FROM events WHERE id = 'by hand'") == [(1,)]


def test_append_keeps_what_the_run_read_and_a_second_look_puts_it_right(tmp_path: Path):
    """Append needs a cursor that never changes; where it did, the run's rows are kept as they were read."""
    world = moving(tmp_path, APPEND, EARLY, LATE)
    assert world.query("SELECT value FROM events WHERE id = 'k' ORDER BY value") == [(1.0,), (2.0,)]
    backfill(world, FIRST)
    assert world.query("SELECT value FROM events WHERE id = 'k'") == [(2.0,)]
