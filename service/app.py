"""Puts a pipeline's parts together: settings in, an opened `Worker` out. Everything opened here is closed here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from connectors.base import Connector
from connectors.registry import connector
from loaders.base import Loader
from loaders.registry import loader
from loaders.spool import Spool
from service.events import Emit
from service.settings import PipelineConfig
from service.worker import Worker
from state.drive import DriveTable
from state.memory import MemoryDrive
from state.owner import owner_name
from state.port import Port, direct
from state.sqlite import SqliteDrive


async def open_drive(config: PipelineConfig, port: Port = direct) -> DriveTable:
    """The configured drive table. Raises `ConfigurationError` if it was not initialised."""
    if config.drive_table.type == "memory":
        return MemoryDrive(port=port)
    return await SqliteDrive.open(config.drive_table.path, port=port)


async def open_drive_to_look(config: PipelineConfig) -> DriveTable:
    """The drive table, or an empty one in memory where none was made yet: for commands that write nothing."""
    return await open_drive(config) if config.drive_table.path.exists() else MemoryDrive()


def connect(config: PipelineConfig, port: Port = direct) -> Connector:
    """A connector for one attempt."""
    return connector(config.source_system, port)


def target(config: PipelineConfig, port: Port = direct) -> Loader:
    """The loader of the configured target and stage."""
    return loader(
        config.target_system,
        config.stage_system,
        pipeline=config.pipeline_metadata.pipeline_name,
        cursor=config.source_system.cursor,
        port=port,
    )


def spool_directory(config: PipelineConfig) -> Path:
    """Each pipeline has a spool folder of its own: one process at a time holds it."""
    return config.limits.spool_directory / config.pipeline_metadata.pipeline_name


@asynccontextmanager
async def opened(config: PipelineConfig, emit: Emit, port: Port = direct) -> AsyncIterator[Worker]:
    """A worker with its drive table, loader and spool open. Raises `ConfigurationError`, `TransientError`."""
    spool = Spool(spool_directory(config), config.limits.spool_quota_bytes, port)
    async with aclosing(await open_drive(config, port)) as drive, aclosing(target(config, port)) as sink:
        spool.open()
        try:
            yield Worker(config, lambda: connect(config, port), sink, drive, spool, emit, owner_name())
        finally:
            spool.close()
