"""Whole runs into Snowflake: objects replaced under them, no room, no warehouse, poison (§12.1, by row)."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from loaders.spool import Quota
from service.app import opened
from service.events import CleaningFailed, RunClaimed, RunFailed, RunFenced, RunFinished
from state.errors import ReceiptMismatch, SluicewayError
from state.model import Phase, PhaseStatus, Run, RunStatus
from tests.faults.test_snowflake_runs import world_of
from tests.lifecycle.processes import process_of
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
from tests.snowflake.accounts import settings
from tests.snowflake.running import Place

STRICT = {"limits": {"tries_per_phase": 2, "attempts_per_error_class": 2}}


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("state.snowflake.login.WAITS_MILLISECONDS", (1, 20))


# 9: two replicas that nobody elected.


def told(world: SnowflakeWorld, file: Path) -> None:
    """Body of a worker process; each event about a run goes to `file`."""

    def keep(event: object) -> None:
        if isinstance(event, RunClaimed | RunFinished | RunFenced):
            with file.open("a") as kept:
                print(type(event).__name__, event.run.name, file=kept)

    file.touch()
    world.run(emit=keep)


def test_9_two_workers_that_share_a_drive_table_in_snowflake_load_each_window_once(place: Place, tmp_path: Path):
    patient = {"tries_per_phase": 20}
    world = world_at(place, tmp_path, {"windows": {"width": "20m", "max_open": 2}, "limits": patient}, "snowflake")
    world.write("day", events(100))
    limits = {**patient, "spool_directory": f"{tmp_path}/spool2"}
    other = SnowflakeWorld(tmp_path, {**world.settings, "limits": limits}, world.connection, world.drive)
    files = [tmp_path / "first", tmp_path / "second"]
    with process_of(told, world, files[0]) as first, process_of(told, other, files[1]) as second:
        for process in (first, second):
            process.join(120)
            assert process.exitcode == 0
    world.run()
    require_whole(world)
    heard = Counter(line for file in files for line in file.read_text().splitlines())
    assert len(world.runs()) == 6
    for run in world.runs():  # whoever took it finished it, or was told that another one has it
        claimed, fenced = (heard[f"{kind} {run.name}"] for kind in ("RunClaimed", "RunFenced"))
        assert heard[f"RunFinished {run.name}"] == 1
        assert claimed == fenced + 1 == run.attempts


@pytest.mark.parametrize("effect", ["loader.copy.create", "loader.merge.fence", "loader.merge.commit"])
def test_9_of_two_attempts_at_one_window_one_wins_and_the_other_has_lost_its_lease(
    place: Place, tmp_path: Path, effect: str
):
    """Nobody was elected: both are at work on it, and the second one has it by its lease alone."""
    world, heard, won = world_of(place, tmp_path, {"limits": {"lease_seconds": 2}}), [], []
    limits = {**world.settings["limits"], "spool_directory": f"{tmp_path}/spool2"}
    other = SnowflakeWorld(tmp_path, {**world.settings, "limits": limits}, world.connection, world.drive)

    def take_over() -> None:
        while not won:
            time.sleep(0.1)
            won.extend(other.run())

    def overtaken() -> None:
        """The first one does nothing meanwhile, not even renew its lease."""
        with ThreadPoolExecutor(1) as pool:
            pool.submit(take_over).result(60)

    with settings(place, idle_seconds=1):
        world.run(once_at(effect, overtaken), emit=heard.append)
    assert [(run.status, run.token) for run in won] == [(RunStatus.COMPLETED, 2)]
    assert [type(event) for event in heard if isinstance(event, RunFinished | RunFenced)] == [RunFenced]
    require_whole(world)
    assert world.query(f"SELECT token FROM {LOADS} WHERE kind = 'receipt'") == [(2,)]


# 42 and 45: the warehouse, and a service that refuses everything.

TIMEOUT = "Statement reached its statement or warehouse timeout of 1 second(s) and was canceled."
SUSPENDED = "No active warehouse selected in the current session."
TROUBLE = {
    "statement timeout": (
        {"act": "error", "code": "000630", "message": TIMEOUT},
        "statement_timeout",
        "warehouse",
        2,
    ),
    "warehouse gone": (
        {"act": "error", "code": "000606", "state": "57P03", "message": SUSPENDED},
        "no_warehouse",
        "warehouse",
        1,
    ),
    "503 for ever": ({"act": "status", "status": 503}, "http_503", "tried again", 10),
    "429 for ever": ({"act": "status", "status": 429}, "http_429", "tried again", 10),
    "403 for ever": ({"act": "status", "status": 403}, "http_403", "network policy", 2),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_42_45_trouble_that_stays_ends_in_quarantine_with_advice(place: Place, tmp_path: Path, trouble: str):
    """The requests are counted, each of which has its longest time: in two attempts, two tries where it is known
    that nothing happened (one where a try costs hours), and five of the driver's where it may try again."""
    rule, code, advice, requests = TROUBLE[trouble]
    world = world_of(place, tmp_path, STRICT)
    with fault(place, sql="^(COPY INTO|WITH s AS)", times=None, **rule) as told:
        run = until_done(world)
    assert (run.status, run.failure.code) == (RunStatus.FAILED, code)
    assert (run.attempts, run.quarantined_at is not None) == (1 if code == "no_warehouse" else 2, True)
    assert advice in run.failure.hint
    assert told["fired"] == requests
    assert world.receipts() == []


