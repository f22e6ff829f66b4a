"""The drive table in a real MariaDB when the answer to COMMIT is lost: what was done is found out, or is unknown.

Each write of the port is made through a relay that breaks the connection at its COMMIT, and compared with the same
write in a drive table where nothing breaks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace

from state.answers import KEPT_STEPS
from state.errors import SluicewayError, TransientError, UnknownOutcome
from state.model import Phase, RunStatus
from state.mysql.drive import MysqlDrive, Transaction
from state.mysql.settings import MysqlDriveSettings
from tests.contract.drive_desk import HOUR, LEASE, Clock, Desk, event, failure, new, progressed, receipt_of
from tests.servers.mariadb import NEWS_SECONDS, MariaServer
from tests.servers.relay import Relay

Act = Callable[[MysqlDrive], Awaitable[Any]]


async def create(desk: Desk) -> Act:
    await desk.create(9)
    return lambda drive: drive.create("p", "me", [new(0), new(1)])


async def first_create(_desk: Desk) -> Act:
    return lambda drive: drive.create("p", "me", [new(0)])


async def adopt(desk: Desk) -> Act:
    (run,) = await desk.create(0)
    return lambda drive: drive.adopt("p", [receipt_of(run.id)], 7)


async def lift_token(_desk: Desk) -> Act:
    return lambda drive: drive.adopt("p", [], 7)


async def claim(desk: Desk) -> Act:
    await desk.create(0, 1)
    return lambda drive: drive.claim("p", "me", LEASE)


async def renew(desk: Desk) -> Act:
    await desk.create(0, pipeline="q")
    claims = [await desk.running(0), await desk.take(pipeline="q")]
    desk.clock.advance(LEASE / 2)
    return lambda drive: drive.renew(claims, LEASE)


async def checkpoint(desk: Desk) -> Act:
    held = await desk.running(0)
    return lambda drive: drive.checkpoint(held, progressed(held.run, Phase.AUDIT))


async def finish(desk: Desk) -> Act:
    held = await desk.running(0)
    return lambda drive: drive.checkpoint(held, replace(held.run, status=RunStatus.COMPLETED))


async def fail(desk: Desk) -> Act:
    held = await desk.running(0)
    return lambda drive: drive.fail(held, held.run, failure(), retry_in=HOUR, quarantine=False)


async def release(desk: Desk) -> Act:
    held = await desk.running(0)
    return lambda drive: drive.release(held, progressed(held.run, Phase.AUDIT))


async def reopen(desk: Desk) -> Act:
    failed = await desk.failed(0)
    return lambda drive: drive.reopen(failed.id, from_phase=None, run_floor=0, event=event("retry"))


async def record(_desk: Desk) -> Act:
    return lambda drive: drive.record(event("pause"))


REPEATABLE = (create, first_create, adopt, lift_token, claim, renew)
WRITES = (*REPEATABLE, checkpoint, finish, fail, release, reopen, record)
EACH = pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)


@dataclass
class World:
    """A drive table, a hand (`desk`) in it that nothing breaks, and a process (`drive`) behind a relay."""

    server: MariaServer
    settings: MysqlDriveSettings
    relay: Relay
    desk: Desk
    drive: MysqlDrive

    async def wait_for_lock_wait(self, asked: asyncio.Task[Any]) -> None:
        """Return when `asked` waits for the lock of a row; it must not end without."""
        while not await asyncio.to_thread(self.server.has_lock_wait, self.settings.database):
            assert not asked.done()
            await asyncio.sleep(NEWS_SECONDS)

    async def stored(self) -> tuple[Any, ...]:
        """All that the drive table holds."""
        tokens = "SELECT pipeline_name, token FROM pipeline_tokens WHERE token > 0 ORDER BY pipeline_name"
        held = self.server.sql(tokens, database=self.settings.database)
        return await self.desk.rows(), await self.desk.drive.events("p"), held


@pytest.fixture(scope="module")
def settings(mariadb):
    """An initialised drive table with a fixed id; `world` empties it."""
    settings = mariadb.database(lock_wait_timeout_seconds=5, answer_timeout_seconds=10)
    asyncio.run(MysqlDrive.init(settings))
    mariadb.sql("UPDATE sluiceway_drive SET id = %s", "f" * 32, database=settings.database)
    return settings


@pytest.fixture
def world(mariadb, settings):
    @asynccontextmanager
    async def emptied() -> AsyncIterator[World]:
        for table in ("pipeline_execution_drive", "pipeline_tokens", "pipeline_events"):
            mariadb.sql(f"DELETE FROM {table}", database=settings.database)
        clock = Clock()
        async with Relay(mariadb.port) as relay:
            hand = await MysqlDrive.open(settings, clock=clock)
            drive = await MysqlDrive.open(settings.model_copy(update={"port": relay.port}), clock=clock)
            yield World(mariadb, settings, relay, Desk(hand, clock), drive)
            await drive.aclose()
            await hand.aclose()

    return emptied


@dataclass
class Done:
    """What a write comes to where nothing breaks: the state before, its answer, and the state after."""

    before: tuple[Any, ...]
    answer: Any
    after: tuple[Any, ...]


@pytest.fixture(scope="module")
def known():
    return {}


@pytest.fixture
def unbroken(world, known):
    async def done(write: Callable[[Desk], Awaitable[Act]]) -> Done:
        if write not in known:
            async with world() as here:
                act = await write(here.desk)
                before = await here.stored()
                known[write] = Done(before, await act(here.drive), await here.stored())
        return known[write]

    return done


@EACH
async def test_a_write_that_was_committed_has_its_answer_although_that_of_commit_was_lost_g4(
    write, world, unbroken
):
    expected = await unbroken(write)
    assert expected.before != expected.after
    async with world() as here:
        act = await write(here.desk)
        here.relay.lose_answer_to = b"COMMIT"
        assert await act(here.drive) == expected.answer
        assert here.relay.connections == 2
        assert await here.stored() == expected.after


@EACH
async def test_a_write_whose_commit_never_arrived_is_transient_and_done_when_it_is_asked_for_again_g4(
    write, world, unbroken
):
    expected = await unbroken(write)
    async with world() as here:
        act = await write(here.desk)
        here.relay.lose = b"COMMIT"
        with pytest.raises(TransientError, match="rolled back") as caught:
            await act(here.drive)
        assert caught.value.code == "2013"
        assert await here.stored() == expected.before
        assert await act(here.drive) == expected.answer
        assert await here.stored() == expected.after


@EACH
async def test_a_commit_that_comes_late_is_waited_for_g4(write, world, unbroken):
    """The connection is gone, and its transaction still under way when the process asks what became of it."""
    expected = await unbroken(write)
    async with world() as here:
        act = await write(here.desk)
        here.relay.delay = b"COMMIT"
        asked = asyncio.create_task(act(here.drive))
        await here.wait_for_lock_wait(asked)
        here.relay.go_on.set()
        assert await asked == expected.answer
        assert await here.stored() == expected.after


@EACH
async def test_what_cannot_be_settled_is_unknown_unless_it_may_be_asked_for_again_g4(write, world, unbroken):
    expected = await unbroken(write)
    async with world() as here:
        act = await write(here.desk)
        here.relay.lose_answer_to, here.relay.refuses_then = b"COMMIT", True
        with pytest.raises(SluicewayError) as caught:
            await act(here.drive)
        assert type(caught.value) is (TransientError if write in REPEATABLE else UnknownOutcome)
        assert caught.value.code == "2013"
        assert caught.value.hint
        assert await here.stored() == expected.after


async def lose_a_claim(here: World, fault: str) -> None:
    """The process claims, and neither hears of it nor gets through to ask."""
    setattr(here.relay, fault, b"COMMIT")
    here.relay.refuses_then = True
    with pytest.raises(TransientError):
        await here.drive.claim("p", "me", LEASE)
    here.relay.refuses = False


async def test_a_claim_that_could_not_be_settled_is_taken_up_by_the_same_process_and_no_other(world):
    async with world() as here:
        (run,) = await here.desk.create(0)
        await lose_a_claim(here, "lose_answer_to")
        assert await here.desk.nothing_due(), "nobody else can know that nobody holds it"
        again = await here.drive.claim("p", "me", LEASE)
        assert (again.run.id, again.token, again.run.attempts) == (run.id, 2, 2)
        assert await here.drive.claim("p", "me", LEASE) is None
        assert (await here.drive.checkpoint(again, again.run)).token == 2


async def test_a_claim_that_was_lost_twice_is_taken_up_all_the_same(world):
    """The second one was rolled back: the run is as the first one left it."""
    async with world() as here:
        await here.desk.create(0)
        await lose_a_claim(here, "lose_answer_to")
        await lose_a_claim(here, "lose")
        assert (await here.drive.claim("p", "me", LEASE)).token == 2


async def test_a_claim_that_is_heard_of_is_never_taken_for_one_that_was_lost(world):
    """It has the token of the lost one, which was rolled back."""
    async with world() as here:
        await here.desk.create(0)
        await lose_a_claim(here, "lose")
        here.desk.clock.advance(LEASE / 100)
        claim = await here.drive.claim("p", "me", LEASE)
        assert claim.token == 1
        assert await here.drive.claim("p", "me", LEASE) is None


async def test_a_step_is_still_known_when_many_followed(world, monkeypatch):
    """Others write for the pipeline while a process finds its way back to the server."""
    async with world() as here:
        held = await here.desk.running(0)
        settle = Transaction._settle

        async def late(transaction: Transaction, lost: UnknownOutcome) -> None:
            for _ in range(KEPT_STEPS - 1):
                await here.desk.drive.renew([held], LEASE)
            await settle(transaction, lost)

        monkeypatch.setattr(Transaction, "_settle", late)
        here.relay.lose_answer_to = b"COMMIT"
        await here.drive.record(event("pause"))
        assert await here.desk.drive.events("p") == [event("pause")]
