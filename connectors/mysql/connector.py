"""The connector for MySQL and MariaDB: `connectors.base.Connector` over one transaction for each part.

One object serves one attempt: its connections, its contract, and the columns as they were declared at first, which
each snapshot compares again. Once a snapshot has counted, the server lets nobody alter the table until it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from connectors.cursor import MICROSECOND
from connectors.mysql.bounds import readable_until
from connectors.mysql.checks import Checkup
from connectors.mysql.explaining import require_no_scan
from connectors.mysql.planning import parts
from connectors.mysql.pool import Pool
from connectors.mysql.session import Session
from connectors.mysql.settings import MysqlSettings
from connectors.mysql.snapshot import MysqlSnapshot, Opened
from connectors.mysql.source import Source, absent, examine, require_same
from state.checks import Check
from state.contract import Contract
from state.model import SnapshotKind, Window
from state.port import Port, direct


class MysqlConnector:
    """A table or view as a source of rows."""

    def __init__(self, settings: MysqlSettings, port: Port = direct) -> None:
        self._settings = settings
        self._port = port
        self._pool = Pool(settings)
        self._finding_out = asyncio.Lock()
        self._source: Source | None = None

    async def check(self) -> Sequence[Check]:
        """Server, session, privileges, table, cursor with its index, and rows without a cursor."""
        return await Checkup(self._settings, self._pool, self._examined).look()

    async def contract(self) -> Contract:
        """Columns from `information_schema`; asked once. See `connectors.base.Connector`."""
        return (await self._examined()).chosen.contract

    async def plan(self, span: Window, rows_per_part: int) -> Sequence[Window]:
        """See `Connector.plan`. Counted over the index of the cursor, at most twice for each row."""
        source = await self._examined()
        statements = source.chosen.statements
        with self._port("source.plan"):
            async with self._pool.questions() as session:

                async def cells(inner: Window, width: int) -> Mapping[int, int]:
                    found = await session.rows("counting", statements.cells(inner, width))
                    return {int(cell): int(rows) for cell, rows in found}

                await require_no_scan(session, self._settings, statements.count(span))
                await absent(session, self._settings, source)
                rows = await session.one("counting", statements.count(span))
                finest = statements.cursor.unit // MICROSECOND
                return await parts(span, rows, rows_per_part, cells, finest=finest)

    @asynccontextmanager
    async def open(self, span: Window | None) -> AsyncIterator[MysqlSnapshot]:
        """See `Connector.open`. Raises `RestartAttempt` if the table was altered, `ContractError` for rows without
        a cursor, unless they are left out."""
        source = await self._examined()
        async with self._pool.parts() as session:
            with self._port("source.open"):
                opened = await self._opened(session, source, span)
            yield MysqlSnapshot(self._settings, session, source.chosen, span, opened=opened, port=self._port)
            with self._port("source.close"):
                await session.end()

    async def count(self, span: Window | None) -> int:
        """Rows of the range, or of the whole table, now, outside any snapshot."""
        source = await self._examined()
        with self._port("source.live_count"):
            async with self._pool.questions() as session:
                return await session.one("counting", source.chosen.statements.count(span))

    async def now(self) -> datetime:
        """The server's clock."""
        with self._port("source.clock"):
            async with self._pool.questions() as session:
                return await session.clock()

    async def readable_until(self, now: datetime) -> datetime:
        """The server's clock, held back by what the settings say; see `bounds`."""
        if not (self._settings.replica or self._settings.hold_back_open_transactions):
            return now
        with self._port("source.clock"):
            async with self._pool.questions() as session:
                return await readable_until(session, self._settings, now)

    async def aclose(self) -> None:
        """Close the connections; harmless when repeated."""
        await self._pool.aclose()

    async def _examined(self) -> Source:
        async with self._finding_out:
            if self._source is None:
                with self._port("source.contract"):
                    async with self._pool.questions() as session:
                        self._source = await examine(session, self._settings)
            return self._source

    async def _opened(self, session: Session, source: Source, span: Window | None) -> Opened:
        read_at = await session.clock()
        await session.begin()
        rows = await session.one("counting", source.chosen.statements.count(span))
        await require_same(session, self._settings, source)
        left_out = 0 if span is None else await absent(session, self._settings, source)
        if self._settings.consistent:
            return Opened(SnapshotKind.TRANSACTION, rows, read_at, left_out)
        return Opened(SnapshotKind.NONE, None, read_at, left_out)
