"""The drive table in Snowflake when a transaction is given up behind its back, or its caller is cancelled."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from unittest.mock import patch

import pytest

from state.errors import DuplicateWindow, TransientError
from state.model import RunStatus
from state.snowflake import drive_write
from tests.contract.drive_desk import HOUR, new, window
from tests.contract.drive_snowflake import by_hand, drive_at, entered
from tests.snowflake.accounts import fault, locks, until, waiting
from tests.snowflake.accounts import settings as account_settings


@pytest.fixture
async def drives(place):
    """Two, as two processes have them."""
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(drive_at(place.connection)) for _ in range(2)]
        yield [await entered(drive, place.connection) for drive in made]


@pytest.fixture
def given_up(place, monkeypatch):
    """Has Snowflake give up a drive's next transaction once it holds the lock, or after its last write; then
    `then()` is awaited."""

    def arrange(drive, then, after: str, table: str = "PIPELINE_TOKENS") -> None:
        write, done = getattr(drive_write, after), []

        async def late(session, *rest):
            holds = await write(session, *rest)
            if not done and session is drive._queue._session:
                done.append(True)
                (holder,) = [one for one in locks(place, table) if one["status"] == "HOLDING"]
                async with place.connect() as admin:
                    await place.rows(admin, f"SELECT SYSTEM$ABORT_TRANSACTION({holder['transaction']})")
                await then()
            return holds

        monkeypatch.setattr(drive_write, after, late)

    return arrange


async def tried(after_abort: str, after: str, call):
    """What `call` comes to; where later statements are refused, that is transient, and it is called again. COMMIT
    is never refused: that it committed nothing is found out, and the step is done again by itself."""
    if after_abort == "error" and after == "_counted":
        with pytest.raises(TransientError):
            await call()
    return await call()


GIVEN_UP_AFTER = pytest.mark.parametrize("after", ["_counted", "_all_written"], ids=["the lock", "the last write"])
AFTER_ABORT = pytest.mark.parametrize("after_abort", ["autocommit", "error"])


@GIVEN_UP_AFTER
@AFTER_ABORT
async def test_what_follows_in_a_transaction_that_is_gone_writes_nothing(
    after_abort, after, drives, place, given_up
):
    """The worst that is conceivable: later statements commit by themselves, and COMMIT says that all is well."""
    stopped, other = drives
    await stopped.create("p", "x", [new(9)])
    given_up(stopped, lambda: other.create("p", "x", [new(0), new(1)]), after)
    with account_settings(place, after_abort=after_abort), pytest.raises(DuplicateWindow):
        await tried(after_abort, after, lambda: stopped.create("p", "x", [new(1), new(2)]))
    assert [run.window for run in await other.runs("p")] == [window(0), window(1), window(9)]


@GIVEN_UP_AFTER
@AFTER_ABORT
async def test_a_claim_in_a_transaction_that_is_gone_takes_no_token_twice(
    after_abort, after, drives, place, given_up
):
    stopped, other = drives
    _, late = await stopped.create("p", "x", [new(0), new(1)])
    claims = []

    async def then() -> None:
        claims.append(await other.claim("p", "other", HOUR, run=late.id))

    given_up(stopped, then, after)
    with account_settings(place, after_abort=after_abort):
        claims.append(await tried(after_abort, after, lambda: stopped.claim("p", "stopped", HOUR)))
    assert [(claim.token, claim.run.window) for claim in claims] == [(1, window(1)), (2, window(0))]
    assert [(run.token, run.owner) for run in await other.runs("p")] == [(2, "stopped"), (1, "other")]


@AFTER_ABORT
async def test_a_pipeline_is_made_known_by_a_transaction_that_is_there_or_not_at_all(
    after_abort, drives, place, given_up
):
    """Without the lock of the drive's row two processes might make it known at once, and its row twice."""
    stopped, other = drives
    known = []
    rows = f"SELECT COUNT(*) FROM {other._tables.tokens}"
    make_known = drive_write.make_known

    async def watched(*given) -> None:
        try:
            await make_known(*given)
        finally:
            ((count,),) = await by_hand(other, rows)
            known.append(count)

    async def then() -> None:
        pass

    given_up(stopped, then, "_locked", "SLUICEWAY_DRIVE")
    with patch.object(drive_write, "make_known", watched), account_settings(place, after_abort=after_abort):
        if after_abort == "error":
            with pytest.raises(TransientError):
                await stopped.create("p", "x", [new(0)])
        assert [run.window for run in await stopped.create("p", "x", [new(0)])] == [window(0)]
    assert known == [0, 1]


async def test_a_cancelled_step_ends_whole_before_its_caller_does(drives, place):
    """A COMMIT that was sent is waited for: the next step of this process knows what became of it."""
    drive, other = drives
    await drive.create("p", "x", [new(0)])
    with fault(place, "hang", sql="^COMMIT", seconds=1) as told:
        task = asyncio.create_task(drive.claim("p", "me", HOUR))
        await until(lambda: told()["fired"])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (run,) = await other.runs("p")
    assert (run.status, run.token) == (RunStatus.RUNNING, 1)


async def test_whoever_waits_for_its_turn_leaves_at_once_when_cancelled(drives, place):
    """And what waits behind it is done."""
    drive, _ = drives
    await drive.create("p", "x", [new(0)])
    async with place.connect() as admin:
        await place.rows(admin, "BEGIN")
        await place.rows(admin, "UPDATE pipeline_tokens SET steps = steps")
        first = asyncio.create_task(drive.claim("p", "one", HOUR))
        await until(waiting(place, "PIPELINE_TOKENS"))
        second = asyncio.create_task(drive.claim("p", "two", HOUR))
        third = asyncio.create_task(drive.runs("p"))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert not first.done()
        await place.rows(admin, "ROLLBACK")
    assert (await first).token == 1
    assert [run.token for run in await third] == [1]
