"""The SQLite drive table as a file: made, opened, refused, and read by operators with plain SQL."""

import asyncio
import json
import sqlite3
import stat
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from state.drive import Event, NewRun
from state.errors import ConfigurationError, TransientError
from state.model import (
    Chunk,
    Failure,
    Manifest,
    MergeCounts,
    Part,
    Phase,
    PhaseRecord,
    PhaseStatus,
    Receipt,
    RunKind,
    RunStatus,
    SnapshotKind,
    Window,
)
from state.sqlite import SqliteDrive
from state.sqlite import file as sqlite_file

HOUR = timedelta(hours=1)
T0 = datetime(2025, 11, 15, 10, tzinfo=UTC)
LEASE = timedelta(seconds=60)


@pytest.fixture
async def drive(tmp_path):
    await SqliteDrive.init(tmp_path / "drive.sqlite")
    opened = await SqliteDrive.open(tmp_path / "drive.sqlite")
    yield opened
    await opened.aclose()


def new(hour: int = 0) -> NewRun:
    window = Window(T0 + hour * HOUR, T0 + (hour + 1) * HOUR)
    return NewRun(window, RunKind.SCHEDULED, window.start)


async def test_making_it_again_changes_nothing(tmp_path):
    path = tmp_path / "deep" / "drive.sqlite"
    first = await SqliteDrive.init(path)
    assert await SqliteDrive.init(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_missing_one_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        await SqliteDrive.open(tmp_path / "none.sqlite")
    assert "sluiceway drive init" in caught.value.hint
    assert not (tmp_path / "none.sqlite").exists()


async def test_an_old_program_refuses_a_newer_schema_and_names_both_versions(tmp_path):
    path = tmp_path / "drive.sqlite"
    await SqliteDrive.init(path)
    with sqlite3.connect(path) as sql:
        sql.execute("UPDATE sluiceway_drive SET schema_version = 99")
    sql.close()
    for attempt in (SqliteDrive.open, SqliteDrive.init, SqliteDrive.upgrade):
        with pytest.raises(ConfigurationError, match=r"version 99.*versions up to \d+") as caught:
            await attempt(path)
        assert caught.value.code == "newer_schema"


async def test_a_lock_that_another_process_holds_is_transient(tmp_path):
    path = tmp_path / "drive.sqlite"
    await SqliteDrive.init(path)
    drive = await SqliteDrive.open(path, busy_seconds=0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TransientError) as caught:
        await drive.create("flights", "me", [new()])
    assert caught.value.code == "locked"
    other.execute("ROLLBACK")
    assert len(await drive.create("flights", "me", [new()])) == 1
    other.close()
    await drive.aclose()


async def test_a_file_that_is_no_database_says_how_to_go_on(tmp_path):
    path = tmp_path / "drive.sqlite"
    path.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(ConfigurationError) as caught:
        await SqliteDrive.open(path)
    assert caught.value.code == "corrupt"
    assert "receipts" in caught.value.hint


async def test_a_folder_that_cannot_be_made_is_a_configuration_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        await SqliteDrive.init(tmp_path / "file" / "drive.sqlite")


async def test_a_network_file_system_is_refused(tmp_path, monkeypatch):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"40 22 0:50 / {tmp_path}/share\\040one rw,relatime shared:1 - nfs4 server:/x rw\n"
    )
    monkeypatch.setattr(sqlite_file, "MOUNTS", mounts)
    with pytest.raises(ConfigurationError, match="nfs4") as caught:
        await SqliteDrive.init(tmp_path / "share one" / "drive.sqlite")
    assert caught.value.path == "drive_table.path"
    await SqliteDrive.init(tmp_path / "local" / "drive.sqlite")


