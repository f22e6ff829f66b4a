"""Leases in a worker's hands: G-6, design 5.2 (monotonic deadline counted from before the renewal)."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from service.lease import LeaseKeeper
from state.errors import ConfigurationError, LeaseLost, PermanentError, TransientError, UnknownOutcome
from state.finishing import finish
from state.model import Claim, Run, RunId, RunKind, Window

T0 = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=60)
SLEEPLESS = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC


def a_claim(number: int = 1) -> Claim:
    run = Run(
        RunId("d", "p", Window(T0, T0 + timedelta(hours=1)), number), f"p_run{number}", RunKind.SCHEDULED, T0, T0
    )
    return Claim(run, 7, "me", T0 + LEASE)


class Drive:
    """A drive whose answers the test decides."""

    def __init__(self):
        self.lost, self.error, self.stored, self.gate = set(), None, [], None

    async def renew(self, claims, lease):
        if self.error:
            raise self.error
        return [claim for claim in claims if claim.run.id not in self.lost]

    async def checkpoint(self, claim, run):
        if self.gate:
            await self.gate.wait()
        self.stored.append(run)
        return msgspec.structs.replace(claim, run=run)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def drive():
    return Drive()


@pytest.fixture
def clock():
    return Clock()


async def test_the_deadline_counts_from_before_the_renewal_was_sent(drive, clock):
    keeper = LeaseKeeper(drive, LEASE, clock)
    async with keeper.hold(a_claim(), asked_at=1000.0) as lease:
        clock.now = 1059.9
        lease.require()
        clock.now = 1060.0
        with pytest.raises(LeaseLost):
            lease.require()


async def test_a_worker_past_its_own_deadline_writes_nothing_g6(drive, clock):
    keeper = LeaseKeeper(drive, LEASE, clock)
    async with keeper.hold(a_claim(), asked_at=1000.0) as lease:
        clock.now = 1061.0
        with pytest.raises(LeaseLost):
            await lease.checkpoint(lambda run: run)
    assert drive.stored == []


async def test_a_machine_that_slept_past_the_lease_writes_nothing_g6(drive, monkeypatch):
    """Its timers stood still meanwhile: the lease is judged by a clock that did not."""
    real, slept = time.clock_gettime, 0.0
    monkeypatch.setattr(time, "clock_gettime", lambda kind: real(kind) + (slept if kind == SLEEPLESS else 0.0))
    keeper = LeaseKeeper(drive, LEASE)
    async with keeper.hold(a_claim(), keeper.now()) as lease:
        lease.require()
        slept = LEASE.total_seconds()
        with pytest.raises(LeaseLost):
            await lease.checkpoint(lambda run: run)
    assert drive.stored == []


async def test_a_lost_lease_cancels_its_holder_and_only_it(drive, clock):
    keeper = LeaseKeeper(drive, LEASE, clock)
    ended = {}

    async def hold(number):
        async with keeper.hold(a_claim(number), asked_at=1000.0) as lease:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                ended[number] = lease.lost

    tasks = [asyncio.create_task(hold(1)), asyncio.create_task(hold(2))]
    await asyncio.sleep(0)
    drive.lost = {a_claim(1).run.id}
    await keeper.renew()
    await tasks[0]
    assert ended == {1: True}
    tasks[1].cancel()
    await tasks[1]
    assert ended == {1: True, 2: False}


FAILURES = (
    TransientError("locked"),
    UnknownOutcome("the answer is lost"),
    ConfigurationError("UPDATE is not granted"),
    PermanentError("the table is damaged"),
)


@pytest.mark.parametrize("error", FAILURES, ids=repr)
async def test_renewals_that_fail_are_borne_until_the_deadline(error, drive, clock):
    keeper = LeaseKeeper(drive, LEASE, clock)
    drive.error = error

    async def hold():
        async with keeper.hold(a_claim(), asked_at=1000.0):
            await asyncio.sleep(30)

    task = asyncio.create_task(hold())
    await asyncio.sleep(0)
    clock.now = 1059.0
    await keeper.renew()
    await asyncio.sleep(0)
    assert not task.done()
    clock.now = 1060.0
    await keeper.renew()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("error", FAILURES, ids=repr)
async def test_a_lease_that_can_be_renewed_again_in_time_is_kept(error, drive, clock):
    """An operator gives the grant back: the run has lost nothing."""
    keeper = LeaseKeeper(drive, LEASE, clock)
    async with keeper.hold(a_claim(), asked_at=1000.0) as lease:
        drive.error = error
        clock.now = 1050.0
        assert not await keeper.renew()
        drive.error = None
        clock.now = 1055.0
        assert await keeper.renew()
        clock.now = 1114.0
        lease.require()


BRIEF = timedelta(seconds=0.05)
"""So long do the watches sleep; what time it is says the test's own clock."""


