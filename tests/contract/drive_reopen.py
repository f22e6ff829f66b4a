"""Clauses about what an operator may do: reopen, in all of its ways."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from state.errors import ConfigurationError
from state.model import Manifest, Part, Phase, Run, RunId, RunKind, RunStatus
from tests.contract.drive_desk import LEASE, SECOND, Desk, clause, event, failure, merged, window

MERGE = Phase.STAGE_TO_TARGET_TRANSFER


@clause
async def a_quarantined_run_goes_on_when_a_person_says_so(desk: Desk) -> None:
    failed = await desk.failed(0, MERGE, progress=True)
    run = await desk.reopen(failed)
    assert (run.id, run.status, run.quarantined_at, run.strikes) == (failed.id, RunStatus.PENDING, None, 0)
    assert (run.phases, run.manifest) == (failed.phases, failed.manifest)
    assert await desk.row(run.id) == run
    assert (await desk.take()).run.id == failed.id


@clause
async def a_run_that_waits_for_its_time_goes_on_at_once(desk: Desk) -> None:
    claim = await desk.running(0)
    failed = await desk.drive.fail(claim, claim.run, failure(), retry_in=LEASE, quarantine=False)
    assert (await desk.reopen(failed)).next_attempt_at is None
    assert (await desk.take()).run.id == failed.id


@clause
async def a_run_with_an_expired_lease_may_be_reopened(desk: Desk) -> None:
    claim = await desk.running(0)
    desk.clock.advance(LEASE + SECOND)
    run = await desk.reopen(claim.run)
    assert (run.status, run.owner, run.lease_expires_at) == (RunStatus.PENDING, "", None)
    assert (await desk.take()).token > claim.token


@clause
async def phases_from_the_named_one_on_are_forgotten(desk: Desk) -> None:
    order = list(Phase)
    for hour, phase in enumerate(order):
        failed = await desk.failed(hour, Phase.TARGET_CLEANING, progress=True)
        run = await desk.reopen(failed, phase)
        kept = order[: min(order.index(phase), order.index(Phase.TARGET_CLEANING))]
        assert list(run.phases) == kept
        assert run.id == failed.id


@clause
async def what_was_read_is_forgotten_only_if_it_is_read_again(desk: Desk) -> None:
    for hour, phase in enumerate(Phase):
        failed = await desk.failed(hour, Phase.TARGET_CLEANING, progress=True)
        manifest = (await desk.reopen(failed, phase)).manifest
        match phase:
            case Phase.STALE_PIPELINE_HANDLING | Phase.PRE_VALIDATION:
                assert manifest == Manifest()
            case Phase.SOURCE_TO_STAGE_TRANSFER:
                unread = tuple(Part(part.range) for part in failed.manifest.parts)
                assert manifest == replace(failed.manifest, parts=unread)
            case _:
                assert manifest == failed.manifest


async def done_anew(desk: Desk, failed: Run, following: Run) -> None:
    """`failed` stays as it ended and names the run that does its window again from the start."""
    old = await desk.row(failed.id)
    assert replace(old, superseded_by=0, updated_at=failed.updated_at) == failed
    assert old.superseded_by == following.id.number
    assert not old.unfinished
    assert (following.window, following.status, following.kind) == (
        failed.window,
        RunStatus.PENDING,
        failed.kind,
    )
    assert (following.read_start, following.phases, following.manifest, following.receipt) == (
        failed.read_start,
        {},
        Manifest(),
        None,
    )
    assert await desk.row(following.id) == following


async def failed_after_merge(desk: Desk, phase: Phase, kind: RunKind = RunKind.SCHEDULED) -> Run:
    claim = await desk.running(0, kind)
    why = failure(phase, "audit_mismatch" if phase is Phase.AUDIT else "transient")
    return await desk.quarantine(claim, merged(claim.run, phase), why)


@clause
async def after_a_failed_audit_the_window_is_done_anew(desk: Desk) -> None:
    failed = await failed_after_merge(desk, Phase.AUDIT, RunKind.BACKFILL)
    following = await desk.reopen(failed)
    assert following.id == RunId(desk.drive.id, "p", window(0), 2)
    await done_anew(desk, failed, following)


@clause
async def an_audit_that_could_not_count_goes_on_as_itself(desk: Desk) -> None:
    claim = await desk.running(0)
    why = failure(Phase.AUDIT, "configuration")
    failed = await desk.quarantine(claim, merged(claim.run, Phase.AUDIT), why)
    assert (await desk.reopen(failed)).id == failed.id


@clause
async def an_audit_that_found_a_mismatch_may_be_asked_again(desk: Desk) -> None:
    failed = await failed_after_merge(desk, Phase.AUDIT)
    assert (await desk.reopen(failed, Phase.AUDIT)).id == failed.id


@clause
async def after_a_receipt_of_something_else_the_window_is_done_anew(desk: Desk) -> None:
    claim = await desk.running(0)
    failed = await desk.quarantine(claim, claim.run, failure(MERGE, "receipt_mismatch"))
    following = await desk.reopen(failed, run_floor=1)
    assert following.id.number == 2
    await done_anew(desk, failed, following)


@clause
async def a_merged_run_is_never_merged_again_as_itself(desk: Desk) -> None:
    failed = await failed_after_merge(desk, Phase.STAGE_CLEANING)
    following = await desk.reopen(failed, MERGE)
    assert following.id.number == 2
    await done_anew(desk, failed, following)


@clause
async def a_merged_run_may_go_back_to_its_audit(desk: Desk) -> None:
    failed = await failed_after_merge(desk, Phase.STAGE_CLEANING)
    run = await desk.reopen(failed, Phase.AUDIT)
    assert (run.id, run.receipt, run.status) == (failed.id, failed.receipt, RunStatus.PENDING)
    assert run.done(MERGE)


@clause
async def the_number_of_a_run_done_anew_is_above_what_the_target_knows(desk: Desk) -> None:
    failed = await failed_after_merge(desk, Phase.AUDIT)
    following = await desk.reopen(failed, run_floor=6)
    assert following.id.number == 7
    assert (await desk.row(failed.id)).superseded_by == 7


@clause
async def the_action_is_kept_with_its_effect(desk: Desk) -> None:
    await desk.reopen(await desk.failed(0))
    assert await desk.drive.events("p") == [event("retry")]


async def is_refused(desk: Desk, run: RunId) -> None:
    before = await desk.rows(), await desk.drive.events("p")
    with pytest.raises(ConfigurationError) as caught:
        await desk.drive.reopen(run, from_phase=None, run_floor=0, event=event("refused"))
    assert caught.value.hint
    assert (await desk.rows(), await desk.drive.events("p")) == before


@clause
async def an_unknown_run_is_not_reopened(desk: Desk) -> None:
    await is_refused(desk, RunId(desk.drive.id, "p", window(0), 1))


@clause
async def a_finished_run_is_not_reopened(desk: Desk) -> None:
    await is_refused(desk, (await desk.completed(0)).id)
    await is_refused(desk, (await desk.finish(await desk.running(1), RunStatus.SKIPPED)).id)


@clause
async def a_superseded_run_is_not_reopened(desk: Desk) -> None:
    failed = await failed_after_merge(desk, Phase.AUDIT)
    await desk.reopen(failed)
    await is_refused(desk, failed.id)


@clause
async def a_run_in_a_live_workers_hands_is_not_reopened(desk: Desk) -> None:
    await is_refused(desk, (await desk.running(0)).run.id)
