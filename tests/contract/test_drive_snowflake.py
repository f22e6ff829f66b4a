"""The drive table in Snowflake through the unmodified connector: its contract, and what may come in between."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from datetime import timedelta

import pytest
from msgspec.structs import replace

from state.columns import row_of
from state.errors import ConfigurationError, DuplicateWindow, LeaseLost
from state.model import Phase, Run, RunId, RunKind, RunStatus
from state.snowflake import drive_schema
from state.snowflake.drive import SnowflakeDrive
from state.snowflake.drive_clock import DriveClock
from state.snowflake.drive_rows import COLUMNS
from state.snowflake.session import Account, Session
from tests.contract.drive import CLAUSES, Clock
from tests.contract.drive_desk import LEASE, failure, new, progressed, receipt_of, window
from tests.contract.drive_snowflake import (
    between_look_and_write,
    by_hand,
    drive_at,
    entered,
    made,
    opened,
    schema_of,
    settings,
)


@pytest.mark.parametrize("name", CLAUSES)
async def test_snowflake_keeps_the_contract(name, snowflake_server):
    async def make(clock: Clock):
        place = snowflake_server.place().connection
        await made(place)
        return await opened(place, clock=clock)

    await CLAUSES[name](make)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def drives(place, clock):
    """Two, as two processes have them."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(drive_at(place.connection, clock=clock))
        second = await stack.enter_async_context(drive_at(place.connection, clock=clock))
        yield await entered(first, place.connection), await entered(second, place.connection)


async def test_a_checkpoint_between_a_claims_look_and_its_write_is_not_lost(drives, clock, monkeypatch):
    """The paused former owner wakes up in the worst moment: its progress was acknowledged, so it is kept."""
    paused, other = drives
    await paused.create("p", "x", [new(0)])
    claim = await paused.claim("p", "one", LEASE)
    clock.advance(2 * LEASE)
    run = progressed(claim.run, Phase.AUDIT)
    async with between_look_and_write(monkeypatch, other, lambda: paused.checkpoint(claim, run)):
        taken = await other.claim("p", "two", LEASE)
    assert (taken.token, taken.owner) == (claim.token + 1, "two")
    assert (taken.run.phases, taken.run.manifest) == (run.phases, run.manifest)
    with pytest.raises(LeaseLost):
        await paused.checkpoint(claim, run)


async def test_a_renewal_between_a_claims_look_and_its_write_keeps_the_lease(drives, clock, monkeypatch):
    paused, other = drives
    await paused.create("p", "x", [new(0)])
    claim = await paused.claim("p", "one", LEASE)
    clock.advance(2 * LEASE)
    async with between_look_and_write(monkeypatch, other, lambda: paused.renew([claim], LEASE)) as renewed:
        assert await other.claim("p", "two", LEASE) is None
    assert [one.token for one in renewed[0]] == [claim.token]
    assert (await paused.checkpoint(claim, claim.run)).run.token == claim.token


async def test_two_claims_at_once_take_two_runs(drives, monkeypatch):
    one, two = drives
    await one.create("p", "x", [new(0), new(1)])
    async with between_look_and_write(monkeypatch, two, lambda: one.claim("p", "one", LEASE)) as first:
        second = await two.claim("p", "two", LEASE)
    assert [(first[0].run.window, first[0].token), (second.run.window, second.token)] == [
        (window(0), 1),
        (window(1), 2),
    ]


async def test_two_creators_of_one_window_make_one_run_g10(drives, monkeypatch):
    one, two = drives
    await one.create("p", "x", [new(9)])
    async with between_look_and_write(monkeypatch, two, lambda: one.create("p", "x", [new(0)])):
        with pytest.raises(DuplicateWindow) as caught:
            await two.create("p", "x", [new(0)])
    assert caught.value.code == "unfinished"
    assert [run.window for run in await one.runs("p")] == [window(0), window(9)]


async def test_a_pipeline_becomes_known_once(drives, monkeypatch):
    """Both find no row of the pipeline, and both make it known: the second finds that of the first."""
    one, two = drives
    await asyncio.gather(*(drive.create("p", "x", [new(hour)]) for hour, drive in enumerate(drives)))
    (row,) = await by_hand(one, f"SELECT COUNT(*), MAX(steps) FROM {one._tables.tokens}")
    assert row == (1, 2)
    assert [run.window for run in await two.runs("p")] == [window(0), window(1)]


async def test_an_ordered_claim_waits_for_an_older_run_made_in_between(drives, monkeypatch):
    one, two = drives
    await one.create("p", "x", [new(5)])
    async with between_look_and_write(monkeypatch, two, lambda: one.create("p", "x", [new(0)])):
        claim = await two.claim("p", "two", LEASE, ordered=True)
    assert claim.run.window == window(0)


