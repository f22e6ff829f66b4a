"""A worker paused past its lease, with Snowflake as target, writes nothing any more (G-6, G-13; case 8).

A worker stopped inside the merge leaves its transaction open in Snowflake, which holds the fence. Whoever takes
the run over waits until Snowflake ends it, for it is idle and somebody waits. What the stopped one is told when it
goes on is not documented, so both readings are tried (`after_abort` in tests/snowflake/server/transactions.py).
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import snowflake.connector

from state.model import Run, RunStatus
from tests.faults.test_fencing import paused_worker, wait_for
from tests.lifecycle.ports import Moment, trap_at
from tests.lifecycle.processes import exit_code, process_of
from tests.lifecycle.snowflake_world import (
    EVERYTHING,
    LOADS,
    SnowflakeWorld,
    require_whole,
    until_done,
    world_at,
)
from tests.lifecycle.world import events
from tests.servers.search import ES8, SearchServer
from tests.snowflake.accounts import settings
from tests.snowflake.running import Place

ONE_WINDOW = {"windows": {"width": "2h"}, "limits": {"lease_seconds": 2}}
OUTSIDE = {"reading": "source.page", "putting": "loader.put", "copying": "loader.copy"}
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


def world_of(place: Place, folder: Path, server: SearchServer | None = None, **more) -> SnowflakeWorld:
    world = world_at(place, folder, {**ONE_WINDOW, **more}, server=server)
    world.write("day", events(100))
    return world


def another(world: SnowflakeWorld) -> SnowflakeWorld:
    """The same world, as another worker on this machine sees it."""
    limits = {**world.settings["limits"], "spool_directory": f"{world.root}/spool2"}
    return replace(world, settings={**world.settings, "limits": limits})


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
@pytest.mark.parametrize("server", [ES8], indirect=True, ids=str)
def test_a_worker_paused_outside_the_merge_is_fenced_g6(
    place: Place, tmp_path: Path, server: SearchServer, effect: str
):
    fenced(world_of(place, tmp_path, server), effect)


@pytest.mark.parametrize("told", ["error", "autocommit"])
@pytest.mark.parametrize("effect", IN_TRANSACTION.values(), ids=IN_TRANSACTION.keys())
def test_a_worker_paused_inside_the_merge_is_fenced_g6_g13(place: Place, tmp_path: Path, effect: tuple, told: str):
    kept = {"stage_cleaning": {"enabled": False}}  # else the stage table that it would merge from is gone
    with settings(place, idle_seconds=0.5, after_abort=told):
        fenced(world_of(place, tmp_path, phases=kept), effect)


# A transaction that nobody ends (G-13): found by its tag and aborted, where Snowflake would wait for minutes.


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr("loaders.snowflake.detached.PATIENCE_SECONDS", 0.3)


def aborts(place: Place) -> int:
    """Transactions that the world's user aborted."""
    ran = [one for one in place.server.get("/test/statements") if one["user"] == f"U_{place.database}"]
    return sum("SYSTEM$ABORT_TRANSACTION" in one["text"] for one in ran)


def killed_inside(world: SnowflakeWorld) -> None:
    """Body of a worker process that dies in the middle of its merge."""
    world.run(trap_at("loader.merge.write", 1, Moment.AFTER))


def test_a_merge_whose_worker_died_is_found_by_its_tag_and_aborted_g13(place: Place, tmp_path: Path, soon):
    world = world_of(place, tmp_path)
    assert exit_code(killed_inside, world) == -signal.SIGKILL
    run = until_done(world)
    assert (run.status, run.token, aborts(place)) == (RunStatus.COMPLETED, 2, 1), run.failure
    require_whole(world)


def test_a_merge_whose_worker_is_stopped_is_found_by_its_tag_and_aborted_g13(place: Place, tmp_path: Path, soon):
    fenced(world_of(place, tmp_path), IN_TRANSACTION["before COMMIT"])
    assert aborts(place) == 1


OTHERS = {
    "an older attempt of the window": ({}, 1),
    "another pipeline": ({"pipeline": "other"}, 0),
    "another window": ({"window": "[2025-11-15T02:00Z, 2025-11-15T04:00Z)"}, 0),
    "a newer attempt": ({"attempt": 9}, 0),
    "no tag of ours": ({"app": "other"}, 0),
}
"""Whose tag the transaction bears that holds the fence, and how often it is aborted."""


@pytest.mark.parametrize("change, aborted", OTHERS.values(), ids=OTHERS.keys())
def test_only_a_transaction_of_an_older_attempt_is_aborted_and_any_other_is_waited_for_g13(
    place: Place, tmp_path: Path, soon, change: dict, aborted: int
):
    world = world_of(place, tmp_path)
    assert exit_code(killed_before, world) == -signal.SIGKILL
    mine = {"app": "sluiceway", "pipeline": "events", "window": str(EVERYTHING), "attempt": 1, **change}
    connection = {**world.connection, "user": world.user, "session_parameters": {"QUERY_TAG": json.dumps(mine)}}
    with snowflake.connector.connect(**connection) as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"UPDATE {ledger(world)} SET touched = touched WHERE kind = 'fence'")
        later = threading.Timer(2.0, lambda: other.cursor().execute("COMMIT"))
        later.start()
        run = until_done(world)
        later.join()
    assert (run.status, run.token, aborts(place)) == (RunStatus.COMPLETED, 2, aborted), run.failure


def killed_before(world: SnowflakeWorld) -> None:
    """Body of a worker process that dies before its merge."""
    world.run(trap_at("loader.merge.begin", 1, Moment.BEFORE))


def ledger(world: SnowflakeWorld) -> str:
    """The load table as the loader writes its name."""
    database, schema = world.schema.split(".")
    return f'"{database}"."{schema}"."{LOADS}"'
