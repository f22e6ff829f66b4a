"""Commands that load: run, backfill, retry."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Annotated, Any, TypeVar

import typer

from service import exit_codes
from service.app import open_drive, opened
from service.cli.options import ConfigOption, FromOption, JsonOption, ToOption, instant, one_pipeline, span, the_run
from service.console import Console
from service.progress import narrator
from service.report import report
from service.settings import PipelineConfig
from service.tick import backfill_windows
from service.views import failure_panel, runs_table
from service.worker import Worker
from state.drive import Event
from state.errors import ConfigurationError
from state.model import Phase, Run, RunStatus, Window, show_instant

T = TypeVar("T")
SHOWN = 20
"""Windows listed one by one at the end of a run."""


def run(
    config: ConfigOption,
    window: Annotated[str | None, typer.Option(help="Only windows inside START/END (ISO 8601, UTC).")] = None,
    json: JsonOption = False,
) -> None:
    """Load all windows that are due, once. What was interrupted goes on where it stopped."""
    pipeline = one_pipeline(config)
    only = None if window is None else window_of(window)
    work_and_report(pipeline, lambda worker: worker.run_due(only), Console(json=json))


def backfill(config: ConfigOption, start: FromOption, end: ToOption, json: JsonOption = False) -> None:
    """Load a span again (or for the first time), window by window, whatever the ledger says of it."""
    pipeline = one_pipeline(config)
    windows = backfill_windows(pipeline, span(start, end))
    if not windows:
        raise ConfigurationError(
            f"no window of {pipeline.pipeline_metadata.pipeline_name} lies in that span",
            hint=f"Windows begin at {show_instant(pipeline.windows.tiling().start)} (windows.start).",
            path="--from",
        )
    work_and_report(pipeline, lambda worker: worker.backfill(windows), Console(json=json))


def retry(
    name: Annotated[str, typer.Argument(metavar="RUN", help="The run's pipeline_id.")],
    config: ConfigOption,
    from_phase: Annotated[Phase | None, typer.Option("--from", help="Go back to this phase.")] = None,
    json: JsonOption = False,
) -> None:
    """Let a failed run go on, from its failed phase or an earlier one. After a failed audit: as run N+1."""
    pipeline = one_pipeline(config)

    async def again(worker: Worker) -> list[Run]:
        failed = await the_run(worker.drive, name)
        loads = await worker.repair()
        floor = max((r.run.number for r in loads.receipts if r.run.window == failed.window), default=0)
        event = Event(
            await worker.drive.now(),
            worker.owner,
            "retry",
            failed.id.pipeline,
            name,
            {"from": from_phase.value if from_phase else None},
        )
        reopened = await worker.drive.reopen(failed.id, from_phase=from_phase, run_floor=floor, event=event)
        return await worker.run_these([reopened.id])

    work_and_report(pipeline, again, Console(json=json))


def window_of(text: str) -> Window:
    start, _, end = text.partition("/")
    return span(instant(start), instant(end))


def work_and_report(
    config: PipelineConfig, work: Callable[[Worker], Awaitable[list[Run]]], console: Console
) -> None:
    """Do `work` with a worker, say what happened, and leave with the exit code that fits."""

    async def go() -> tuple[list[Run], list[Run]]:
        with narrator(console.err) as emit:
            async with opened(config, emit) as worker:
                ended = await work(worker)
                return ended, await worker.drive.runs(worker.pipeline)

    ended, runs = until_told_to_stop(go())
    show_end(config, ended, runs, console)
    code = exit_codes.of_runs(ended)
    if code:
        raise typer.Exit(code)


def until_told_to_stop(work: Coroutine[Any, Any, T]) -> T:
    """Run `work`; SIGTERM and SIGINT cancel it once, so that runs are released with their progress."""

    async def guarded() -> T:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, task.cancel)
        return await task

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        raise typer.Exit(exit_codes.STOPPED) from None


def show_end(config: PipelineConfig, ended: Sequence[Run], runs: Sequence[Run], console: Console) -> None:
    """One table of what ended, the failures, and the next command."""
    unfinished = [run for run in runs if run.unfinished]
    if console.json:
        console.emit({"runs": [report(run, run.updated_at or run.created_at) for run in ended]})
        return
    if not ended:
        console.line("Nothing was due." if not unfinished else f"{len(unfinished)} runs are unfinished elsewhere.")
    else:
        ordered = sorted(ended, key=lambda run: (run.window, run.id.number))
        console.show(runs_table(ordered, SHOWN))
    for run in ended:
        if run.status is RunStatus.FAILED:
            console.show(failure_panel(report(run, run.updated_at or run.created_at)))
    console.line(f"Next: {next_command(ended)}")


def next_command(ended: Sequence[Run]) -> str:
    quarantined = [run for run in ended if run.quarantined_at is not None]
    if quarantined:
        return f"sluiceway show {quarantined[0].name}"
    if any(run.status is RunStatus.FAILED for run in ended):
        return "sluiceway run (failed runs go on by themselves when their time has come)"
    return f"sluiceway show {ended[-1].name}" if ended else "sluiceway windows"


async def look(config: PipelineConfig) -> list[Run]:
    """All runs of the pipeline."""
    drive = await open_drive(config)
    try:
        return await drive.runs(config.pipeline_metadata.pipeline_name)
    finally:
        await drive.aclose()
