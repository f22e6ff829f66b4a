"""The ledger of a pipeline: its windows in order, what became of each, and the gaps between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from service.settings import PipelineConfig
from service.tick import closed_until
from state.model import Run, RunStatus, Window
from state.summary import Summary
from state.windows import floor, gaps, newest, reaches_into, tiles


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
    why: str = ""
    """Why it is skipped though nobody skipped a run of it."""


class Ledger(msgspec.Struct, frozen=True):
    """Entries in order of time; `gaps` are the closed spans without loaded rows, merged where they touch."""

    pipeline: str
    closed_until: datetime
    entries: tuple[Entry, ...]
    gaps: tuple[Window, ...]


def ledger(
    config: PipelineConfig, runs: Sequence[Summary], now: datetime, *, within: Window | None = None
) -> Ledger:
    """Describe every closed window of the schedule, and every run beyond it; `now` is the source's clock."""
    edge = closed_until(config, now)
    latest = {run.window: run for run in sorted(runs, key=lambda run: run.id.number)}
    windows = sorted({*tiled(config, edge, within), *latest})
    passed = passed_over(config, edge, windows) - latest.keys()
    covered = [*(run.window for run in runs if run.status is RunStatus.COMPLETED), *passed]
    holes = gaps(covered, Window(windows[0].start, max(window.end for window in windows))) if windows else []
    span = since_start(config, windows) if within is None else so_far(within, edge, windows)
    return Ledger(
        config.pipeline_metadata.pipeline_name,
        edge,
        tuple(
            never_begun(window) if window in passed else entry(window, latest.get(window), holes)
            for window in windows
            if within is None or window.overlaps(within)
        ),
        tuple(gaps(covered, span)) if span else (),
    )


def tiled(config: PipelineConfig, edge: datetime, within: Window | None) -> Iterator[Window]:
    """The closed windows of the schedule; of a long history, only those that `within` may reach into."""
    tiling = config.windows.tiling()
    if within is None:
        return tiles(tiling, edge)
    return tiles(tiling, min(edge, within.end), after=floor(tiling, max(tiling.start, within.start)))


def so_far(within: Window, edge: datetime, windows: Sequence[Window]) -> Window | None:
    """`within` as far as it is closed, or was loaded before: what comes later is no gap."""
    last = max((window.end for window in windows), default=edge)
    end = min(within.end, max(edge, last))
    return Window(within.start, end) if end > within.start else None


def since_start(config: PipelineConfig, windows: Sequence[Window]) -> Window | None:
    """From the start of the schedule to the end of the last window; None if nothing is to be loaded yet."""
    start = config.windows.tiling().start
    last = max((window.end for window in windows), default=start)
    return Window(start, last) if last > start else None


def entry(window: Window, run: Summary | None, holes: Sequence[Window]) -> Entry:
    """What became of `window`; without a run of its own, runs over other spans may have loaded it all the same."""
    if run is None:
        return Entry(window, Fate.MISSING if reaches_into(holes, window) else Fate.LOADED)
    return Entry(window, fate(run), run.name, run.rows, run.proof)


def passed_over(config: PipelineConfig, edge: datetime, windows: Iterable[Window]) -> set[Window]:
    """Windows that nobody begins any more: each run loads the table whole, and a later window is closed."""
    last = newest(config.windows.tiling(), edge) if config.whole else None
    return set() if last is None else {window for window in windows if window.end < last.end}


def never_begun(window: Window) -> Entry:
    """Such a window; nothing is lost with it, so it is no gap."""
    return Entry(window, Fate.SKIPPED, why="superseded: only the newest window is loaded")


def fate(run: Run | Summary) -> Fate:
    if run.status is RunStatus.FAILED and run.quarantined_at is not None:
        return Fate.QUARANTINED
    return Fate.LOADED if run.status is RunStatus.COMPLETED else Fate(run.status.value.lower())