def test_45_a_login_that_is_refused_is_tried_once(place: Place, tmp_path: Path):
    world = world_of(place, tmp_path)
    with fault(place, "status", status=403, path="login-request", times=None) as told:
        for _ in range(2):
            with pytest.raises(SluicewayError) as caught:
                world.run()
    assert caught.value.code == "http_403"
    assert told["fired"] <= 4
    assert world.runs() == []


# 46: CREATE OR REPLACE in the middle of a run.


def test_46_a_stage_that_is_replaced_before_copy_has_its_files_read_again(place: Place, tmp_path: Path):
    world = world_of(place, tmp_path)
    anew = once_at("loader.copy.create", lambda: world.execute("CREATE OR REPLACE STAGE SLUICEWAY"))
    run = until_done(world, anew)
    assert run.status is RunStatus.COMPLETED, run.failure
    require_whole(world)


def replace(world: SnowflakeWorld, table: str) -> None:
    """An operator's CREATE OR REPLACE TABLE: the same columns, no rows, another table."""
    world.execute(f"CREATE TABLE {table}_LIKE LIKE {table}")
    world.execute(f"CREATE OR REPLACE TABLE {table} LIKE {table}_LIKE")
    world.execute(f"DROP TABLE {table}_LIKE")


REPLACED = {
    "replaced": lambda world: replace(world, "EVENTS"),
    "dropped": lambda world: world.execute("DROP TABLE EVENTS"),
}


@pytest.mark.parametrize("act", REPLACED.values(), ids=REPLACED.keys())
def test_46_a_target_that_is_replaced_under_a_run_stops_it_with_a_clear_error(
    place: Place, tmp_path: Path, act: Callable[[SnowflakeWorld], None]
):
    world = world_of(place, tmp_path)
    [run] = world.run(once_at("loader.merge.begin", lambda: act(world)))
    assert (run.status, run.failure.kind) == (RunStatus.FAILED, ReceiptMismatch.kind)
    assert "not the table any more" in run.failure.message
    assert run.quarantined_at is not None
    assert world.receipts() == []


def test_46_a_load_table_that_is_replaced_under_a_run_stops_that_attempt(place: Place, tmp_path: Path):
    """The fence is gone with it; nothing proves anything any more, so the next attempt loads the window."""
    world, heard = world_of(place, tmp_path), []
    anew = once_at("loader.merge.begin", lambda: replace(world, LOADS))
    world.run(anew, heard.append)
    assert any(isinstance(event, RunFailed) and "the fence" in event.failure.message for event in heard)
    run = until_done(world)
    assert run.status is RunStatus.COMPLETED, run.failure
    require_whole(world)


def test_46_runs_whose_drive_table_is_emptied_under_them_write_nothing_more(place: Place, tmp_path: Path):
    """The worker is fenced by its own checkpoint; the next one asks the target, and loads the rest."""
    world, heard = world_of(place, tmp_path, drive="snowflake"), []
    world.run(once_at("loader.copy.load", lambda: replace(world, "PIPELINE_EXECUTION_DRIVE")), heard.append)
    assert any(isinstance(event, RunFenced) for event in heard)
    run = until_done(world)
    assert run.status is RunStatus.COMPLETED, run.failure
    assert len(world.receipts()) == 1


# 47: no room.


def in_spool(root: Path) -> list[Path]:
    return [path for path in (root / "spool").rglob("*.parquet*") if path.is_file()]


