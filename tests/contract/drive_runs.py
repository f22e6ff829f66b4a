"""Clauses about which runs there are: create, adopt, runs, events."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from state.errors import DuplicateWindow
from state.model import Phase, PhaseRecord, PhaseStatus, RunId, RunKind, RunStatus, Window
from tests.contract.drive_desk import (
    HOUR,
    LEASE,
    SECOND,
    T0,
    Desk,
    clause,
    event,
    failure,
    manifest_of,
    merged,
    new,
    progressed,
    receipt_of,
    window,
)


@clause
async def the_clock_is_the_databases_and_utc(desk: Desk) -> None:
    assert await desk.drive.now() == desk.clock.at
    assert (await desk.drive.now()).utcoffset() == timedelta(0)


@clause
async def created_runs_are_pending_and_come_back_in_the_order_asked_for(desk: Desk) -> None:
    runs = await desk.create(2, 0, 1)
    assert [run.window for run in runs] == [window(2), window(0), window(1)]
    for run in runs:
        assert run.id == RunId(desk.drive.id, "p", run.window, 1)
        assert (run.status, run.kind, run.read_start) == (
            RunStatus.PENDING,
            RunKind.SCHEDULED,
            run.window.start - SECOND,
        )
        assert (run.created_at, run.token, run.attempts, run.strikes) == (desk.clock.at, 0, 0, 0)
        assert await desk.row(run.id) == run


@clause
async def a_name_carries_the_end_only_where_the_span_is_no_scheduled_window(desk: Desk) -> None:
    scheduled, backfill = await desk.drive.create("p", "x", [new(10), new(12, 2, kind=RunKind.BACKFILL)])
    assert scheduled.name == "p_20251115_10h_run1"
    assert backfill.name == "p_20251115_12h_to_20251115_14h_run1"
    await desk.finish(await desk.take(10))
    (again,) = await desk.create(10, kind=RunKind.BACKFILL)
    assert again.name == "p_20251115_10h_run2"


@clause
async def runs_are_created_all_or_none(desk: Desk) -> None:
    await desk.create(5)
    with pytest.raises(DuplicateWindow):
        await desk.create(1, 5)
    assert [run.window for run in await desk.rows()] == [window(5)]


@clause
async def a_window_done_again_gets_the_next_number_of_the_table(desk: Desk) -> None:
    await desk.drive.adopt("p", [receipt_of(RunId("elsewhere", "p", window(0), 7))], 0)
    (again,) = await desk.create(0, kind=RunKind.BACKFILL)
    assert again.id.number == 8
    (other,) = await desk.create(1)
    assert other.id.number == 1


@clause
async def a_number_is_above_what_the_target_knows(desk: Desk) -> None:
    (run,) = await desk.drive.create("p", "x", [new(0, floor=4)])
    assert run.id.number == 5


@clause
async def a_run_over_unfinished_work_is_refused(desk: Desk) -> None:
    await desk.running(0)
    await desk.failed(2)
    await desk.create(4, kind=RunKind.BACKFILL)
    for hour in (0, 2, 4):
        for kind in RunKind:
            with pytest.raises(DuplicateWindow):
                await desk.create(hour, kind=kind)
    with pytest.raises(DuplicateWindow):
        await desk.drive.create("p", "x", [new(3, 2, kind=RunKind.REPAIR)])
    assert [run.window for run in await desk.create(3, 5)] == [window(3), window(5)]


@clause
async def runs_of_one_call_must_not_overlap_either(desk: Desk) -> None:
    with pytest.raises(DuplicateWindow):
        await desk.drive.create("p", "x", [new(0, 2, kind=RunKind.BACKFILL), new(1, 2, kind=RunKind.BACKFILL)])


@clause
async def pipelines_do_not_hinder_each_other(desk: Desk) -> None:
    await desk.create(0, pipeline="q")
    await desk.drive.create("q", "x", [new(1, 2)])
    assert len(await desk.create(0, 1)) == 2


@clause
async def a_scheduled_window_must_not_cut_across_the_tiling(desk: Desk) -> None:
    await desk.drive.create("p", "x", [new(0, 2), new(2, 2)])
    for hour in (0, 2):
        await desk.finish(await desk.take(hour))
    for hour, hours in ((1, 2), (0, 1), (1, 1), (3, 2), (0, 4)):
        with pytest.raises(DuplicateWindow):
            await desk.drive.create("p", "x", [new(hour, hours)])
    await desk.drive.create("p", "x", [new(4, 1)])


@clause
async def a_schedule_opens_a_window_once_whatever_became_of_it(desk: Desk) -> None:
    """Whoever looked before another worker opened and ended the window is told so, and opens nothing."""
    await desk.completed(0)
    await desk.finish(await desk.running(1), RunStatus.SKIPPED)
    await desk.completed(2, kind=RunKind.BACKFILL)
    await desk.drive.adopt("p", [receipt_of(RunId("lost", "p", window(3), 1))], 0)
    before = await desk.rows()
    for hour in range(4):
        with pytest.raises(DuplicateWindow) as refused:
            await desk.create(hour, 5)
        assert refused.value.code == "known"
    assert await desk.rows() == before
    await desk.create(0, 1, 2, 3, kind=RunKind.BACKFILL)


@clause
async def a_backfill_may_cut_across_the_tiling(desk: Desk) -> None:
    await desk.drive.create("p", "x", [new(0, 2)])
    await desk.finish(await desk.take(0))
    for kind in (RunKind.BACKFILL, RunKind.REPAIR):
        (run,) = await desk.drive.create("p", "x", [new(1, 2, kind=kind)])
        await desk.finish(await desk.drive.claim("p", "x", LEASE, run=run.id))


@clause
async def what_only_the_target_remembers_is_adopted_as_completed(desk: Desk) -> None:
    receipt = receipt_of(RunId("lost", "p", window(0), 3))
    (run,) = await desk.drive.adopt("p", [receipt], 0)
    assert (run.id, run.status, run.receipt) == (receipt.run, RunStatus.COMPLETED, receipt)
    assert run.done(Phase.STAGE_TO_TARGET_TRANSFER)
    assert await desk.rows() == [run]
    assert await desk.nothing_due()


@clause
async def an_adopted_run_takes_no_name_that_is_taken(desk: Desk) -> None:
    own = await desk.completed(0)
    (adopted,) = await desk.drive.adopt("p", [receipt_of(RunId("elsewhere", "p", window(0), 1))], 0)
    assert adopted.name != own.name
    assert adopted.name == "p_20251115_00h_to_20251115_01h_run1"


@clause
async def receipts_of_other_pipelines_are_not_adopted(desk: Desk) -> None:
    assert await desk.drive.adopt("p", [receipt_of(RunId("lost", "q", window(0), 1))], 0) == []
    assert await desk.rows() == []


@clause
async def adopting_twice_changes_nothing(desk: Desk) -> None:
    receipts = [receipt_of(RunId("lost", "p", window(hour), 1)) for hour in (0, 1)]
    assert len(await desk.drive.adopt("p", receipts, 5)) == 2
    before = await desk.rows()
    desk.clock.advance(HOUR)
    assert await desk.drive.adopt("p", receipts, 5) == []
    assert await desk.rows() == before


@clause
async def adopting_lifts_the_token_and_never_lowers_it(desk: Desk) -> None:
    await desk.create(0, 1, 2)
    await desk.drive.adopt("p", [], 40)
    assert (await desk.take(0)).token == 41
    await desk.drive.adopt("p", [], 7)
    assert (await desk.take(1)).token == 42


@clause
async def an_unfinished_run_that_is_merged_becomes_completed(desk: Desk) -> None:
    run = await desk.failed(0, kind="transient")
    (changed,) = await desk.drive.adopt("p", [receipt_of(run.id)], 0)
    assert (changed.status, changed.receipt.run, changed.failure) == (RunStatus.COMPLETED, run.id, None)
    assert await desk.row(run.id) == changed
    assert await desk.nothing_due()


@clause
async def a_run_in_a_workers_hands_is_not_adopted(desk: Desk) -> None:
    claim = await desk.running(0)
    assert await desk.drive.adopt("p", [receipt_of(claim.run.id)], 0) == []
    await desk.drive.checkpoint(claim, claim.run)
    desk.clock.advance(LEASE)
    assert len(await desk.drive.adopt("p", [receipt_of(claim.run.id)], 0)) == 1


@clause
async def a_run_that_finds_its_receipt_by_going_on_is_left_to_its_audit(desk: Desk) -> None:
    claim = await desk.running(0)
    run = await desk.drive.release(claim, progressed(claim.run, Phase.STAGE_TO_TARGET_TRANSFER))
    assert await desk.drive.adopt("p", [receipt_of(run.id, digest=run.manifest.digest)], 0) == []
    assert (await desk.row(run.id)).status is RunStatus.PENDING


@clause
async def events_come_newest_first(desk: Desk) -> None:
    told = [event("retry", "run1", T0 + HOUR), event("pause", "run2"), event("resume", "run2", T0 + 2 * HOUR)]
    for one in told:
        await desk.drive.record(one)
    assert await desk.drive.events("p") == told[::-1]
    assert await desk.drive.events("p", limit=2) == [told[2], told[1]]


@clause
async def events_belong_to_one_pipeline(desk: Desk) -> None:
    await desk.drive.record(event("retry", pipeline="q"))
    assert await desk.drive.events("p") == []
    assert await desk.drive.events("q") == [event("retry", pipeline="q")]


@clause
async def runs_are_ordered_by_window_and_number(desk: Desk) -> None:
    for kind in (RunKind.SCHEDULED, RunKind.BACKFILL):
        for hour in (3, 1):
            await desk.completed(hour, kind)
    await desk.create(0)
    await desk.drive.adopt("p", [receipt_of(RunId("elsewhere", "p", window(1, 2), 1))], 0)
    places = [(run.window, run.id.number) for run in await desk.rows()]
    hours = [(window(0), 1), (window(1), 1), (window(1), 2), (window(1, 2), 1), (window(3), 1), (window(3), 2)]
    assert places == hours


@clause
async def runs_are_filtered_by_pipeline_and_status(desk: Desk) -> None:
    await desk.create(9, pipeline="q")
    done, running, failed = await desk.completed(0), (await desk.running(1)).run, await desk.failed(2)
    (pending,) = await desk.create(3)
    assert [run.id for run in await desk.drive.runs("p")] == [done.id, running.id, failed.id, pending.id]
    both = [RunStatus.FAILED, RunStatus.COMPLETED]
    assert await desk.drive.runs("p", statuses=both) == [done, failed]
    assert [run.id for run in await desk.drive.runs(statuses=[RunStatus.RUNNING])] == [running.id]
    assert len(await desk.drive.runs(statuses=[RunStatus.PENDING])) == 2


@clause
async def runs_within_a_span_are_those_that_overlap_it(desk: Desk) -> None:
    await desk.drive.create("p", "x", [new(hour, 2) for hour in (0, 2, 4, 6)])
    inside = await desk.drive.runs("p", within=window(3, 3))
    assert [run.window for run in inside] == [window(2, 2), window(4, 2)]
    assert [run.window for run in await desk.drive.runs(within=Window(T0, T0 + SECOND))] == [window(0, 2)]


@clause
async def a_limit_keeps_the_first_runs(desk: Desk) -> None:
    await desk.create(3, 1, 2)
    assert [run.window for run in await desk.drive.runs("p", limit=2)] == [window(1), window(2)]
    assert await desk.drive.runs("p", limit=0) == []


@clause
async def a_run_is_found_by_its_whole_name(desk: Desk) -> None:
    (run, _, _) = await desk.create(1, 2, 3)
    await desk.create(5, pipeline="q")
    assert await desk.drive.runs("p", name=run.name) == [run]
    assert await desk.drive.runs(name=run.name, within=window(1)) == [run]
    assert await desk.drive.runs("p", name=run.name[:-1]) == []
    assert await desk.drive.runs("q", name=run.name) == []


@clause
async def windows_are_told_once_each_and_in_order(desk: Desk) -> None:
    for hour, kind in ((2, RunKind.SCHEDULED), (0, RunKind.SCHEDULED), (2, RunKind.REPAIR)):
        await desk.completed(hour, kind)
    await desk.create(1)
    await desk.create(5, pipeline="q")
    assert await desk.drive.windows("p") == [window(0), window(1), window(2)]
    assert await desk.drive.windows("nobody") == []


@clause
async def unfinished_windows_are_those_that_still_wait(desk: Desk) -> None:
    await desk.completed(0)
    await desk.finish(await desk.running(1), RunStatus.SKIPPED)
    await desk.create(4)
    await desk.failed(3)
    await desk.running(2)
    claim = await desk.running(5)
    await desk.reopen(await desk.quarantine(claim, merged(claim.run), failure(Phase.AUDIT, "audit_mismatch")))
    assert await desk.drive.windows("p", unfinished=True) == [window(hour) for hour in (2, 3, 4, 5)]


@clause
async def every_field_and_figure_is_read_back_as_it_was_stored(desk: Desk) -> None:
    claim = await desk.running(0)
    figures = {
        "big": 2**63 - 1,
        "beyond": 2**53 + 1,
        "float": 0.1 + 0.2,
        "tiny": 5e-324,
        "none": None,
        "no": False,
        "text": "Zürich \U0001f6e9 'quoted' \\ \n",
        "deep": {"a": [1, {"b": []}], "": {}},
    }
    records = {phase: PhaseRecord(PhaseStatus.SKIPPED, T0, None, {**figures, "phase": phase}) for phase in Phase}
    run = replace(merged(claim.run), phases=records, manifest=manifest_of(claim.run, rows=2**40))
    failed = await desk.quarantine(claim, run, failure(Phase.AUDIT))
    (read,) = await desk.rows()
    assert read == failed
    assert (read.phases, read.manifest, read.receipt) == (run.phases, run.manifest, run.receipt)
    assert (read.failure, read.quarantined_at, read.updated_at) == (
        failure(Phase.AUDIT),
        desk.clock.at,
        desk.clock.at,
    )
    assert read.manifest.digest == run.manifest.digest


@clause
async def an_instant_keeps_its_microseconds(desk: Desk) -> None:
    edge = T0 + timedelta(microseconds=1)
    spans = [Window(T0, edge), Window(edge, edge + timedelta(microseconds=999_998))]
    runs = await desk.drive.create(
        "p", "x", [replace(new(0), window=span, read_start=span.start) for span in spans]
    )
    assert [run.window for run in await desk.rows()] == spans == [run.window for run in runs]
    assert [run.read_start for run in await desk.rows()] == [span.start for span in spans]


@clause
async def closing_twice_is_harmless(desk: Desk) -> None:
    await desk.drive.aclose()
    await desk.drive.aclose()