async def until_dropped(lease) -> None:
    """Wait for the keeper's cancellation of this task."""
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(60)
    assert asyncio.current_task().uncancel() == 0
    assert lease.lost


async def test_a_renewal_that_gets_no_answer_keeps_nobody_alive_g6(drive, clock):
    """It waits for a lock, in a queue, or for an answer that is lost: the deadline comes all the same."""
    hung = asyncio.Event()

    async def renew(claims, lease):
        hung.set()
        await asyncio.Event().wait()

    drive.renew = renew
    keeper = LeaseKeeper(drive, BRIEF, clock)
    keeping = asyncio.create_task(keeper.keep())
    async with keeper.hold(a_claim(), asked_at=1000.0) as lease:
        await hung.wait()
        clock.now = 1000.05
        await until_dropped(lease)
    keeping.cancel()
    await asyncio.wait([keeping])


async def test_a_lease_is_dropped_at_the_deadline_that_renewals_moved(drive, clock):
    keeper = LeaseKeeper(drive, BRIEF, clock)
    async with keeper.hold(a_claim(), asked_at=1000.0) as lease:
        clock.now = 1000.04
        assert await keeper.renew()
        clock.now = 1000.08
        await asyncio.sleep(3 * BRIEF.total_seconds())
        lease.require()
        clock.now = 1000.09
        await until_dropped(lease)


async def test_a_claim_whose_answer_took_longer_than_its_lease_is_not_walked(drive, clock):
    keeper = LeaseKeeper(drive, LEASE, clock)
    async with keeper.hold(a_claim(), asked_at=clock.now - 60.0) as lease:
        await until_dropped(lease)


async def test_renewals_that_fail_are_tried_again_sooner(drive, clock):
    waits, answers = [], [None, ConfigurationError("no grant"), TransientError("locked"), None, None]

    async def sleep(seconds):
        waits.append(seconds)
        if not answers:
            raise asyncio.CancelledError
        drive.error = answers.pop(0)

    keeper = LeaseKeeper(drive, LEASE, clock, sleep)
    async with keeper.hold(a_claim(), asked_at=1000.0):
        with pytest.raises(asyncio.CancelledError):
            await keeper.keep()
    assert waits == [20, 20, 5, 5, 20, 20]


async def test_what_an_operator_must_mend_is_told_with_its_remedy_and_what_passes_is_not(drive, clock, caplog):
    keeper = LeaseKeeper(drive, LEASE, clock)
    async with keeper.hold(a_claim(), asked_at=1000.0):
        for drive.error in (
            ConfigurationError("UPDATE is denied", hint="Grant UPDATE."),
            TransientError("locked"),
        ):
            await keeper.renew()
    (told,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert told.getMessage() == "none of 1 leases could be renewed: UPDATE is denied. Grant UPDATE."


async def test_a_defect_ends_the_keeper(drive, clock):
    drive.error = KeyError("x")
    keeper = LeaseKeeper(drive, LEASE, clock)
    async with keeper.hold(a_claim(), asked_at=1000.0):
        with pytest.raises(KeyError):
            await keeper.renew()


async def test_a_checkpoint_in_flight_completes_although_its_caller_is_cancelled(drive, clock):
    drive.gate = asyncio.Event()
    keeper = LeaseKeeper(drive, LEASE, clock)

    async def hold():
        async with keeper.hold(a_claim(), asked_at=1000.0) as lease:
            await lease.checkpoint(lambda run: msgspec.structs.replace(run, attempts=5))

    task = asyncio.create_task(hold())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.sleep(0.01)
    drive.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [run.attempts for run in drive.stored] == [5]


async def cancelled_meanwhile(error: Exception | None, cancels: int = 1) -> tuple[asyncio.Task, list[str]]:
    """`finish` of a write that ends only after its caller was cancelled; what it came to, and what was done."""
    gate, done = asyncio.Event(), []

    async def write():
        await gate.wait()
        done.append("written")
        if error is not None:
            raise error

    task = asyncio.create_task(finish(write()))
    for _ in range(cancels):
        await asyncio.sleep(0.01)
        task.cancel()
    await asyncio.sleep(0.01)
    gate.set()
    await asyncio.wait([task])
    return task, done


@pytest.mark.parametrize(
    "error", [LeaseLost("gone"), TransientError("locked"), PermanentError("no"), KeyError("x")]
)
async def test_after_a_cancellation_the_cancellation_goes_on_whatever_the_write_raised(error):
    task, done = await cancelled_meanwhile(error)
    assert task.cancelled()
    assert done == ["written"]


async def test_a_second_cancellation_does_not_cut_the_write_off():
    task, done = await cancelled_meanwhile(None, cancels=3)
    assert task.cancelled()
    assert done == ["written"]
