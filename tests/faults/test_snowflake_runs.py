"""Whole runs into Snowflake while something goes wrong there (reliability §12.1, rows by number in the names).

The other rows: 1-4 and 7 are crash points (tests/lifecycle/test_snowflake_crash.py), 8 is in
test_snowflake_fencing.py, 10 in tests/snowflake, 35 and 42 in test_snowflake_files.py, 38 in the contract of
loaders (before COPY), 39 in test_snowflake_order.py, 43 and 44 in test_snowflake_sessions.py, 40 in
tests/integration/test_snowflake_values.py.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import snowflake.connector

from service.events import Event, PartRead
from state.model import RunStatus
from tests.lifecycle.snowflake_world import (
    LOADS,
    SnowflakeWorld,
    fault,
    once_at,
    require_whole,
    until_done,
    world_at,
)
from tests.lifecycle.world import events
from tests.snowflake.running import Place

ONE = {"windows": {"width": "2h"}}
DRIVER_TRIES = 5


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("state.snowflake.login.WAITS_MILLISECONDS", (1, 20))


def world_of(place: Place, root: Path, settings: dict | None = None, drive: str = "sqlite") -> SnowflakeWorld:
    world = world_at(place, root, {**ONE, **(settings or {})}, drive)
    world.write("day", events(100))
    return world


# The upload.

UPLOADS: dict[str, dict[str, Any]] = {
    "cut in the middle": {"act": "drop_before", "bytes": 1500},
    "503": {"act": "status", "status": 503},
    "403, the credential has expired": {"act": "status", "status": 403},
    "503 until the driver gives up": {"act": "status", "status": 503, "times": DRIVER_TRIES + 2},
    "403 until the driver gives up": {"act": "status", "status": 403, "times": DRIVER_TRIES + 2},
}


@pytest.mark.parametrize("how", UPLOADS.values(), ids=UPLOADS.keys())
def test_34_an_upload_that_fails_is_done_again(place: Place, tmp_path: Path, how: dict):
    world = world_of(place, tmp_path)
    with fault(place, user=None, method="PUT", path="/storage/", **how) as told:
        world.run()
    assert until_done(world).status is RunStatus.COMPLETED
    assert told["fired"] == how.get("times", 1)
    require_whole(world)


# COPY.


def remove_a_file(world: SnowflakeWorld) -> None:
    [(name, *_), *_] = world.query("LIST @SLUICEWAY")
    world.execute(f"REMOVE @{name}")


def test_36_a_staged_file_that_is_gone_before_copy_is_read_again(place: Place, tmp_path: Path):
    world, gone = world_of(place, tmp_path), []

    def hear(event: Event) -> None:
        if isinstance(event, PartRead) and event.done == event.total and not gone:
            gone.append(remove_a_file(world))

    world.run(emit=hear)
    assert gone
    run = until_done(world)
    assert run.status is RunStatus.COMPLETED, run.failure
    require_whole(world)


def test_36_a_staged_file_that_goes_while_copy_runs_is_read_again(place: Place, tmp_path: Path):
    world = world_of(place, tmp_path)
    run = until_done(world, once_at("loader.copy.load", lambda: remove_a_file(world)))
    assert run.status is RunStatus.COMPLETED, run.failure
    require_whole(world)


def copied_by_hand(world: SnowflakeWorld) -> None:
    """What COPY is about to load is in the stage table already: Snowflake will skip it."""
    [(table,)] = world.query(
        "SELECT table_name FROM information_schema.tables WHERE STARTSWITH(table_name, 'EVENTS_STAGE_')"
        " AND table_name NOT LIKE 'EVENTS_STAGE_EMPTY%'"
    )
    values = '$1:"id"::VARCHAR, $1:"at"::TIMESTAMP_LTZ, $1:"version"::NUMBER, $1:"value"::FLOAT'
    own = '$1:"_sluiceway_read_at"::TIMESTAMP_LTZ, METADATA$FILENAME, METADATA$FILE_ROW_NUMBER'
    world.execute(
        f"COPY INTO {table} FROM (SELECT {values}, {own} FROM @SLUICEWAY)"
        " FILE_FORMAT = (TYPE = PARQUET USE_VECTORIZED_SCANNER = TRUE USE_LOGICAL_TYPE = TRUE)"
    )


def test_37_files_that_copy_skips_fail_the_attempt_and_nothing_of_it_is_merged(place: Place, tmp_path: Path):
    world = world_of(place, tmp_path, {"limits": {"attempts_per_error_class": 1}})
    [run] = world.run(once_at("loader.copy.load", lambda: copied_by_hand(world)))
    assert (run.status, run.failure.code) == (RunStatus.FAILED, "stage_file_rows")
    assert "LOAD_SKIPPED" in run.failure.message
    assert (world.receipts(), world.query("SELECT count(*) FROM events")) == ([], [(0,)])


def test_37_after_files_that_copy_skipped_the_next_attempt_loads_them(place: Place, tmp_path: Path):
    world = world_of(place, tmp_path)
    run = until_done(world, once_at("loader.copy.load", lambda: copied_by_hand(world)))
    assert run.status is RunStatus.COMPLETED, run.failure
    require_whole(world)


@pytest.mark.parametrize("statement", ["COPY INTO", "COMMIT", "MERGE INTO .*LOADS", "CREATE OR REPLACE", "REMOVE"])
def test_5_6_an_answer_that_is_lost_is_settled_and_nothing_is_done_twice(
    place: Place, tmp_path: Path, statement: str
):
    world = world_of(place, tmp_path)
    with fault(place, "drop_after", sql=f"^{statement}", times=DRIVER_TRIES) as told:
        world.run()
    assert told["fired"] == DRIVER_TRIES
    assert until_done(world).status is RunStatus.COMPLETED
    require_whole(world)
    merges = [one for one in server_ran(place) if one.startswith("MERGE INTO") and 'EVENTS" t' in one]
    assert len(merges) == 1


def test_49_a_clean_up_that_was_not_answered_is_done_again(place: Place, tmp_path: Path):
    """Whether it was heard is not known, and does not matter: cleaning may be repeated."""
    world = world_of(place, tmp_path)
    with fault(place, "drop_before", sql="^DROP TABLE", times=DRIVER_TRIES) as told:
        world.run()
    assert told["fired"] == DRIVER_TRIES
    require_whole(world)


def server_ran(place: Place) -> list[str]:
    """Texts of what the world's user ran, in order."""
    user = f"U_{place.database}"
    return [one["text"] for one in place.server.get("/test/statements") if one["user"] == user]


