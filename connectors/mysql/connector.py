"""The connector for MySQL and MariaDB: `connectors.base.Connector` over one transaction for each part.

One object serves one attempt: its connections, its contract, and the columns as they were declared at first, which
each snapshot compares again. Once a snapshot has counted, the server lets nobody alter the table until it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from connectors.mysql.bounds import readable_until
from connectors.mysql.checks import Checkup
from connectors.mysql.explaining import require_no_scan
from connectors.mysql.planning import counted, walked
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
        """See `Connector.plan`. Each row is passed once where the cursor has an index, twice elsewhere."""
        source = await self._examined()
        with self._port("source.plan"):
            async with self._pool.questions() as session:
                await absent(session, self._settings, source)
                if source.is_walkable and (found := await self._walked(session, source, span, rows_per_part)):
                    return found
                return await self._counted(session, source, span, rows_per_part)

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

    async def _walked(
        self, session: Session, source: Source, span: Window, rows_per_part: int
    ) -> Sequence[Window] | None:
        """None where the instant of a row is no day (`2025-02-00`), at which nothing can be cut."""

        async def row_at(rest: Window, number: int) -> datetime | None:
            found = await session.rows("cutting", source.chosen.statements.row_at(rest, number))
            return datetime.fromisoformat(found[0][0]).replace(tzinfo=UTC) if found else None

        try:
            return await walked(span, rows_per_part, row_at, finest=source.chosen.statements.cursor.unit)
        except ValueError:
            return None

    async def _counted(
        self, session: Session, source: Source, span: Window, rows_per_part: int
    ) -> Sequence[Window]:
        statements = source.chosen.statements

        async def cells(inner: Window, width: int) -> Mapping[int, int]:
            found = await session.rows("counting", statements.cells(inner, width))
            return {int(cell): int(rows) for cell, rows in found if cell is not None}  # None: no day

        await require_no_scan(session, self._settings, statements.count(span))
        rows = await session.one("counting", statements.count(span))
        return await counted(span, rows, rows_per_part, cells, finest=statements.cursor.unit)

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