async def test_a_run_is_read_back_as_it_was_stored(drive):
    (run,) = await drive.create("flights", "me", [new()])
    claim = await drive.claim("flights", "me", LEASE)
    chunk = Chunk("flights/p0.parquet", 3, 100, "ab" * 32, T0, T0 + HOUR / 2)
    part = Part(run.window, (chunk,), 3, 3, SnapshotKind.PIT, T0 + HOUR, {"delay": 1})
    manifest = Manifest((part,), "c0ffee")
    full = msgspec.structs.replace(
        claim.run,
        manifest=manifest,
        receipt=Receipt(run.id, 1, manifest.digest, "identity", MergeCounts(3, 3, 3), T0 + 2 * HOUR),
        phases={Phase.AUDIT: PhaseRecord(PhaseStatus.RUNNING, T0, None, {"source_count": 3, "by": {"x": [1]}})},
    )
    await drive.checkpoint(claim, full)
    failure = Failure(Phase.AUDIT, "audit_mismatch", "target", "message", "hint", T0)
    failed = await drive.fail(claim, full, failure, retry_in=None, quarantine=True)
    assert await drive.runs() == [failed]
    assert failed.manifest == manifest
    assert failed.receipt == full.receipt
    assert failed.phases == full.phases
    assert failed.failure == failure
    assert failed.phase_failed is Phase.AUDIT


async def test_operators_read_the_table_with_plain_sql(drive, tmp_path):
    await drive.create("flights", "me", [new()])
    claim = await drive.claim("flights", "me", LEASE)
    record = PhaseRecord(PhaseStatus.COMPLETED, T0, T0 + HOUR, {"source_count": 42, "status": "never hidden"})
    await drive.checkpoint(claim, msgspec.structs.replace(claim.run, phases={Phase.AUDIT: record}))
    with sqlite3.connect(tmp_path / "drive.sqlite") as sql:
        row = sql.execute(
            "SELECT pipeline_id, pipeline_name, pipeline_status, query_window_start_timestamp,"
            " json_extract(audit_phase, '$.source_count'), audit_phase FROM pipeline_execution_drive"
        ).fetchone()
    sql.close()
    assert row[:5] == ("flights_20251115_10h_run1", "flights", "RUNNING", "2025-11-15 10:00:00.000000", 42)
    assert json.loads(row[5])["status"] == "COMPLETED"


async def test_what_is_stored_outlives_the_process(tmp_path):
    path = tmp_path / "drive.sqlite"
    drive_id = await SqliteDrive.init(path)
    first = await SqliteDrive.open(path)
    (run,) = await first.create("flights", "me", [new()])
    await first.record(Event(T0, "anna", "retry", "flights", run.name, {"why": "x"}))
    await first.aclose()
    await first.aclose()
    second = await SqliteDrive.open(path)
    assert second.id == drive_id
    assert await second.runs("flights") == [run]
    assert [event.actor for event in await second.events("flights")] == ["anna"]
    await second.aclose()


async def test_a_step_that_raises_leaves_nothing_behind(drive):
    await drive.create("flights", "me", [new()])
    with pytest.raises(Exception, match="overlap"):
        await drive.create("flights", "me", [new(5), new(5)])
    assert len(await drive.runs()) == 1


async def test_the_event_loop_goes_on_while_the_file_is_locked(tmp_path):
    path = tmp_path / "drive.sqlite"
    await SqliteDrive.init(path)
    drive = await SqliteDrive.open(path, busy_seconds=0.3)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(drive.create("flights", "me", [new()]))
    beats = 0
    while not waiting.done():
        await asyncio.sleep(0.01)
        beats += 1
    with pytest.raises(TransientError):
        await waiting
    assert beats > 10
    other.close()
    await drive.aclose()


async def test_a_run_is_complete_only_once(drive):
    await drive.create("flights", "me", [new()])
    claim = await drive.claim("flights", "me", LEASE)
    await drive.checkpoint(claim, msgspec.structs.replace(claim.run, status=RunStatus.COMPLETED))
    assert await drive.claim("flights", "me", LEASE) is None
