"""How long the drive table in Snowflake waits for a lock: in pieces, and never as long as a lease lasts (G-8)."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager

import pytest

from service.lease import RENEWALS_PER_LEASE
from service.settings import WAREHOUSE_LEASE_SECONDS
from state.errors import ConfigurationError, TransientError, UnknownOutcome
from state.snowflake import drive_queue
from state.snowflake.drive_queue import LOCK_SECONDS, PATIENCE_SECONDS, Queue
from state.snowflake.parameters import setting
from state.snowflake.session import Account
from state.snowflake.tag import Tag
from tests.contract.drive_desk import HOUR, new
from tests.contract.drive_snowflake import by_hand, made, opened, schema_of, settings

STANDS_STILL_SECONDS, LOCKS_OF_A_TRY = 300, 5
SHOW = "SHOW PARAMETERS LIKE 'LOCK_TIMEOUT' IN SESSION"


class Clock:
    """Of a queue: `now` is moved by the test."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def account(place):
    await made(place.connection)
    async with aclosing(Account(settings(place.connection))) as account:
        yield account


@pytest.fixture
async def drive(place, account, clock, monkeypatch):
    """A drive table that waits a second for a lock, and tries again until the clock of its queue says no."""
    monkeypatch.setattr(drive_queue, "LOCK_SECONDS", 1)
    async with aclosing(await opened(place.connection, queue=Queue(account, clock=clock))) as drive:
        await drive.create("p", "x", [new(0)])
        yield drive


@pytest.fixture
def held(place):
    """Somebody holds the lock of a table, and does not let go."""

    @asynccontextmanager
    async def holding(table: str):
        async with place.connect() as somebody:
            await place.rows(somebody, "BEGIN")
            await place.rows(somebody, f"UPDATE {schema_of(place.connection)}.{table} SET token = token")
            yield somebody

    return holding


async def refused(place, count: int) -> None:
    """Return when so many statements gave up their wait for a lock; raises if that never happens."""
    seen = 0
    async with asyncio.timeout(60):
        while seen < count:
            await asyncio.sleep(0.05)
            ran = await asyncio.to_thread(place.server.get, "/test/statements")
            seen = sum(one["code"] == "000625" for one in ran if place.database in one["text"])


def test_a_turn_outlasts_a_transaction_that_stands_still_and_leaves_time_to_renew_a_lease():
    left = WAREHOUSE_LEASE_SECONDS * (1 - 1 / RENEWALS_PER_LEASE)
    longest = PATIENCE_SECONDS + LOCKS_OF_A_TRY * LOCK_SECONDS
    assert STANDS_STILL_SECONDS < PATIENCE_SECONDS < longest < left


async def test_no_statement_of_the_drive_table_waits_long_for_a_lock(place, account):
    """And sessions that others get from the same account wait as long as they are told."""
    async with aclosing(await opened(place.connection, queue=Queue(account))) as drive:
        ((_, value, *_),) = await by_hand(drive, SHOW)
        assert value == str(LOCK_SECONDS)
    async with account.session(Tag()) as session:
        ((_, value, *_),) = await session.rows(SHOW)
        assert value == str(settings(place.connection).lock_timeout_seconds)


async def test_a_shorter_wait_that_an_operator_asks_for_is_kept(place):
    await made(place.connection)
    short = settings(place.connection).model_copy(update={"lock_timeout_seconds": 3})
    async with (
        aclosing(Account(short)) as account,
        aclosing(await opened(place.connection, queue=Queue(account))) as drive,
    ):
        ((_, value, *_),) = await by_hand(drive, SHOW)
        assert value == "3"


async def test_a_session_that_does_not_take_the_bound_is_not_used(place, account, monkeypatch):
    monkeypatch.setattr(drive_queue, "setting", lambda _wanted: setting({"TIMEZONE": "UTC"}))
    queue = Queue(account)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="LOCK_TIMEOUT is '1800' instead of '15'"):
            await queue.run(Tag(), lambda session: session.value("SELECT 1"))
    await queue.aclose()


@pytest.mark.parametrize("table", ["PIPELINE_TOKENS", "PIPELINE_EXECUTION_DRIVE"])
async def test_a_lock_is_waited_for_in_pieces(table, drive, held, place):
    """In one session, whose transaction is undone between them."""
    before = drive._queue._session
    async with held(table) as somebody:
        claiming = asyncio.create_task(drive.claim("p", "me", HOUR))
        await refused(place, 2)
        await place.rows(somebody, "ROLLBACK")
        assert (await claiming).token == 1
    assert drive._queue._session is before


async def test_a_lock_that_nobody_lets_go_is_given_up(drive, held, place, clock):
    async with held("PIPELINE_TOKENS"):
        claiming = asyncio.create_task(drive.claim("p", "me", HOUR))
        await refused(place, 1)
        clock.now = PATIENCE_SECONDS
        with pytest.raises(TransientError) as caught:
            await claiming
        assert caught.value.code == "lock_timeout"
    assert (await drive.claim("p", "me", HOUR)).token == 1


async def test_whoever_settles_a_lost_answer_waits_in_pieces_too(drive, clock):
    """The transaction in doubt may stand still: its lock is waited for as any other."""
    told, lost = [], UnknownOutcome("the answer is lost")

    async def again(_session) -> str:
        told.append(clock.now)
        if len(told) < 3:
            raise TransientError("locked", code="lock_timeout")
        return "found out"

    async def work(_session) -> str:
        return await drive._queue.settled(Tag(), again, lost)

    assert await drive._queue.run(Tag(), work) == "found out"
    told.clear()
    clock.now = PATIENCE_SECONDS

    async def slow(session) -> str:
        clock.now += PATIENCE_SECONDS
        return await work(session)

    with pytest.raises(UnknownOutcome):
        await drive._queue.run(Tag(), slow)
    assert len(told) == 1
