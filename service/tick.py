"""A look at the clock: which windows are due, and what the target already proves.

A tick means "look", never "the interval of this tick": however late it comes, it finds the same windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from loaders.base import Loads
from service.newest import newest_due
from service.settings import PipelineConfig
from state.drive import DriveTable, NewRun
from state.model import Receipt, Run, RunKind, Window
from state.windows import due, floor, following

FASTER = ("unfinished", "known")
"""Codes of a `DuplicateWindow` that says: another worker opened the window between the look and the write."""


def proven(loads: Loads) -> list[Receipt]:
    """Receipts of the target as it is now; those of a table that was dropped since prove nothing about it."""
    return [receipt for receipt in loads.receipts if receipt.target_identity == loads.target_identity]


def run_floor(loads: Loads, window: Window) -> int:
    """The highest run number of `window` that the target knows, of any drive table and any target identity."""
    return run_floors(loads).get(window, 0)


def run_floors(loads: Loads) -> dict[Window, int]:
    """The same for every window that the target knows."""
    floors: dict[Window, int] = {}
    for receipt in loads.receipts:
        floors[receipt.run.window] = max(receipt.run.number, floors.get(receipt.run.window, 0))
    return floors


def closed_until(config: PipelineConfig, now: datetime) -> datetime:
    """Windows that end at or before this instant are closed; `now`: the source's clock, or the earlier instant
    that it is readable until."""
    edge = now - timedelta(seconds=config.windows.safety_lag_seconds)
    return edge if config.windows.end is None else min(edge, config.windows.end)


def due_windows(
    config: PipelineConfig, runs: Sequence[Run], now: datetime, limit: int | None = None
) -> list[Window]:
    """Closed windows without a run, oldest first; one that overlaps unfinished work waits for it."""
    busy = [run.window for run in runs if run.unfinished]
    known = [run.window for run in runs]
    if config.whole:
        return newest_due(config.windows.tiling(), known, closed_until(config, now), busy=busy)
    return due(config.windows.tiling(), known, closed_until(config, now), busy=busy, limit=limit)


async def open_windows(
    config: PipelineConfig,
    drive: DriveTable,
    loads: Loads,
    now: datetime,
    owner: str,
    *,
    only: Window | None = None,
) -> list[Run]:
    """Create runs for the windows that are due, bounded, oldest first; `only` keeps those inside a span."""
    pipeline, tiling, closed = (
        config.pipeline_metadata.pipeline_name,
        config.windows.tiling(),
        closed_until(config, now),
    )
    known, busy = await drive.windows(pipeline), await drive.windows(pipeline, unfinished=True)
    if config.whole:
        found = newest_due(tiling, known, closed, busy=busy, within=only)
    else:
        found = due(tiling, known, closed, busy=busy, within=only, limit=config.limits.catch_up_windows)
    new = new_runs(config, run_floors(loads), found, RunKind.SCHEDULED)
    return await drive.create(pipeline, owner, new) if new else []


def backfill_windows(config: PipelineConfig, span: Window) -> list[Window]:
    """The scheduled windows that lie in `span`, cut at its edges: what a backfill of `span` runs."""
    tiling = config.windows.tiling()
    pieces, start = [], floor(tiling, max(tiling.start, span.start))
    while start < span.end:
        end = following(tiling, start)
        if end > span.start:
            pieces.append(Window(max(start, span.start), min(end, span.end)))
        start = end
    return pieces


def new_run(config: PipelineConfig, loads: Loads, window: Window, kind: RunKind) -> NewRun:
    """A run of `window` that reads its lookback too."""
    return new_runs(config, run_floors(loads), [window], kind)[0]


def new_runs(
    config: PipelineConfig, floors: Mapping[Window, int], windows: Sequence[Window], kind: RunKind
) -> list[NewRun]:
    """A run of each window; `floors`: the highest run number of a window that the target knows."""
    lookback = timedelta(seconds=config.windows.lookback_seconds)
    return [NewRun(window, kind, window.start - lookback, floors.get(window, 0)) for window in windows]