# Locks.


def test_41_too_many_waiters_and_a_deadlock_are_tried_again(place: Place, tmp_path: Path):
    world = world_of(place, tmp_path)
    many = {
        "code": "000625",
        "sql": "^MERGE INTO .*LOADS",
        "message": "the number of waiters for this lock exceeds",
    }
    dead = {"code": "000625", "sql": "^UPDATE .*LOADS", "message": "aborted to resolve a deadlock"}
    with fault(place, "error", **many) as first, fault(place, "error", **dead) as second:
        world.run()
    assert (first["fired"], second["fired"]) == (1, 1)
    assert until_done(world).status is RunStatus.COMPLETED
    require_whole(world)


@contextmanager
def fence_held(world: SnowflakeWorld) -> Iterator[snowflake.connector.SnowflakeConnection]:
    """Somebody else's transaction holds the fence."""
    with world.hand() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"UPDATE {LOADS} SET touched = touched WHERE kind = 'fence'")
        yield other
        cursor.execute("ROLLBACK")


IMPATIENT = {"snowflake_connection": {"lock_timeout_seconds": 1}}


def test_41_a_fence_that_is_held_for_longer_than_lock_timeout_is_waited_for_again(place: Place, tmp_path: Path):
    world = world_of(place, tmp_path, IMPATIENT)
    world.run()
    world.write("day", events(100, version=2))
    with fence_held(world) as other:
        later = threading.Timer(1.5, lambda: other.cursor().execute("ROLLBACK"))
        later.start()
        [run] = world.backfill()
        later.join()
    assert run.status is RunStatus.COMPLETED, run.failure
    assert world.query("SELECT DISTINCT version FROM events") == [(2,)]


def test_41_a_fence_that_is_never_let_go_ends_the_run_with_a_clear_error(place: Place, tmp_path: Path):
    limits = {"tries_per_phase": 2, "attempts_per_error_class": 2}
    world = world_of(place, tmp_path, {**IMPATIENT, "limits": limits})
    world.run()
    with fence_held(world):
        [run] = world.backfill()
        assert (run.status, run.failure.code) == (RunStatus.FAILED, "lock_timeout")
        run = until_done(world)
    assert run.quarantined_at is not None
    assert "SHOW LOCKS" in run.failure.hint
    assert len(world.receipts()) == 1
