"""The ledger of a pipeline over its life: looks, backfills, restarts, changed widths (G-10, G-11)."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from loaders.base import Loads
from service.config import parse_config
from service.tick import backfill_windows, new_runs, open_windows
from state.drive import NewRun
from state.errors import DuplicateWindow
from state.memory import MemoryDrive
from state.model import RunKind, RunStatus, Window
from state.sqlite import SqliteDrive
from state.windows import gaps, overlaps, tiles
from tests.lifecycle.world import defaults

START = datetime(2025, 10, 19, 22, tzinfo=UTC)
"""A Monday's midnight in Berlin, a few days before the clock goes back."""
HOUR = timedelta(hours=1)
LEASE = timedelta(seconds=60)
WIDTHS = ["1h", "3h", "90m", "day", "week"]


def config_of(width: str):
    own = {"start": START.isoformat(), "width": width, "timezone": "Europe/Berlin", "safety_lag_seconds": 0}
    return parse_config({**defaults(Path("x")), "windows": own})


class Life:
    """A pipeline, step by step, as processes would live it."""

    def __init__(self, width: str) -> None:
        self.drive = MemoryDrive()
        self.config = config_of(width)
        self.now = START
        self.refused = 0

    async def look(self, hours: int) -> None:
        self.now += hours * HOUR
        await self.tried(open_windows(self.config, self.drive, Loads(), self.now, "me"))

    async def backfill(self, hours: int) -> None:
        span = Window(START + hours * HOUR, START + (hours + 5) * HOUR)
        windows = backfill_windows(self.config, span)
        new = new_runs(self.config, {}, windows, RunKind.BACKFILL)
        await self.tried(self.drive.create("events", "me", new))

    async def finish(self, runs: int) -> None:
        for _ in range(runs):
            claim = await self.drive.claim("events", "me", LEASE)
            if claim is None:
                break
            await self.drive.checkpoint(claim, replace(claim.run, status=RunStatus.COMPLETED))

    async def change(self, width: int) -> None:
        self.config = config_of(WIDTHS[width % len(WIDTHS)])

    async def tried(self, step) -> None:
        try:
            await step
        except DuplicateWindow:
            self.refused += 1

    async def live(self, steps) -> None:
        for name, argument in steps:
            await getattr(self, name)(argument)
            await self.check()

    async def check(self) -> None:
        runs = await self.drive.runs("events")
        assert overlaps([run.window for run in runs if run.unfinished]) == []
        assert overlaps(sorted({run.window for run in runs if run.kind is RunKind.SCHEDULED})) == []
        assert len({run.id for run in runs}) == len(runs)
        assert len({run.name for run in runs}) == len(runs)


def step(*names: str):
    return st.tuples(st.sampled_from(names), st.integers(0, 40))


@given(width=st.sampled_from(WIDTHS), steps=st.lists(step("look", "backfill", "finish", "change"), max_size=12))
@settings(max_examples=150)
def test_no_life_of_a_pipeline_makes_windows_overlap_g11(width, steps):
    asyncio.run(Life(width).live(steps))


@given(width=st.sampled_from(WIDTHS), steps=st.lists(step("look", "backfill", "finish"), max_size=12))
@settings(max_examples=50)
def test_with_one_width_every_closed_window_gets_its_run_g11(width, steps):
    async def live() -> None:
        life = Life(width)
        await life.live(steps)
        for _ in range(8):  # a look opens a bounded number of windows, and waits for unfinished work
            await life.finish(400)
            await life.look(0)
        await life.finish(400)
        closed = list(tiles(life.config.windows.tiling(), life.now))
        runs = await life.drive.runs("events")
        known = [run.window for run in runs]
        assert all(run.status is RunStatus.COMPLETED for run in runs)
        assert set(closed) <= set(known)
        if closed:
            assert gaps(known, Window(closed[0].start, closed[-1].end)) == []

    asyncio.run(live())


def test_a_changed_width_is_refused_with_what_to_do_and_not_laid_across_old_windows():
    async def live() -> None:
        life = Life("3h")
        await life.look(6)
        await life.finish(9)
        life.config = config_of("90m")
        with pytest.raises(DuplicateWindow) as caught:
            await open_windows(life.config, life.drive, Loads(), life.now, "me")
        assert caught.value.code == "tiling"
        assert "go on from the end of the last one" in caught.value.hint

    asyncio.run(live())


@pytest.fixture
async def drive(tmp_path):
    await SqliteDrive.init(tmp_path / "drive.sqlite")
    async with aclosing(await SqliteDrive.open(tmp_path / "drive.sqlite")) as opened:
        yield opened


async def test_a_look_reads_no_runs_however_long_the_history_is(drive):
    """The daemon looks every minute; the drive table may hold thousands of wide rows."""
    config, now = config_of("1h"), START + 3000 * HOUR
    windows = list(tiles(config.windows.tiling(), now))
    await drive.create("events", "me", [NewRun(window, RunKind.SCHEDULED, START) for window in windows])
    statements: list[str] = []
    drive._connection.set_trace_callback(statements.append)
    assert await open_windows(config, drive, Loads(), now, "me") == []
    drive._connection.set_trace_callback(None)
    plans = [drive._connection.execute(f"EXPLAIN QUERY PLAN {text}").fetchone()["detail"] for text in statements]
    assert len(plans) == 2
    assert "USING COVERING INDEX" in plans[0]
    assert "USING INDEX unfinished_runs" in plans[1] or "USING COVERING INDEX" in plans[1]


async def test_creating_many_runs_compares_each_with_its_neighbours_only(drive, monkeypatch):
    compared = 0
    faithful = Window.overlaps

    def counting(self, other):
        nonlocal compared
        compared += 1
        return faithful(self, other)

    monkeypatch.setattr(Window, "overlaps", counting)
    windows = [Window(START + n * HOUR, START + (n + 1) * HOUR) for n in range(300)]
    await drive.create("events", "me", [NewRun(window, RunKind.REPAIR, START) for window in windows[::2]])
    await drive.create("events", "me", [NewRun(window, RunKind.REPAIR, START) for window in windows[1::2]])
    assert compared <= 2 * len(windows)
