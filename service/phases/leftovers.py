"""What finished runs have left in the stage: found from the stage's side, and judged by the drive table.

A worker that lost its lease may still finish a PUT, or make its stage table, after another one has completed the
run and cleaned up. Nobody names such a thing, and no unfinished run leads to it. So it is asked which runs have
anything staged, seldom and in two looks; which runs those are is found by their windows, without a read of the
pipeline's history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

from loaders.base import Loader
from service.bench import Bench
from service.phases.outcome import recorded
from state.model import Phase, PhaseStatus, Run, RunId, RunStatus, Window

LOOK_EVERY = timedelta(hours=1)
"""A process looks with the first run of a pipeline, and then so often: a worker that is fenced is a rare thing."""
MOST_NUMBERS = 9
"""Runs of one window that are looked for; what a later one left stays."""
MOST_WINDOWS = 100
"""Windows whose runs are read in one look, the newest first."""

_looked: WeakKeyDictionary[Loader, datetime] = WeakKeyDictionary()
"""When it was last looked for the runs of a loader, by the drive table's clock."""


async def left_by_finished(bench: Bench, unfinished: Iterable[Run], now: datetime) -> list[RunId]:
    """Finished runs that have something staged which nobody needs; empty while it is too early to look again."""
    settings = bench.config.phases.stage_cleaning
    if not settings.enabled or settings.function is not None or not _is_time(bench.loader, now):
        return []
    hashes = set(await bench.loader.staged_runs()) - {run.id.hash for run in unfinished}
    if not hashes:
        return []
    pipeline = bench.run.id.pipeline
    windows = await bench.drive.windows(pipeline)
    named = await asyncio.to_thread(windows_of, bench.drive.id, pipeline, windows, hashes)
    found: dict[RunId, Run] = {}
    for window in named[:MOST_WINDOWS]:
        runs = await bench.drive.runs(pipeline, statuses=(RunStatus.COMPLETED, RunStatus.SKIPPED), within=window)
        found |= {run.id: run for run in runs if run.id.hash in hashes and is_done_with(run)}
    return sorted(found)


def _is_time(loader: Loader, now: datetime) -> bool:
    last = _looked.get(loader)
    if last is not None and now - last < LOOK_EVERY:
        return False
    _looked[loader] = now
    return True


def windows_of(drive_id: str, pipeline: str, windows: Sequence[Window], hashes: Collection[str]) -> list[Window]:
    """The windows of the runs that bear these hashes, the newest first; those of others are in none."""
    missing, found = set(hashes), set()
    for number in range(1, MOST_NUMBERS + 1):
        for window in windows if missing else ():
            if (name := RunId(drive_id, pipeline, window, number).hash) in missing:
                missing.discard(name)
                found.add(window)
    return sorted(found, reverse=True)


def is_done_with(run: Run) -> bool:
    """Nothing that is staged for this finished run is of use to anybody: it was cleaned up, by us, with success,
    or it was skipped before anything was merged. What a clean-up left on purpose, or could not archive, stays."""
    if run.status is RunStatus.SKIPPED and run.receipt is None:
        return True
    cleaning = run.phases.get(Phase.STAGE_CLEANING)
    if cleaning is None or cleaning.status is not PhaseStatus.COMPLETED:
        return False
    return "function" not in recorded(run, Phase.STAGE_CLEANING)
