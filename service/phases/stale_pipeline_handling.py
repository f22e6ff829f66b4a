"""Phase 1: settle what dead attempts of this pipeline left behind.

Taking a run whose lease expired is the claim itself, and raising the fence before this phase has waited
out any merge of an older attempt. What is left: runs of the pipeline whose worker is gone are counted for
the operator, and what unfinished and superseded runs staged and none that can go on names is removed, but for
runs that another worker is at. A finished run's own clean-up removes what it staged, or leaves it on purpose; of
such a run only that is removed which came after its clean-up, from a worker fenced meanwhile (`leftovers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from service.bench import Bench
from service.phases.leftovers import left_by_finished
from service.phases.outcome import Outcome, recorded
from state.model import Run, RunStatus

ORPHAN_AGE = timedelta(hours=1)
"""Leftovers younger than this may belong to a run that another worker is just creating."""


async def perform(bench: Bench) -> Outcome:
    now = await bench.drive.now()
    runs = await bench.drive.runs(
        bench.run.id.pipeline, statuses=(RunStatus.PENDING, RunStatus.RUNNING, RunStatus.FAILED)
    )
    expired = [
        run.name
        for run in runs
        if run.id != bench.run.id and run.lease_expires_at is not None and run.lease_expires_at < now
    ]
    left = [run for run in runs if run.superseded_by or (run.attempts and is_ours_to_sweep(bench, run, now))]
    swept = await sweep(bench, left, now - orphan_age(bench)) if left else 0
    if finished := await left_by_finished(bench, [*runs, bench.run], now):
        swept += await bench.loader.sweep(finished, [], [], now + ORPHAN_AGE)  # whatever the clocks say
    return Outcome({"attempt": bench.run.attempts, "expired_runs": expired, "orphans_removed": swept})


def is_ours_to_sweep(bench: Bench, run: Run, now: datetime) -> bool:
    """Whether what dead attempts of this run left may be removed by us.

    Not while another worker is at it: nobody has written its stage table down yet, however long its COPY lasts,
    and its own phase 1 has swept before.
    """
    is_held = run.status is RunStatus.RUNNING and run.lease_expires_at is not None and run.lease_expires_at >= now
    if run.id == bench.run.id:
        return run.attempts > 1
    return not is_held


async def sweep(bench: Bench, runs: Sequence[Run], older_than: datetime) -> int:
    """Remove what these runs staged and what none of them needs to go on; a superseded one needs nothing."""
    going_on = [run for run in runs if not run.superseded_by]
    tables = [table for run in going_on if (table := recorded(run).get("stage_table"))]
    manifests = [run.manifest for run in going_on]
    return await bench.loader.sweep([run.id for run in runs], manifests, tables, older_than)


def orphan_age(bench: Bench) -> timedelta:
    """The drive table names a part's files when it is read to its end; it must have had the time for that."""
    part = timedelta(seconds=bench.config.phases.source_to_stage_transfer.snapshot_max_age_seconds)
    return max(ORPHAN_AGE, 2 * part)
