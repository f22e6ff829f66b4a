"""What would run now: windows, parts and rows, by looking only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from connectors.base import Connector
from service.settings import PipelineConfig
from service.tick import due_windows
from state.model import Run, RunStatus, Window


class Planned(msgspec.Struct, frozen=True):
    """A window that would run. `run`: the unfinished run it continues. `rows`: the source's live count."""

    window: Window
    run: str
    parts: int
    rows: int | None


async def plan(
    config: PipelineConfig, runs: Sequence[Run], connector: Connector, now: datetime, limit: int
) -> list[Planned]:
    """Unfinished runs that may go on and windows that are due, oldest first, `limit` at most."""
    waiting = [run for run in runs if run.unfinished and run.quarantined_at is None]
    names = {run.window: run.name for run in waiting if run.status is not RunStatus.RUNNING}
    windows = sorted([*names, *due_windows(config, runs, now, limit)])[:limit]
    return [await planned(config, connector, window, names.get(window, "")) for window in windows]


async def planned(config: PipelineConfig, connector: Connector, window: Window, run: str) -> Planned:
    lookback = timedelta(seconds=config.windows.lookback_seconds)
    span = Window(window.start - lookback, window.end)
    if config.whole:
        return Planned(window, run, 1, await connector.count(None))
    parts = await connector.plan(span, config.phases.source_to_stage_transfer.rows_per_part)
    return Planned(window, run, len(parts), await connector.count(span))
