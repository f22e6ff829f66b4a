"""What a drive table says of a write whose outcome it does not know, shown with the twin: G-4."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from msgspec.structs import replace

from state.errors import TransientError, UnknownOutcome
from state.memory import MemoryDrive
from state.model import RunStatus
from tests.contract.drive_desk import LEASE, Clock, Desk, event, failure, new, receipt_of


class Door:
    """Loses the answer of the next effect, after it."""

    def __init__(self) -> None:
        self.loses = False

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        yield
        if self.loses:
            self.loses = False
            raise UnknownOutcome(f"{name}: no answer", hint="Look.", code="lost")


@pytest.fixture
def door():
    return Door()


@pytest.fixture
def desk(door):
    clock = Clock()
    return Desk(MemoryDrive(clock, port=door), clock)


async def test_what_may_be_asked_for_again_is_transient(desk, door):
    claim = await desk.running(5)
    for call in (
        lambda: desk.drive.create("p", "me", [new(0)]),
        lambda: desk.drive.adopt("p", [], 3),
        lambda: desk.drive.claim("p", "me", LEASE),
        lambda: desk.drive.renew([claim], LEASE),
    ):
        door.loses = True
        with pytest.raises(TransientError) as caught:
            await call()
        assert (caught.value.code, caught.value.hint) == ("lost", "Look.")


async def test_what_a_repetition_would_tell_lies_of_is_unknown(desk, door):
    claims = [await desk.running(hour) for hour in range(3)]
    failed = await desk.failed(7)
    for call in (
        lambda: desk.drive.checkpoint(claims[0], claims[0].run),
        lambda: desk.drive.fail(claims[1], claims[1].run, failure(), retry_in=None, quarantine=True),
        lambda: desk.drive.release(claims[2], claims[2].run),
        lambda: desk.reopen(failed),
        lambda: desk.drive.record(event("pause")),
    ):
        door.loses = True
        with pytest.raises(UnknownOutcome):
            await call()


async def lost_claim(desk, door) -> None:
    door.loses = True
    with pytest.raises(TransientError):
        await desk.drive.claim("p", "me", LEASE)


async def test_a_claim_that_nobody_heard_of_is_taken_up_by_the_next_one(desk, door):
    (run,) = await desk.create(0)
    await lost_claim(desk, door)
    assert [(row.status, row.token) for row in await desk.rows()] == [(RunStatus.RUNNING, 1)]
    claim = await desk.drive.claim("p", "me", LEASE)
    assert (claim.run.id, claim.token) == (run.id, 2)
    assert await desk.nothing_due(), "this one was heard of"


async def test_one_that_was_renewed_since_is_in_somebodys_hands(desk, door):
    """Whoever renews it knows its token: it was heard of after all."""
    await desk.create(0)
    await lost_claim(desk, door)
    (row,) = await desk.rows()
    desk.clock.advance(timedelta(seconds=1))
    desk.drive.rows.put(replace(row, lease_expires_at=desk.clock.at + LEASE))
    assert await desk.nothing_due()


async def test_it_may_be_reopened_and_taken_over_from_a_receipt_before_its_lease_ends(desk, door):
    (run,) = await desk.create(0)
    await lost_claim(desk, door)
    assert (await desk.reopen(run)).status is RunStatus.PENDING
    await lost_claim(desk, door)
    assert [done.status for done in await desk.drive.adopt("p", [receipt_of(run.id)], 0)] == [RunStatus.COMPLETED]
