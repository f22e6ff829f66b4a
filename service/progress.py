"""Listeners that tell a person what a worker does: progress bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from service.events import (
    CleaningFailed,
    Emit,
    Event,
    PartRead,
    PhaseRetried,
    PhaseStarted,
    RowsRead,
    RunClaimed,
    RunFailed,
    RunFenced,
    RunFinished,
    RunReleased,
    RunsRepaired,
    WindowsOpened,
)
from state.model import Phase


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
    """A listener that draws one bar of windows with the phase at hand and the rows read so far."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("windows  {task.fields[rows]:,} rows"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("looking for due windows", total=None, rows=0)
        rows = total = 0

        def hear(event: Event) -> None:
            nonlocal rows, total
            match event:
                case WindowsOpened(windows=windows):
                    total += len(windows)
                    progress.update(task, total=total)
                case PhaseStarted(run=run, phase=phase):
                    progress.update(task, description=f"{run.name} {phase}")
                case RowsRead(rows=more):
                    rows += more
                    progress.update(task, rows=rows)
                case RunFinished() | RunFailed():
                    progress.advance(task)
            if not isinstance(event, QUIET) and (text := sentence(event)):
                progress.console.print(text)

        yield hear


@contextmanager
def narrator(console: Console) -> Iterator[Emit]:
    """Bars on a terminal, lines elsewhere."""
    if console.is_terminal:
        with bars(console) as emit:
            yield emit
    else:
        yield plain(lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True))
