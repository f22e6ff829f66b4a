"""A worker on a search index with defaults wherever there are some, its claim held as in a real attempt.

Shared by the processes that are measured; started with `python -m`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

from service.app import opened
from service.bench import Bench
from service.config import parse_config
from service.lease import LeaseKeeper
from service.settings import PipelineConfig
from state.sqlite import SqliteDrive


def config_of(folder: Path, url: str, index: str, rows_per_part: int) -> PipelineConfig:
    """One window holds the whole index."""
    return parse_config(
        {
            "config_version": 1,
            "pipeline_metadata": {"pipeline_name": "flights", "owner_email": "team@example.com"},
            "windows": {"start": "2013-01-01T00:00:00Z", "end": "2014-01-01T00:00:00Z", "width": "365d"},
            "source_system": {
                "type": "elasticsearch",
                "endpoint": url,
                "index": index,
                "cursor": "time_hour",
                "key": ["_id"],
            },
            "stage_system": {"directory": str(folder / "stage")},
            "target_system": {
                "type": "duckdb",
                "database": str(folder / "warehouse.duckdb"),
                "table": "flights",
                "key": ["_id"],
            },
            "phases": {"source_to_stage_transfer": {"rows_per_part": rows_per_part}},
            "drive_table": {"path": str(folder / "drive.sqlite")},
            "limits": {"spool_directory": str(folder / "spool")},
        }
    )


@asynccontextmanager
async def attempt(config: PipelineConfig) -> AsyncIterator[Bench]:
    """The tools of a claimed run, its lease renewed meanwhile."""
    await SqliteDrive.init(config.drive_table.path)
    async with opened(config, lambda _event: None) as worker:
        await worker.open(await worker.repair())
        claim = await worker.drive.claim(worker.pipeline, worker.owner, worker.lease)
        assert claim is not None
        keeper = LeaseKeeper(worker.drive, worker.lease)
        keeping = asyncio.create_task(keeper.keep())
        async with keeper.hold(claim, time.monotonic()) as lease, aclosing(worker.connect()) as connector:
            tools = (connector, worker.loader, worker.drive, worker.spool, lease, worker.emit, worker.retry)
            yield Bench(config, *tools)
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
