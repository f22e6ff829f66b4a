"""Commands that load: run, backfill, retry. Each ends with one table, the failures, and the next command."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from service import exit_codes, views, views_of_run
from service.app import opened
from service.cli.options import same_config
from service.cli.pipelines import about, one_pipeline
from service.cli.stopping import until_told_to_stop
from service.console import Console
from service.events import Emit
from service.events import Event as Happening
from service.live import require_same_table, require_unchanged
from service.newest import require_newest
from service.progress import narrator
from service.report import described
from service.run_names import the_run
from service.settings import PipelineConfig
from service.tick import backfill_windows, closed_until, run_floor, run_floors
from service.worker import Worker
from state.drive import Event
from state.errors import ConfigurationError
from state.model import Phase, Run, RunStatus, Window, show_instant

if TYPE_CHECKING:
    from service.notify.courier import Courier

Work = Callable[[Worker], Awaitable[list[Run]]]
SHOWN = 20
"""Windows listed one by one at the end of a run."""
FAILURES_SHOWN = 3
"""Failures with a panel of their own; the others stand in the table."""
SETTLED = ("finished", "held", "superseded")
"""Codes of a refused reopening that say: somebody else has let the run go on meanwhile."""
LAST_WORDS_SECONDS = 10.0
"""How long a command that has ended waits until its notifications are sent."""


def run(config: Path, window: Window | None, *, json: bool) -> None:
    """Load what is due, once."""

    async def due(worker: Worker) -> list[Run]:
        if window is not None and worker.config.whole:
            await require_closed(worker, window, [window])
        loads = await worker.loads()
        await require_same_table(worker, loads)
        return await worker.run_due(window, loads)

    work_and_report(config, one_pipeline(config), due, json=json)


def backfill(config: Path, start: datetime, end: datetime, *, json: bool) -> None:
    """Load a span again. Raises `ConfigurationError` for a span without windows, or one that is not closed yet."""
    if start >= end:
        raise typer.BadParameter(
            f"{show_instant(end)} is not after --from {show_instant(start)}", param_hint="--to"
        )
    pipeline, span = one_pipeline(config), Window(start, end)
    windows = backfill_windows(pipeline, span)
    if not windows:
        raise ConfigurationError(
            f"no window lies in {span}",
            hint=f"Windows begin at {show_instant(pipeline.windows.start)} (windows.start).",
            code="no_window",
            path="--from",
        )

    async def again(worker: Worker) -> list[Run]:
        await require_closed(worker, span, windows)
        await recorded(worker, "backfill", str(span), {"windows": len(windows)})
        return await worker.backfill(windows)

    work_and_report(config, pipeline, again, json=json)


async def require_closed(worker: Worker, span: Window, windows: Sequence[Window]) -> None:
    """A window that is still open would be taken for loaded, and never be loaded whole; one that is old cannot be
    loaded in mode snapshot."""
    _, until = await worker.source_clock()
    edge = closed_until(worker.config, until)
    if span.end > edge:
        raise ConfigurationError(
            f"{span} is not closed yet: rows may still come",
            hint=f"Windows are closed up to {show_instant(edge)}; end the span there or earlier.",
            code="not_closed",
            path="--to",
        )
    require_newest(worker.config, windows, edge)


def retry(config: Path, name: str, phase: Phase | None, *, json: bool) -> None:
    """Let a failed run go on."""

    async def again(worker: Worker) -> list[Run]:
        failed = await the_run(worker.drive, worker.pipeline, name)
        loads = await worker.repair()
        event = await action(worker, "retry", failed.name, {"from": phase and phase.value})
        floor = run_floor(loads, failed.window)
        reopened = await worker.drive.reopen(failed.id, from_phase=phase, run_floor=floor, event=event)
        return await worker.run_these([reopened.id])

    work_and_report(config, one_pipeline(config), again, json=json)


def retry_all(config: Path, phase: Phase | None, code: str | None, *, json: bool) -> None:
    """Let every run that waits for an operator go on; with a `code`, those that failed with it.

    Raises `ConfigurationError` if runs wait but none failed with the code.
    """

    async def again(worker: Worker) -> list[Run]:
        floors = run_floors(await worker.repair())
        details = {"from": phase and phase.value, "code": code}
        reopened = []
        for failed in those_that_wait(await worker.unfinished(), code):
            event = await action(worker, "retry", failed.name, details)
            floor = floors.get(failed.window, 0)
            try:
                run = await worker.drive.reopen(failed.id, from_phase=phase, run_floor=floor, event=event)
            except ConfigurationError as error:
                if error.code not in SETTLED:
                    raise
            else:
                reopened.append(run.id)
        return await worker.run_these(reopened)

    work_and_report(config, one_pipeline(config), again, json=json)


def those_that_wait(runs: Sequence[Run], code: str | None) -> list[Run]:
    """Quarantined runs, by window; of one code if given. Raises `ConfigurationError` if there are only others."""
    waiting = [run for run in runs if run.unfinished and run.quarantined_at is not None]
    codes = {run.failure.code if run.failure else "" for run in waiting}
    if code is not None and waiting and code not in codes:
        raise ConfigurationError(
            f"no run that waits for an operator failed with the code {code}",
            hint=f"They failed with: {', '.join(sorted(codes))}.",
            code="unknown_runs",
            path="--code",
        )
    return [run for run in waiting if code is None or (run.failure and run.failure.code == code)]


async def recorded(worker: Worker, name: str, subject: str, details: Mapping[str, Any]) -> None:
    """Write down what an operator is about to do."""
    await worker.drive.record(await action(worker, name, subject, details))


async def action(worker: Worker, name: str, subject: str, details: Mapping[str, Any]) -> Event:
    return Event(await worker.drive.now(), worker.owner, name, worker.pipeline, subject, details)


def work_and_report(config: Path, pipeline: PipelineConfig, work: Work, *, json: bool) -> None:
    """Do `work` with a worker, say what happened, and leave with the exit code that fits."""
    console = Console(json=json)

    async def go() -> tuple[list[Run], list[Run]]:
        with narrator(console.err) as emit:
            async with (
                notifying(pipeline, same_config(config), console.note) as courier,
                opened(pipeline, emit if courier is None else both(emit, courier.hear)) as worker,
            ):
                await require_unchanged(worker)
                if courier is not None:
                    courier.know(await worker.unfinished(), await worker.drive.now())
                ended = await work(worker)
                return ended, await worker.unfinished()

    with about(pipeline):
        ends, waiting = until_told_to_stop(go(), console)
    ended = exit_codes.as_left(ends)
    show_end(console, sorted(ended, key=lambda run: (run.window, run.id.number)), waiting, same_config(config))
    if code := exit_codes.of_runs(ended):
        raise typer.Exit(code)


@asynccontextmanager
async def notifying(
    pipeline: PipelineConfig, same: str, note: Callable[[str], None]
) -> AsyncIterator[Courier | None]:
    """Whoever carries notifications while a command works; None if nobody is to be told."""
    told = pipeline.pipeline_metadata.notifications
    if not told.channels:
        yield None
        return
    from service.notify.courier import Courier, carrying  # noqa: PLC0415 its libraries only where they are used

    courier = Courier(lambda _pipeline: told, same_config=lambda _pipeline: same, note=note)
    async with carrying(courier, LAST_WORDS_SECONDS):
        yield courier


def both(first: Emit, second: Emit) -> Emit:
    """A listener that tells two."""

    def hear(event: Happening) -> None:
        first(event)
        second(event)

    return hear


def show_end(console: Console, ended: Sequence[Run], runs: Sequence[Run], same: str) -> None:
    """One table of what ended, the failures, and the next command."""
    command = next_command(ended, runs) + same
    if console.json:
        console.emit({"runs": [described(run, same) for run in ended], "next": command})
        return
    if ended:
        console.show(views.runs_table(ended, console.out.width, SHOWN))
    else:
        console.line(nothing_done(runs))
    failed = [run for run in ended if run.status is RunStatus.FAILED]
    for run in failed[:FAILURES_SHOWN]:
        console.show(views_of_run.failure_panel(described(run, same), console.out.width))
    console.line(f"Next: {command}")


def nothing_done(runs: Sequence[Run]) -> str:
    """Why no run ended in this call."""
    waiting = [run for run in runs if run.unfinished]
    if not waiting:
        return "Nothing is due."
    quarantined = sum(run.quarantined_at is not None for run in waiting)
    later = sum(run.status is RunStatus.FAILED and run.quarantined_at is None for run in waiting)
    elsewhere = len(waiting) - quarantined - later
    counts = (
        (quarantined, "waiting for an operator"),
        (later, "waiting for a next attempt"),
        (elsewhere, "in the hands of another worker, or waiting for older windows"),
    )
    said = ", ".join(f"{count} {what}" for count, what in counts if count)
    return f"Nothing could be done now; unfinished runs: {said}."


def next_command(ended: Sequence[Run], runs: Sequence[Run]) -> str:
    """What a person types next: look at what waits for them, go on, or see the ledger."""
    quarantined = [run for run in (*ended, *runs) if run.unfinished and run.quarantined_at is not None]
    if quarantined:
        return f"sluiceway show {quarantined[0].name}"
    return "sluiceway run" if any(run.unfinished for run in runs) else "sluiceway windows"
