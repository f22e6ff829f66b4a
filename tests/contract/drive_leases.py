"""Clauses about who may write: claim, renew, checkpoint, fail, release."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from state.errors import LeaseLost
from state.model import Claim, Phase, RunId, RunKind, RunStatus
from tests.contract.drive_desk import (
    HOUR,
    LEASE,
    SECOND,
    Desk,
    clause,
    dead_owner,
    failure,
    merged,
    new,
    progressed,
    window,
)

TICK = timedelta(microseconds=1)


@clause
async def a_claim_takes_the_oldest_run_that_is_due(desk: Desk) -> None:
    await desk.create(2, 0, 1)
    taken = [await desk.drive.claim("p", "one", LEASE) for _ in range(3)]
    assert [claim.run.window for claim in taken] == [window(0), window(1), window(2)]
    assert await desk.nothing_due()


@clause
async def a_claimed_run_is_running_in_its_owners_hands(desk: Desk) -> None:
    await desk.create(0)
    claim = await desk.drive.claim("p", "one", LEASE)
    assert (claim.owner, claim.expires_at) == ("one", desk.clock.at + LEASE)
    run = await desk.row(claim.run.id)
    assert run == claim.run
    assert (run.status, run.owner, run.token) == (RunStatus.RUNNING, "one", claim.token)
    assert run.lease_expires_at == desk.clock.at + LEASE


@clause
async def attempts_count_claims(desk: Desk) -> None:
    await desk.create(0)
    for attempts in (1, 2, 3):
        claim = await desk.take()
        assert claim.run.attempts == attempts
        await desk.drive.release(claim, claim.run)


@clause
async def a_claim_touches_only_its_own_pipeline(desk: Desk) -> None:
    await desk.create(0, pipeline="q")
    assert await desk.nothing_due()
    assert (await desk.take(pipeline="q")).run.id.pipeline == "q"


@clause
async def tokens_of_a_pipeline_rise_and_are_never_reset(desk: Desk) -> None:
    tokens = []
    await desk.create(9, pipeline="q")
    for hour in (1, 0):
        claim = await desk.running(hour)
        tokens.append(claim.token)
        await desk.drive.release(claim, claim.run)
        again = await desk.take(hour)
        tokens.append(again.token)
        await desk.finish(again)
    assert tokens == [1, 2, 3, 4]
    assert (await desk.take(pipeline="q")).token == 1


@clause
async def a_claim_of_one_run_takes_that_or_none(desk: Desk) -> None:
    runs = await desk.create(0, 1)
    assert await desk.nothing_due(run=RunId("elsewhere", "p", window(0), 1))
    claim = await desk.drive.claim("p", "one", LEASE, run=runs[1].id)
    assert claim.run.id == runs[1].id
    assert await desk.nothing_due(run=runs[1].id)


@clause
async def a_claim_within_a_span_takes_only_what_lies_inside(desk: Desk) -> None:
    await desk.drive.create("p", "x", [new(0, 2), new(2, 2), new(4, 2)])
    claim = await desk.drive.claim("p", "one", LEASE, within=window(1, 4))
    assert claim.run.window == window(2, 2)
    assert await desk.nothing_due(within=window(1, 4))


@clause
async def in_order_means_that_every_older_run_is_finished(desk: Desk) -> None:
    await desk.create(0, 1)
    first = await desk.drive.claim("p", "one", LEASE, ordered=True)
    assert first.run.window == window(0)
    assert await desk.nothing_due(ordered=True)
    await desk.quarantine(first, first.run, failure())
    assert await desk.nothing_due(ordered=True)
    second = await desk.take()
    assert second.run.window == window(1)


@clause
async def a_run_is_free_again_when_its_lease_expires(desk: Desk) -> None:
    first = await desk.running(0)
    desk.clock.advance(LEASE - TICK)
    assert await desk.nothing_due()
    desk.clock.advance(TICK)
    second = await desk.take(owner="two")
    assert (second.run.id, second.owner, second.run.owner) == (first.run.id, "two", "two")


@clause
async def a_dead_owner_holds_nothing(desk: Desk) -> None:
    await desk.create(0)
    await desk.drive.claim("p", dead_owner(), LEASE)
    assert (await desk.take(owner="two")).owner == "two"


@clause
async def a_failed_run_waits_for_its_time(desk: Desk) -> None:
    claim = await desk.running(0)
    failed = await desk.drive.fail(claim, claim.run, failure(), retry_in=HOUR, quarantine=False)
    assert (failed.next_attempt_at, failed.quarantined_at) == (desk.clock.at + HOUR, None)
    desk.clock.advance(HOUR - TICK)
    assert await desk.nothing_due()
    desk.clock.advance(TICK)
    assert (await desk.take()).run.next_attempt_at is None


@clause
async def a_quarantined_run_waits_for_a_person(desk: Desk) -> None:
    failed = await desk.failed(0)
    assert (failed.next_attempt_at, failed.quarantined_at) == (None, desk.clock.at)
    desk.clock.advance(10_000 * HOUR)
    assert await desk.nothing_due()
    assert await desk.nothing_due(run=failed.id)


@clause
async def a_superseded_run_is_out_of_the_way(desk: Desk) -> None:
    claim = await desk.running(0)
    why = failure(Phase.AUDIT, "audit_mismatch")
    failed = await desk.drive.fail(claim, merged(claim.run), why, retry_in=SECOND, quarantine=False)
    following = await desk.reopen(failed)
    desk.clock.advance(HOUR)
    assert await desk.nothing_due(run=failed.id)
    await desk.finish(await desk.drive.claim("p", "one", LEASE, ordered=True, run=following.id))
    assert await desk.nothing_due()
    assert [run.id.number for run in await desk.create(0, kind=RunKind.BACKFILL)] == [3]


@clause
async def all_leases_are_renewed_in_one_call(desk: Desk) -> None:
    claims = [await desk.running(0), await desk.running(1)]
    desk.clock.advance(SECOND)
    renewed = await desk.drive.renew(claims, LEASE)
    assert renewed == [replace(claim, expires_at=desk.clock.at + LEASE) for claim in claims]
    assert {run.lease_expires_at for run in await desk.rows()} == {desk.clock.at + LEASE}
    assert await desk.drive.renew([], LEASE) == []


@clause
async def a_lost_claim_is_missing_from_the_answer(desk: Desk) -> None:
    taken = await stolen(desk)
    held = await desk.running(5)
    finished = await desk.running(1)
    await desk.finish(finished)
    released = await desk.running(2)
    await desk.drive.release(released, released.run)
    renewed = await desk.drive.renew([taken, finished, held, released], 2 * LEASE)
    assert [claim.run.id for claim in renewed] == [held.run.id]
    assert (await desk.row(taken.run.id)).lease_expires_at == desk.clock.at + LEASE
    assert (await desk.row(finished.run.id)).lease_expires_at is None


@clause
async def an_expired_lease_that_nobody_took_is_renewed(desk: Desk) -> None:
    claim = await desk.running(0)
    desk.clock.advance(2 * LEASE)
    assert len(await desk.drive.renew([claim], LEASE)) == 1
    assert await desk.nothing_due()


@clause
async def a_checkpoint_keeps_progress(desk: Desk) -> None:
    claim = await desk.running(0)
    run = merged(claim.run, Phase.AUDIT)
    claim = await desk.drive.checkpoint(claim, run)
    assert (claim.run.phases, claim.run.manifest, claim.run.receipt) == (run.phases, run.manifest, run.receipt)
    assert (claim.run.status, claim.owner) == (RunStatus.RUNNING, "one")
    assert await desk.row(run.id) == claim.run


@clause
async def a_checkpoint_leaves_the_lease_as_it_was_renewed(desk: Desk) -> None:
    claim = await desk.running(0)
    desk.clock.advance(SECOND)
    (renewed,) = await desk.drive.renew([claim], LEASE)
    await desk.drive.checkpoint(claim, claim.run)
    assert (await desk.row(claim.run.id)).lease_expires_at == renewed.expires_at


@clause
async def a_finished_run_gives_its_lease_up(desk: Desk) -> None:
    for hour, status in enumerate((RunStatus.COMPLETED, RunStatus.SKIPPED)):
        run = await desk.finish(await desk.running(hour), status)
        assert (run.status, run.owner, run.lease_expires_at) == (status, "", None)
        assert await desk.row(run.id) == run
    desk.clock.advance(HOUR)
    assert await desk.nothing_due()


async def stolen(desk: Desk) -> Claim:
    """A claim whose run another worker has taken meanwhile."""
    claim = await desk.running(0)
    desk.clock.advance(LEASE + SECOND)
    await desk.take(owner="two")
    return claim


async def is_refused(desk: Desk, claim: Claim, write) -> None:
    before = await desk.rows()
    desk.clock.advance(SECOND)
    with pytest.raises(LeaseLost):
        await write(claim, progressed(claim.run, Phase.AUDIT))
    assert await desk.rows() == before


@clause
async def a_checkpoint_of_an_older_attempt_is_refused(desk: Desk) -> None:
    await is_refused(desk, await stolen(desk), desk.drive.checkpoint)


@clause
async def a_failure_of_an_older_attempt_is_refused(desk: Desk) -> None:
    claim = await stolen(desk)
    await is_refused(desk, claim, lambda claim, run: desk.quarantine(claim, run, failure()))


@clause
async def a_release_of_an_older_attempt_is_refused(desk: Desk) -> None:
    await is_refused(desk, await stolen(desk), desk.drive.release)


@clause
async def an_attempt_that_ended_writes_no_more(desk: Desk) -> None:
    claims = [await desk.running(hour) for hour in range(3)]
    await desk.finish(claims[0])
    await desk.quarantine(claims[1], claims[1].run, failure())
    await desk.drive.release(claims[2], claims[2].run)
    for claim in claims:
        await is_refused(desk, claim, desk.drive.checkpoint)


@clause
async def a_failure_is_kept_with_its_cause_and_its_progress(desk: Desk) -> None:
    claim = await desk.running(0)
    run = progressed(claim.run, Phase.AUDIT)
    failed = await desk.quarantine(claim, run, failure(Phase.AUDIT))
    assert (failed.status, failed.failure, failed.phase_failed) == (
        RunStatus.FAILED,
        failure(Phase.AUDIT),
        Phase.AUDIT,
    )
    assert (failed.phases, failed.manifest) == (run.phases, run.manifest)
    assert await desk.row(run.id) == failed
    claim = await desk.running(1)
    for message in ("the first", "the second"):
        why = replace(failure(), message=message)
        failed = await desk.drive.fail(claim, claim.run, why, retry_in=timedelta(0), quarantine=False)
        assert failed.failure == why
        claim = await desk.take(1)


@clause
async def a_failed_run_gives_its_lease_up(desk: Desk) -> None:
    failed = await desk.failed(0)
    assert (failed.owner, failed.lease_expires_at) == ("", None)
    claim = await desk.running(1)
    failed = await desk.drive.fail(claim, claim.run, failure(), retry_in=SECOND, quarantine=False)
    assert (failed.owner, failed.lease_expires_at) == ("", None)


@clause
async def strikes_count_failures_of_one_kind_in_a_row(desk: Desk) -> None:
    await desk.create(0)
    strikes = []
    for kind in ("transient", "transient", "transient", "restart", "restart", "transient"):
        claim = await desk.take()
        why = failure(kind=kind)
        failed = await desk.drive.fail(claim, claim.run, why, retry_in=timedelta(0), quarantine=False)
        strikes.append(failed.strikes)
    assert strikes == [1, 2, 3, 1, 2, 1]


@clause
async def a_released_run_is_pending_with_its_progress(desk: Desk) -> None:
    claim = await desk.running(0, RunKind.BACKFILL)
    run = progressed(claim.run, Phase.AUDIT)
    released = await desk.drive.release(claim, run)
    assert (released.status, released.owner, released.lease_expires_at) == (RunStatus.PENDING, "", None)
    assert (released.phases, released.manifest, released.strikes) == (run.phases, run.manifest, 0)
    again = await desk.take()
    assert (again.run.manifest, again.token) == (run.manifest, claim.token + 1)
