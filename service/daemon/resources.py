"""What the pipelines of one process share: accounts, drive tables, lease keepers. Opened once, closed together.

Two pipelines share an account or a drive table if their settings of it are the same. So a login is one login, the
statements of a drive table have one queue, and all leases of a process are renewed by one statement.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from loaders.spool import Quota, Spool
from service.app import account_of, connect, spool_directory, target
from service.daemon.supervisor import Supervisor
from service.events import Emit
from service.lease import LeaseKeeper
from service.settings import PipelineConfig
from service.worker import Worker
from state.drive import DriveTable
from state.owner import owner_name
from state.port import Port, direct
from state.registry import backend

if TYPE_CHECKING:
    from state.snowflake.session import Account


Hear = Callable[[str, str], None]
"""Told of every statement to Snowflake: its first word, and what became of it."""


@dataclass(frozen=True)
class Place:
    """A drive table with the keepers of its leases, by their length in seconds."""

    drive: DriveTable
    keepers: dict[float, LeaseKeeper]


class Resources:
    """Use as a context manager; everything is closed at its end. `quota`: what all spools may hold together.

    `alone()`: no pipeline has a user's function, which might open a target that is a file.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        emit: Emit,
        quota: Quota,
        port: Port = direct,
        hear: Hear | None = None,
        *,
        alone: Callable[[], bool] = lambda: False,
    ) -> None:
        self._supervisor = supervisor
        self._emit = emit
        self._quota = quota
        self._port = port
        self._hear = hear
        self._alone = alone
        self._owner = owner_name()
        self._accounts: dict[str, Account] = {}
        self._places: dict[str, Place] = {}
        self._opening: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Resources:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._stack.aclose()

    @property
    def leases_held(self) -> int:
        """Runs that this process owns now."""
        return sum(keeper.held for place in self._places.values() for keeper in place.keepers.values())

    @asynccontextmanager
    async def attended(
        self, config: PipelineConfig, stopping: Callable[[], bool]
    ) -> AsyncIterator[tuple[Worker, LeaseKeeper]]:
        """A worker of one pipeline on what is shared, and who renews its leases.

        Raises `ConfigurationError`, `TransientError`.
        """
        account = await self._account(config)
        place = await self._place(config, account)
        keeper = self._keeper(place, config)
        async with aclosing(target(config, account, self._port, alone=self._alone)) as sink:
            with self._spool(config) as spool:
                yield (
                    Worker(
                        config,
                        lambda: connect(config, self._port),
                        sink,
                        place.drive,
                        spool,
                        self._emit,
                        self._owner,
                        stopping,
                    ),
                    keeper,
                )

    async def _account(self, config: PipelineConfig) -> Account | None:
        if config.snowflake_connection is None:
            return None
        name = config.snowflake_connection.model_dump_json()
        async with self._opening[name]:  # each has its own: one that does not answer keeps nobody else waiting
            if name not in self._accounts:
                account = await self._stack.enter_async_context(account_of(config, self._port, self._hear))
                assert account is not None  # it has settings
                self._accounts[name] = account
        return self._accounts[name]

    async def _place(self, config: PipelineConfig, account: Account | None) -> Place:
        connection = config.snowflake_connection
        on_account = connection.model_dump_json() if connection and config.drive_table.type == "snowflake" else ""
        name = config.drive_table.model_dump_json() + on_account
        async with self._opening[name]:
            if name not in self._places:
                drive = await backend(config.drive_table, account).open(port=self._port)
                await self._stack.enter_async_context(aclosing(drive))
                self._places[name] = Place(drive, {})
        return self._places[name]

    def _keeper(self, place: Place, config: PipelineConfig) -> LeaseKeeper:
        seconds = config.lease_seconds
        if seconds not in place.keepers:
            keeper = LeaseKeeper(place.drive, timedelta(seconds=seconds))
            self._supervisor.keep(f"lease-keeper-{len(self._places)}-{seconds:g}s", keeper.keep())
            place.keepers[seconds] = keeper
        return place.keepers[seconds]

    @contextmanager
    def _spool(self, config: PipelineConfig) -> Iterator[Spool]:
        spool = Spool(spool_directory(config), config.limits.spool_quota_bytes, self._port, shared=self._quota)
        spool.open()
        try:
            yield spool
        finally:
            spool.close()