def test_47_a_full_disk_fails_the_attempt_cleanly_and_the_run_is_read_again(
    place: Place, tmp_path: Path, monkeypatch
):
    world, sync, full, failures = world_of(place, tmp_path), os.fsync, [True], []

    def fsync(file: int) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(file)

    def notice(event: object) -> None:
        if isinstance(event, RunFailed):
            failures.append(event)
            assert in_spool(tmp_path) == []
            assert world.receipts() == []
            full.clear()

    monkeypatch.setattr(os, "fsync", fsync)
    world.run(emit=notice)
    [failed] = failures
    assert (failed.failure.code, failed.run.phase_failed) == ("disk_full", Phase.SOURCE_TO_STAGE_TRANSFER)
    assert "limits.spool_quota_bytes" in failed.failure.hint
    assert until_done(world).status is RunStatus.COMPLETED
    require_whole(world)
    assert in_spool(tmp_path) == []


QUOTA = 4096


def test_47_at_the_quota_the_reader_waits_until_a_chunk_has_left(place: Place, tmp_path: Path, monkeypatch):
    """An upload that hangs is what it waits for: nothing more is read, and no more lies in the spool."""
    room, waits, taken = Quota.room, [], []

    async def watched(quota: Quota, size: int) -> None:
        waits.append(quota.used > 0 and quota.used + size > quota.bytes)
        await room(quota, size)
        taken.append(quota.used)

    monkeypatch.setattr(Quota, "room", watched)
    small = {"chunk_bytes": QUOTA, "rows_per_part": 20, "chunk_rows": 5}
    world = world_of(
        place,
        tmp_path,
        {"limits": {"spool_quota_bytes": QUOTA}, "phases": {"source_to_stage_transfer": small}},
    )
    with fault(place, "hang", method="PUT", path="/storage/", seconds=0.2, times=3):
        run = until_done(world)
    assert run.status is RunStatus.COMPLETED, run.failure
    require_whole(world)
    assert any(waits)
    assert 0 < max(taken) <= QUOTA


# 49: what cleaning leaves.


def test_49_a_stage_that_cannot_be_cleaned_leaves_the_run_completed_and_says_so(place: Place, tmp_path: Path):
    world, heard = world_of(place, tmp_path), []
    denied = "Insufficient privileges to operate on stage 'SLUICEWAY'"
    with fault(place, "error", sql="^REMOVE", code="003001", state="42501", message=denied, times=None):
        [run] = world.run(emit=heard.append)
    assert run.status is RunStatus.COMPLETED
    record = run.phases[Phase.STAGE_CLEANING]
    assert record.status is PhaseStatus.FAILED
    assert denied in record.figures["error"]
    [said] = [event for event in heard if isinstance(event, CleaningFailed)]
    assert denied in said.message
    assert any(name.startswith("sluiceway/events/") for name in world.left_in_stage())
    assert len(world.receipts()) == 1


# 53: poison.


def test_53_a_poison_row_quarantines_its_window_and_no_other(place: Place, tmp_path: Path):
    world = world_at(place, tmp_path, {"windows": {"width": "30m"}, **STRICT})
    table = events(100).to_pylist()
    table[45]["id"] = None
    world.write("day", events(100).from_pylist(table, schema=events(1).schema))
    world.run()
    fates = {run.window.start.minute + 60 * run.window.start.hour: run for run in world.runs()}
    assert [(at, run.status) for at, run in sorted(fates.items())] == [
        (0, RunStatus.COMPLETED),
        (30, RunStatus.FAILED),
        (60, RunStatus.COMPLETED),
        (90, RunStatus.COMPLETED),
    ]
    assert fates[30].quarantined_at is not None
    assert "no value in the key column id" in fates[30].failure.message
    assert world.query("SELECT count(*) FROM events") == [(70,)]


def opened_runs(world: SnowflakeWorld) -> list[Run]:
    """The runs of the windows that are due, not yet claimed."""

    async def go() -> list[Run]:
        async with opened(world.config, lambda _event: None) as worker:
            return await worker.open(await worker.repair())

    return asyncio.run(go())


def test_53_a_window_that_fails_again_and_again_is_quarantined_after_k_attempts(place: Place, tmp_path: Path):
    world = world_at(place, tmp_path, {"windows": {"width": "1h"}, **STRICT})
    world.write("day", events(100))
    poison = min(run.id.hash for run in opened_runs(world))
    with fault(place, "error", sql=f"^COPY INTO.*{poison}", code="000603", state="XX000", times=None) as told:
        for _ in range(5):
            world.run()
            time.sleep(0.05)
    bad = next(run for run in world.runs() if run.id.hash == poison)
    [good] = [run for run in world.runs() if run.id.hash != poison]
    assert (good.status, bad.status) == (RunStatus.COMPLETED, RunStatus.FAILED)
    assert (bad.attempts, bad.quarantined_at is not None) == (2, True)
    assert told["fired"] == 2, "an error that nobody knows is tried once in each attempt"
