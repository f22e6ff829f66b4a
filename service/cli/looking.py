"""Commands that only look: doctor, plan, windows, show. None of them writes anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import typer

from connectors.base import Connector
from service import exit_codes, views, views_of_run
from service.app import connect, drive_of, drive_to_look, target_of
from service.cli.options import same_config
from service.cli.pipelines import about, one_pipeline
from service.config import validate_config
from service.console import Console
from service.doctor import checkup
from service.instants import FIRST, LAST
from service.ledger import ledger
from service.planning import Planned
from service.planning import plan as planned_windows
from service.report import described
from service.run_names import the_run
from service.settings import PipelineConfig
from service.tick import proven
from state.checks import Check
from state.errors import TransientError
from state.memory import MemoryDrive
from state.model import Run, Window
from state.summary import Summary

T = TypeVar("T")


def doctor(config: Path, *, json: bool) -> None:
    """Every check of a pipeline. Exits with `FAILED` unless all pass."""
    pipeline = one_pipeline(config)
    checks = [configuration_check(config), *asyncio.run(checkup(pipeline))]
    console = Console(json=json)
    failed = sum(not check.ok for check in checks)
    if json:
        console.emit({"ok": not failed, "checks": checks})
    else:
        console.show(views.checks_table(checks))
        console.line(f"{failed} of {len(checks)} checks failed" if failed else f"all {len(checks)} checks passed")
        told = same_config(config)
        console.line(
            f"Next: mend what failed, then sluiceway doctor{told}" if failed else f"Next: sluiceway run{told}"
        )
    if failed:
        raise typer.Exit(exit_codes.FAILED)


def configuration_check(config: Path) -> Check:
    """What `validate` says of a configuration that could be read: its warnings, which do not fail it."""
    warnings = [f"{problem.path}: {problem.message}" for problem in validate_config(config)]
    return Check("configuration", True, "; ".join(warnings) or "valid, without warnings")


def plan(config: Path, limit: int, *, json: bool) -> None:
    """What would run now."""
    pipeline = one_pipeline(config)
    with about(pipeline):
        planned = asyncio.run(looked_ahead(pipeline, limit))
    console = Console(json=json)
    if json:
        console.emit({"windows": planned})
    elif not planned:
        console.line("Nothing is due.")
    else:
        console.show(views.plan_table(planned, console.out.width))
        console.line(f"Next: sluiceway run{same_config(config)}")


async def looked_ahead(config: PipelineConfig, limit: int) -> list[Planned]:
    """The plan, with what the target already proves taken into account, as `run` does."""
    async with target_of(config) as sink:
        loads = await sink.loads(config.pipeline_metadata.pipeline_name)
    copy = MemoryDrive()
    for run in await all_runs(config):
        copy.rows.put(run)
    await copy.adopt(config.pipeline_metadata.pipeline_name, proven(loads), loads.highest_token)
    async with aclosing(connect(config)) as source:
        until = await readable(source)
        return await planned_windows(config, await copy.runs(), source, until, limit)


async def all_runs(config: PipelineConfig) -> list[Run]:
    """The pipeline's runs; none where no drive table was made yet."""
    async with drive_to_look(config) as drive:
        return await drive.runs(config.pipeline_metadata.pipeline_name)


def windows(config: Path, start: datetime | None, end: datetime | None, *, json: bool) -> None:
    """The ledger, whole or inside a span."""
    pipeline = one_pipeline(config)
    console = Console(json=json)
    with about(pipeline):
        runs, now = asyncio.run(runs_and_clock(pipeline, span_of(start, end), console.note))
    shown = ledger(pipeline, runs, now, within=span_within(pipeline, runs, now, start, end))
    if json:
        console.emit(shown)
    else:
        console.show(views.ledger_table(shown, console.out.width))


def span_within(
    config: PipelineConfig, runs: Sequence[Summary], now: datetime, start: datetime | None, end: datetime | None
) -> Window | None:
    """The asked span, open ends filled from what the ledger can hold. Raises `typer.BadParameter`."""
    if start is None and end is None:
        return None
    first = start or min([config.windows.start, *(run.window.start for run in runs)])
    last = end or max([now, *(run.window.end for run in runs)])
    if first >= last:
        raise typer.BadParameter("nothing lies in that span", param_hint="--from" if start else "--to")
    return Window(first, last)


def span_of(start: datetime | None, end: datetime | None) -> Window | None:
    """What runs can lie in; None for all of time. Raises `typer.BadParameter`."""
    if start is None and end is None:
        return None
    if (start or FIRST) >= (end or LAST):
        raise typer.BadParameter("nothing lies in that span", param_hint="--to")
    return Window(start or FIRST, end or LAST)


async def runs_and_clock(
    config: PipelineConfig, within: Window | None, note: Callable[[str], None]
) -> tuple[list[Summary], datetime]:
    """Runs, and until when the source is readable; the drive table's clock where the source does not answer."""
    async with drive_to_look(config) as drive:
        runs = await drive.summaries(config.pipeline_metadata.pipeline_name, within=within)
        try:
            return runs, await asked(config, readable)
        except TransientError as error:
            note(f"the source does not tell its time ({error.message}): the drive table's is used")
            return runs, await drive.now()


async def readable(source: Connector) -> datetime:
    """The instant up to which windows are closed: one that is held back is not one that is missing."""
    return await source.readable_until(await source.now())


async def asked(config: PipelineConfig, question: Callable[[Connector], Awaitable[T]]) -> T:
    """What the source answers."""
    async with aclosing(connect(config)) as source:
        return await question(source)


def show(config: Path, name: str, *, json: bool) -> None:
    """One run."""
    pipeline = one_pipeline(config)
    with about(pipeline):
        found = asyncio.run(found_run(pipeline, name))
    console, told = Console(json=json), described(found, same_config(config))
    if json:
        console.emit(told)
    else:
        console.show(views_of_run.run_report(told, console.out.width))


async def found_run(config: PipelineConfig, name: str) -> Run:
    async with drive_of(config) as drive:
        return await the_run(drive, config.pipeline_metadata.pipeline_name, name)