async def test_an_adopted_run_that_is_renewed_in_between_stays_its_workers(drives, clock, monkeypatch):
    worker, other = drives
    await worker.create("p", "x", [new(0)])
    claim = await worker.claim("p", "one", LEASE)
    clock.advance(2 * LEASE)
    async with between_look_and_write(monkeypatch, other, lambda: worker.renew([claim], LEASE)):
        assert await other.adopt("p", [receipt_of(claim.run.id)], 0) == []
    assert (await worker.checkpoint(claim, claim.run)).run.status is RunStatus.RUNNING


async def test_a_run_that_is_finished_between_the_two_looks_of_adopt_is_not_made_again(drives, clock, monkeypatch):
    worker, other = drives
    await worker.create("p", "x", [new(0)])
    claim = await worker.claim("p", "one", LEASE)
    clock.advance(2 * LEASE)
    session = other._queue._session
    rows, looked = session.rows, []

    async def slowly(sql, *values):
        found = await rows(sql, *values)
        if not looked:
            looked.append(sql)
            await worker.checkpoint(claim, replace(claim.run, status=RunStatus.COMPLETED))
        return found

    monkeypatch.setattr(session, "rows", slowly)
    assert await other.adopt("p", [receipt_of(claim.run.id)], 0) == []
    assert [(run.id, run.status) for run in await worker.runs("p")] == [(claim.run.id, RunStatus.COMPLETED)]


async def test_what_a_session_is_late_to_see_makes_nothing_twice_g7(drives, place):
    """READ_CONSISTENCY_MODE = SESSION: the second process does not see at once what the first one committed."""
    one, two = drives
    await one.create("p", "x", [new(9)])
    await two.runs("p")
    place.server.put(f"/test/consistency/{place.database}", {"delay": 600})
    try:
        await one.create("p", "x", [new(0)])
        assert [run.window for run in await two.runs("p")] == [window(9)], (
            "the session is not late: nothing is shown"
        )
        with pytest.raises(DuplicateWindow):
            await two.create("p", "x", [new(0)])
        await one.runs("p")
        first = await two.claim("p", "two", LEASE)
        second = await one.claim("p", "one", LEASE)
    finally:
        place.server.put(f"/test/consistency/{place.database}", {})
    assert [(first.run.window, first.token), (second.run.window, second.token)] == [(window(0), 1), (window(9), 2)]


async def test_a_row_that_is_there_twice_stops_the_pipeline_and_no_other_g10(drives):
    """Snowflake enforces no key, so somebody else's INSERT may double a row."""
    one, _ = drives
    await one.create("p", "x", [new(0)])
    await one.create("q", "x", [new(0)])
    doubled = f"INSERT INTO {one._tables.runs} SELECT * FROM {one._tables.runs} WHERE pipeline_name = 'p'"
    await by_hand(one, doubled)
    for call in (
        lambda: one.claim("p", "one", LEASE),
        lambda: one.create("p", "x", [new(1)]),
        lambda: one.adopt("p", [], 5),
    ):
        with pytest.raises(DuplicateWindow) as caught:
            await call()
        assert (caught.value.code, bool(caught.value.hint)) == ("duplicate", True)
    assert await one.claim("q", "one", LEASE)


async def test_unfinished_runs_that_overlap_stop_the_pipeline_g10(drives):
    one, _ = drives
    await one.create("p", "x", [new(0, 2)])
    await by_hand(
        one,
        f"UPDATE {one._tables.runs} SET query_window_start_timestamp = ?, run_kind = 'backfill'",
        window(1).start,
    )
    (run,) = await one.runs("p")
    assert run.window == window(1)
    await one.create("p", "x", [new(5)])
    await by_hand(
        one,
        f"UPDATE {one._tables.runs} SET query_window_start_timestamp = ? WHERE query_window_end_timestamp = ?",
        window(1).start,
        window(5).end,
    )
    with pytest.raises(DuplicateWindow) as caught:
        await one.claim("p", "one", LEASE)
    assert caught.value.code == "duplicate"


async def test_a_drive_table_that_was_made_anew_is_noticed_f22(drives, place):
    one, two = drives
    await one.create("p", "x", [new(0), new(1)])
    claim = await one.claim("p", "one", LEASE)
    for table in ("sluiceway_drive", "pipeline_execution_drive", "pipeline_tokens", "pipeline_events"):
        await by_hand(two, f"DROP TABLE {table}")
    other = await made(place.connection)
    assert other != one.id
    for call in (
        lambda: one.claim("p", "one", LEASE),
        lambda: one.create("p", "x", [new(3)]),
        lambda: one.checkpoint(claim, claim.run),
        lambda: one.adopt("p", [], 0),
    ):
        with pytest.raises(ConfigurationError) as caught:
            await call()
        assert caught.value.code == "recreated"
    assert await one.renew([claim], LEASE) == []


async def test_a_schema_without_a_drive_table_is_told_with_its_remedy(place):
    with pytest.raises(ConfigurationError, match=f"no drive table in {place.database}.S") as caught:
        await opened(place.connection)
    assert caught.value.code == "no_drive_table"
    assert "sluiceway drive sql drive_table" in caught.value.hint


