"""A worker paused past its lease, with Snowflake as target, writes nothing any more (G-6, G-13; case 8).

A worker stopped inside the merge leaves its transaction open in Snowflake, which holds the fence. Whoever takes
the run over waits until Snowflake ends it, for it is idle and somebody waits. What the stopped one is told when it
goes on is not documented, so both readings are tried (`after_abort` in tests/snowflake/server/transactions.py).
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from state.model import Run, RunStatus
from tests.faults.test_fencing import paused_worker, wait_for
from tests.lifecycle.processes import process_of
from tests.lifecycle.snowflake_world import LOADS, SnowflakeWorld, world_at
from tests.lifecycle.world import events
from tests.snowflake.accounts import settings
from tests.snowflake.running import Place

ONE_WINDOW = {"windows": {"width": "2h"}, "limits": {"lease_seconds": 2}}
OUTSIDE = {"reading": "drive.checkpoint", "putting": "loader.put", "copying": "loader.copy"}
IN_TRANSACTION = {
    "before the fence": ("loader.merge.fence", "loader.merge.write"),
    "before the write": ("loader.merge.write", "loader.merge.receipt"),
    "before the receipt": ("loader.merge.receipt", "loader.merge.commit"),
    "before COMMIT": ("loader.merge.commit",),
}
"""Where the worker stops: at the first of these effects before which nothing is being written to SQLite."""


def state_of(world: SnowflakeWorld) -> tuple:
    loads = world.query(f"SELECT * FROM {LOADS} WHERE kind <> 'fence' ORDER BY kind, run, token")
    rows = world.query("SELECT * FROM events ORDER BY id")
    return rows, loads, world.runs()


def world_of(place: Place, folder: Path) -> SnowflakeWorld:
    world = world_at(place, folder, ONE_WINDOW)
    world.write("day", events(100))
    return world


def another(world: SnowflakeWorld) -> SnowflakeWorld:
    """The same world, as another worker on this machine sees it."""
    limits = {**world.settings["limits"], "spool_directory": f"{world.root}/spool2"}
    return SnowflakeWorld(world.root, {**world.settings, "limits": limits}, world.connection, world.drive)


def taken_over(world: SnowflakeWorld) -> Run:
    """The run as another worker ended it, once the lease of the first is over."""
    second, until = another(world), time.monotonic() + 60
    while time.monotonic() < until:
        if ended := second.run():
            [run] = ended
            return run
        time.sleep(0.1)
    raise AssertionError("nobody could take the run over")


def fenced(world: SnowflakeWorld, effect: str | tuple[str, ...]) -> None:
    """A worker stops there, another one does its work; then the first goes on, and nothing comes of it."""
    paused, after = world.root / "paused", world.root / "after"
    with process_of(paused_worker, world, effect, paused, after) as first:
        wait_for(paused)
        run = taken_over(world)
        assert (run.status, run.token) == (RunStatus.COMPLETED, 2), run.failure
        world.execute("DELETE FROM events WHERE id > 'e1500-000050'")  # a late write would be seen
        before = state_of(world)
        os.kill(first.pid, signal.SIGCONT)
        first.join(60)
        assert first.exitcode == 0
    assert "RunFenced" in after.read_text().split()
    assert state_of(world) == before
    assert len(world.receipts()) == 1


@pytest.mark.parametrize("effect", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_a_worker_paused_outside_the_merge_is_fenced_g6(place: Place, tmp_path: Path, effect: str):
    fenced(world_of(place, tmp_path), effect)


@pytest.mark.parametrize("told", ["error", "autocommit"])
@pytest.mark.parametrize("effect", IN_TRANSACTION.values(), ids=IN_TRANSACTION.keys())
def test_a_worker_paused_inside_the_merge_is_fenced_g6_g13(place: Place, tmp_path: Path, effect: tuple, told: str):
    with settings(place, idle_seconds=0.5, after_abort=told):
        fenced(world_of(place, tmp_path), effect)
