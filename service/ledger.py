"""The ledger of a pipeline: its windows in order, what became of each, and the gaps between them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from service.settings import PipelineConfig
from service.tick import closed_until
from state.model import Phase, Run, RunStatus, Window
from state.windows import gaps, tiles


class Fate(StrEnum):
    """What became of a window."""

    LOADED = "loaded"
    PENDING = "pending"
    RUNNING = "running"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    SKIPPED = "skipped"  # a gap on purpose
    MISSING = "missing"  # a gap: closed, and no run of it


class Entry(msgspec.Struct, frozen=True):
    """A window and its newest run; no run where it is missing."""

    window: Window
    fate: Fate
    run: str = ""
    rows: int | None = None
    proof: str = ""


class Ledger(msgspec.Struct, frozen=True):
    """Entries in order of time; `gaps` are the closed spans without loaded rows, merged where they touch."""

    pipeline: str
    closed_until: datetime
    entries: tuple[Entry, ...]
    gaps: tuple[Window, ...]


def ledger(config: PipelineConfig, runs: Sequence[Run], now: datetime, *, within: Window | None = None) -> Ledger:
    """Describe every closed window of the schedule, and every run beyond it; `now` is the source's clock."""
    edge = closed_until(config, now)
    tiling = config.windows.tiling()
    newest = {run.window: run for run in sorted(runs, key=lambda run: run.id.number)}
    windows = {*tiles(tiling, edge), *newest}
    covered = [run.window for run in runs if run.status is RunStatus.COMPLETED]
    entries = [entry(window, newest.get(window), covered) for window in sorted(windows)]
    last = max([edge_of(tiling.start, entries), *(window.end for window in covered)])
    span = within or (Window(tiling.start, last) if last > tiling.start else None)
    return Ledger(
        config.pipeline_metadata.pipeline_name,
        edge,
        tuple(e for e in entries if within is None or e.window.overlaps(within)),
        tuple(gaps(covered, span)) if span else (),
    )


def edge_of(start: datetime, entries: Sequence[Entry]) -> datetime:
    """End of the last window that should be loaded by now."""
    return max((entry.window.end for entry in entries), default=start)


def entry(window: Window, run: Run | None, covered: Sequence[Window]) -> Entry:
    if run is None:
        missing = bool(gaps([other for other in covered if other.overlaps(window)], window))
        return Entry(window, Fate.MISSING if missing else Fate.LOADED)
    audit = run.phases.get(Phase.AUDIT)
    proof = str(audit.figures.get("validation_status", "")) if audit else ""
    return Entry(window, fate(run), run.name, run.manifest.rows if run.manifest.complete else None, proof)


def fate(run: Run) -> Fate:
    if run.status is RunStatus.FAILED and run.quarantined_at is not None:
        return Fate.QUARANTINED
    return Fate.LOADED if run.status is RunStatus.COMPLETED else Fate(run.status.value.lower())