async def test_init_may_be_repeated_and_keeps_what_is_there(drives, place):
    one, _ = drives
    await one.create("p", "x", [new(0)])
    assert await made(place.connection) == one.id
    assert len(await one.runs("p")) == 1


async def test_upgrade_makes_none_and_keeps_the_one_that_is_there(place):
    account = Account(settings(place.connection))
    async with aclosing(account):
        with pytest.raises(ConfigurationError) as caught:
            await SnowflakeDrive.upgrade(account, schema_of(place.connection))
        assert caught.value.code == "no_drive_table"
        identity = await made(place.connection)
        assert await SnowflakeDrive.upgrade(account, schema_of(place.connection)) == identity


async def test_a_schema_that_is_not_there_is_told(place):
    with pytest.raises(ConfigurationError) as caught:
        await made({**place.connection, "schema": "NOWHERE"})
    assert "NOWHERE" in caught.value.message


@pytest.mark.parametrize(("version", "code"), [(drive_schema.VERSION + 1, "newer_schema"), (0, "old_schema")])
async def test_a_program_works_only_with_the_schema_that_it_knows(version, code, drives, place):
    one, _ = drives
    await one.create("p", "x", [new(0)])
    await by_hand(one, f"UPDATE {one._tables.drive} SET schema_version = ?", version)
    with pytest.raises(ConfigurationError, match=f"schema version {version}, this program") as caught:
        await opened(place.connection)
    assert caught.value.code == code
    if code == "newer_schema":
        with pytest.raises(ConfigurationError) as caught:
            await made(place.connection)
        assert caught.value.code == code
    else:
        assert await made(place.connection) == one.id
    (found,) = await by_hand(one, f"SELECT schema_version FROM {one._tables.drive}")
    assert found[0] == max(version, drive_schema.VERSION)


async def test_two_ids_are_refused(drives, place):
    one, _ = drives
    table = one._tables.drive
    await by_hand(one, f"INSERT INTO {table} SELECT 'x', schema_version, created_at, 0 FROM {table}")
    with pytest.raises(ConfigurationError) as caught:
        await opened(place.connection)
    assert caught.value.code == "two_ids"


async def test_the_databases_clock_counts_leases_and_waits(place):
    """Without a clock of the test: what is stored is Snowflake's time, what is returned is near it."""
    async with drive_at(place.connection) as drive:
        (run,) = await drive.create("p", "x", [new(0)])
        claim = await drive.claim("p", "one", timedelta(minutes=10))
        await drive.renew([claim], timedelta(minutes=20))
        asked = "TIMESTAMPDIFF(second, SYSDATE(), {})"
        columns = [asked.format(name) for name in ("created_at", "updated_at", "lease_expires_at")]
        ((created, updated, expires),) = await by_hand(
            drive, f"SELECT {', '.join(columns)} FROM {drive._tables.runs}"
        )
        assert -60 < created <= updated <= 0
        assert 1140 < expires <= 1200
        assert abs(await drive.now() - run.created_at) < timedelta(minutes=1)
        failed = await drive.fail(claim, claim.run, failure(), retry_in=timedelta(hours=1), quarantine=False)
        (row,) = await drive.runs("p")
        assert row == failed
        assert timedelta(minutes=59) < row.next_attempt_at - await drive.now() <= timedelta(hours=1)


@pytest.mark.parametrize("asks", ["now", "claim"])
async def test_a_question_that_waits_in_the_warehouses_queue_takes_no_lease_that_is_alive_g6(
    asks, place, monkeypatch
):
    """The database looks at its clock after the wait: counted again it would make every lease look over."""
    waited, elapsed = timedelta(0), DriveClock.elapsed
    monkeypatch.setattr(DriveClock, "elapsed", lambda _clock: elapsed() + waited.total_seconds())
    run = Session._run

    async def queued(self, sql, *more):
        nonlocal waited
        if sql.startswith("SELECT SYSDATE()"):
            waited += timedelta(hours=1)
        return await run(self, sql, *more)

    async with drive_at(place.connection) as one, drive_at(place.connection) as two:
        await one.create("p", "x", [new(0)])
        held = await one.claim("p", "one", timedelta(minutes=10))
        monkeypatch.setattr(Session, "_run", queued)
        if asks == "now":
            assert abs(await two.now() - held.run.updated_at) < timedelta(minutes=5)
        else:
            assert await two.claim("p", "two", timedelta(minutes=10)) is None
            assert (await one.checkpoint(held, held.run)).token == held.token
    assert waited >= timedelta(hours=1)


def test_the_columns_are_those_of_every_drive_table():
    run = Run(RunId("d", "p", window(0), 1), "p", RunKind.SCHEDULED, window(0).start, window(0).start)
    assert sorted(row_of(run)) == list(COLUMNS)
    script = drive_schema.script()
    assert all(f"    {column} " in script for column in COLUMNS)
