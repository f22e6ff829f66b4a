"""Clauses about runs in short: the same as the runs themselves, of a span of a pipeline."""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from state.model import Phase, PhaseRecord, PhaseStatus, Run, RunKind
from state.summary import summary_of
from tests.contract.drive_desk import (
    HOUR,
    SECOND,
    T0,
    Desk,
    clause,
    failure,
    manifest_of,
    merged,
    new,
    window,
)


@clause
async def a_summary_says_the_same_as_its_run(desk: Desk) -> None:
    await desk.completed(0)
    await desk.failed(1, Phase.AUDIT, progress=True)
    desk.clock.advance(SECOND)
    claim = await desk.running(2)
    retried = await desk.quarantine(claim, merged(claim.run), failure(Phase.AUDIT, "audit_mismatch"))
    await desk.reopen(retried)
    claim = await desk.running(3)
    run = await desk.drive.checkpoint(claim, audited(claim.run))
    claim = await desk.running(4)
    await desk.drive.fail(claim, claim.run, failure(), retry_in=HOUR, quarantine=False)
    await desk.create(5, kind=RunKind.BACKFILL)
    told = {one.id: one for one in await desk.drive.summaries("p")}
    assert told == {run.id: summary_of(run) for run in await desk.rows()}
    assert [one.name for one in told.values() if one.merged] == [retried.name]
    one = told[run.run.id]
    assert (one.rows, one.proof, one.seconds) == (2**40, "DRIFT", 1.000_001)
    assert (one.attempts, one.owner, one.updated_at, one.kind) == (1, "one", desk.clock.at, RunKind.SCHEDULED)


@clause
async def summaries_are_those_of_a_span_of_a_pipeline_in_order(desk: Desk) -> None:
    for kind in (RunKind.SCHEDULED, RunKind.BACKFILL):
        for hour in (4, 2, 0):
            await desk.finish(await desk.running(hour, kind))
    await desk.drive.create("p", "x", [new(6, 2), new(8, 2)])
    await desk.create(4, pipeline="q")
    places = [(one.window, one.id.number) for one in await desk.drive.summaries("p", within=window(3, 4))]
    assert places == [(window(4), 1), (window(4), 2), (window(6, 2), 1)]
    assert len(await desk.drive.summaries("p")) == 8
    assert await desk.drive.summaries("nobody") == []


def audited(run: Run) -> Run:
    """`run` as an audit leaves it, and with a phase under way."""
    read = PhaseRecord(PhaseStatus.COMPLETED, T0, T0 + SECOND, {"rows": 2**40, "bytes": None})
    end = T0 + timedelta(microseconds=1)
    audit = PhaseRecord(PhaseStatus.COMPLETED, T0, end, {"proof": [{"rows": 1}], "validation_status": "DRIFT"})
    phases = {
        Phase.SOURCE_TO_STAGE_TRANSFER: read,
        Phase.AUDIT: audit,
        Phase.STAGE_CLEANING: PhaseRecord(PhaseStatus.RUNNING, T0, None, {"rows": 9}),
    }
    return replace(run, phases=phases, manifest=manifest_of(run))
