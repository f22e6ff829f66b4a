"""Puts a pipeline's parts together: settings in, an opened `Worker` out. Everything opened here is closed here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from connectors import registry as connectors
from connectors.base import Connector
from loaders import registry as loaders
from loaders.base import Loader
from loaders.spool import Spool
from service.events import Emit
from service.settings import PipelineConfig
from service.worker import Worker
from state.drive import DriveTable
from state.memory import MemoryDrive
from state.owner import owner_name
from state.port import Port, direct
from state.registry import backend
from state.sqlite.settings import LocalDriveSettings

if TYPE_CHECKING:
    from state.snowflake.session import Account


@asynccontextmanager
async def account_of(
    config: PipelineConfig, port: Port = direct, hear: Callable[[str, str], None] | None = None
) -> AsyncIterator[Account | None]:
    """The Snowflake account of a configuration, not yet logged in; None if it has none.

    `hear` is told of every statement: its first word, and what became of it.
    """
    if config.snowflake_connection is None:
        yield None
        return
    from state.snowflake.session import Account  # noqa: PLC0415 its library only where it is used
    from state.snowflake.statements import deaf  # noqa: PLC0415

    async with aclosing(Account(config.snowflake_connection, port=port, hear=hear or deaf)) as account:
        yield account


@asynccontextmanager
async def drive_of(config: PipelineConfig, port: Port = direct) -> AsyncIterator[DriveTable]:
    """The configured drive table. Raises `ConfigurationError` if it was not initialised."""
    async with (
        account_of(config, port) as account,
        aclosing(await backend(config.drive_table, account).open(port=port)) as drive,
    ):
        yield drive


@asynccontextmanager
async def drive_to_look(config: PipelineConfig) -> AsyncIterator[DriveTable]:
    """The drive table, or an empty one where its file was not made yet: for commands that write nothing."""
    if isinstance(config.drive_table, LocalDriveSettings) and not config.drive_table.path.exists():
        yield MemoryDrive()
        return
    async with drive_of(config) as drive:
        yield drive


def load(config: PipelineConfig) -> None:
    """Import what the source and the target need. Blocks up to a second: call it in a thread."""
    connectors.load(config.source_system)
    loaders.load(config.target_system)


def connect(config: PipelineConfig, port: Port = direct) -> Connector:
    """A connector for one attempt."""
    return connectors.connector(config.source_system, port)


def target(
    config: PipelineConfig,
    account: Account | None,
    port: Port = direct,
    *,
    alone: Callable[[], bool] = lambda: False,
) -> Loader:
    """The loader of the configured target and stage. `alone()`: no user's function may open the target now."""
    return loaders.loader(
        config.target_system,
        config.stage_system,
        account,
        pipeline=config.pipeline_metadata.pipeline_name,
        cursor=config.source_system.cursor,
        port=port,
        alone=alone,
    )


@asynccontextmanager
async def target_of(config: PipelineConfig) -> AsyncIterator[Loader]:
    """The loader, for commands that only look."""
    async with account_of(config) as account, aclosing(target(config, account)) as sink:
        yield sink


def spool_directory(config: PipelineConfig) -> Path:
    """Each pipeline has a spool folder of its own: one process at a time holds it."""
    return config.limits.spool_directory / config.pipeline_metadata.pipeline_name


@asynccontextmanager
async def opened(
    config: PipelineConfig, emit: Emit, port: Port = direct, *, alone: bool = False
) -> AsyncIterator[Worker]:
    """A worker with its drive table, loader and spool open. `alone`: nothing else here opens the target meanwhile.
    Raises `ConfigurationError`, `TransientError`."""
    spool = Spool(spool_directory(config), config.limits.spool_quota_bytes, port)
    async with account_of(config, port) as account:
        kept = backend(config.drive_table, account)
        async with (
            aclosing(await kept.open(port=port)) as drive,
            aclosing(target(config, account, port, alone=lambda: alone)) as sink,
        ):
            spool.open()
            try:
                yield Worker(config, lambda: connect(config, port), sink, drive, spool, emit, owner_name())
            finally:
                spool.close()
