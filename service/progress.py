"""Listeners that tell a person what a worker does: progress bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column

from service.console import WIDE_COLUMNS
from service.events import (
    CleaningFailed,
    Emit,
    Event,
    PartRead,
    PhaseRetried,
    PhaseStarted,
    RowsRead,
    RowsSetAside,
    RunClaimed,
    RunFailed,
    RunFenced,
    RunFinished,
    RunLeft,
    RunReleased,
    RunsRepaired,
    TargetCleaned,
    WindowsOpened,
)
from state.model import Phase, Window, show_instant


def sentence(event: Event) -> str:
    """What an event says to a person; empty for those that only move a bar."""
    match event:
        case WindowsOpened(pipeline=pipeline, windows=windows):
            return f"{pipeline}: {len(windows)} windows opened, from {windows[0]} to {windows[-1]}"
        case RunsRepaired(pipeline=pipeline, runs=runs):
            return f"{pipeline}: {len(runs)} runs taken over from the target's receipts"
        case RunClaimed(run=run, continues_at=phase) if phase is not Phase.STALE_PIPELINE_HANDLING:
            read = sum(part.is_read for part in run.manifest.parts)
            return f"{run.name}: goes on at {phase} (attempt {run.attempts}, {read} parts already read)"
        case PartRead(run=run, part=part, done=done, total=total) if total > 1:
            return f"{run.name}: part {done} of {total} read, {part.rows:,} rows"
        case PhaseRetried(run=run, phase=phase, tries=tries, wait=wait, message=message):
            return f"{run.name}: {phase}, try {tries} failed: {message}; next in {wait.total_seconds():.1f} s"
        case CleaningFailed(run=run, phase=phase, message=message):
            return f"{run.name}: {phase} left something behind: {message}"
        case TargetCleaned(run=run, found=found, before=before, dry_run=dry_run):
            rows = f"{found.matching:,} of {found.total:,} target rows, older than {show_instant(before)}"
            return f"{run.name}: " + (f"would remove {rows} (dry run)" if dry_run else f"removed {rows}")
        case RowsSetAside(run=run, rows=rows, loaded=loaded):
            return f"{run.name}: {rows:,} rows set aside, {loaded:,} loaded"
    return ending(event)


def ending(event: Event) -> str:
    """The sentences about how an attempt ended."""
    match event:
        case RunFinished(run=run):
            return f"{run.name}: {run.status.value}, {run.manifest.rows:,} rows"
        case RunFailed(run=run, failure=failure):
            return f"{run.name}: {run.status.value} in {failure.phase}: {failure.message}"
        case RunReleased(run=run):
            return f"{run.name}: stopped; its progress is kept"
        case RunFenced(run=run, message=message):
            return f"{run.name}: given up to another worker: {message}"
        case RunLeft(run=run, message=message):
            return f"{run.name}: left as it is until its lease ends, for the drive table cannot be told: {message}"
    return ""


def plain(line: Callable[[str], None]) -> Emit:
    """A listener that writes each sentence as a line."""

    def hear(event: Event) -> None:
        if text := sentence(event):
            line(text)

    return hear


QUIET = (RunFinished, PartRead)
"""Events that the bars show by moving."""


@contextmanager
def bars(console: Console) -> Iterator[Emit]:
    """A listener that draws one bar of windows with the run and phase at hand and the rows read so far."""
    with Progress(*columns(console.width), console=console, transient=True, expand=True) as progress:
        tally, task = Tally(), progress.add_task("looking for windows that are due", total=None, rows=0)

        def hear(event: Event) -> None:
            tally.count(event)
            if isinstance(event, PhaseStarted):
                progress.update(task, description=f"{event.run.name} {event.phase}")
            progress.update(task, total=tally.total, completed=len(tally.ended), rows=tally.rows)
            if not isinstance(event, QUIET) and (text := sentence(event)):
                progress.console.print(text, markup=False, highlight=False, emoji=False)

        yield hear


@dataclass
class Tally:
    """Windows begun and ended, however many attempts each took, and the rows read."""

    opened: set[Window] = field(default_factory=set)
    begun: set[Window] = field(default_factory=set)
    ended: set[Window] = field(default_factory=set)
    rows: int = 0

    @property
    def total(self) -> int | None:
        """How many windows there are; None once there are some that an earlier command opened."""
        return (len(self.opened) or None) if self.begun <= self.opened else None

    def count(self, event: Event) -> None:
        match event:
            case WindowsOpened(windows=windows):
                self.opened.update(windows)
            case RunClaimed(run=run):
                self.begun.add(run.window)
            case RowsRead(rows=rows):
                self.rows += rows
            case RunFinished(run=run) | RunFailed(run=run):
                self.ended.add(run.window)


def columns(width: int) -> list[ProgressColumn]:
    """The parts of the bar that fit: the text gives way first, then the bar is left out."""
    text = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    shown: list[ProgressColumn] = [
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False, table_column=text),
    ]
    if width >= WIDE_COLUMNS:
        shown.append(BarColumn(bar_width=20))
    fixed = Column(no_wrap=True)
    counts = TextColumn("windows {task.fields[rows]:,} rows", markup=False, table_column=fixed)
    return [*shown, MofNCompleteColumn(), counts, TimeElapsedColumn()]


@contextmanager
def narrator(console: Console) -> Iterator[Emit]:
    """Bars on a terminal that can draw them, lines elsewhere."""
    if console.is_terminal and not console.is_dumb_terminal:
        with bars(console) as emit:
            yield emit
    else:
        yield plain(lambda text: console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True))
