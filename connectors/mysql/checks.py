"""The source's lines of `sluiceway doctor`. A failed look is a value here, and ends the looking."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from connectors.mysql.bounds import readable_until
from connectors.mysql.explaining import full_scan
from connectors.mysql.grants import writing
from connectors.mysql.pool import Pool
from connectors.mysql.settings import MysqlSettings
from connectors.mysql.source import Source
from state.checks import Check, Look, up_to_the_first_error
from state.model import Window

HOUR = timedelta(hours=1)


class Checkup:
    """Asks what the connector finds out anyway, step by step; nothing that failed is asked again."""

    def __init__(self, settings: MysqlSettings, pool: Pool, source: Callable[[], Awaitable[Source]]) -> None:
        self._settings = settings
        self._pool = pool
        self._source = source

    async def look(self) -> list[Check]:
        """All checks, up to the first error."""
        return await up_to_the_first_error(self._looks())

    def _looks(self) -> tuple[tuple[str, Look], ...]:
        return (
            ("source_system.host", self._server),
            ("source_system.user", self._user),
            ("source_system.table", self._table),
            ("source_system.cursor", self._cursor),
            ("source_system.null_cursor", self._absent),
            ("source_system readable until", self._readable),
        )

    async def _server(self) -> Check:
        async with self._pool.questions() as session:
            [(version,)] = await session.rows("asking for the version of", "SELECT VERSION()")
            kept = "the session keeps time zone, timeouts, isolation and utf8mb4 as told"
            return Check("source_system.host", True, f"{version}, {session.cipher}; {kept}")

    async def _user(self) -> Check:
        async with self._pool.questions() as session:
            grants = [grant for (grant,) in await session.rows("asking for the grants on", "SHOW GRANTS")]
        able = writing(grants)
        found = f"{self._settings.user} may write too: {', '.join(able)}" if able else "may only read"
        return Check(
            "source_system.user",
            not (able and self._settings.require_read_only),
            found,
            "Give the source a user of its own with SELECT alone; docs/mysql.md has the statements.",
        )

    async def _table(self) -> Check:
        source = await self._source()
        contract = source.chosen.contract
        key = f"key {', '.join(contract.key)}" if contract.key else "no key"
        found = f"{len(contract.schema)} of {len(source.relation.columns)} columns, {key}"
        engine = f", {source.relation.engine}" if source.relation.engine else ""
        return Check("source_system.table", True, f"{self._settings.what}: {found}{engine}")

    async def _cursor(self) -> Check:
        source = await self._source()
        if self._settings.cursor is None:
            return Check("source_system.cursor", True, "none: the table is only read whole")
        place = source.chosen.statements.cursor.column
        found = f"{self._settings.cursor} is {place.column_type}"
        if place.data_type != "timestamp":
            found += ", a wall time that is read as UTC"
        async with self._pool.questions() as session:
            now = await session.clock()
            scan = await full_scan(session, source.chosen.statements.count(Window(now - HOUR, now)))
        found += f"; an hour of it is found by passing over {scan}" if scan else "; an hour of it is found quickly"
        return Check(
            "source_system.cursor",
            not scan or self._settings.allow_full_scan,
            found,
            f"CREATE INDEX … ON {source.relation.sql} ({source.chosen.statements.cursor.name}), or set"
            " source_system.allow_full_scan to true.",
        )

    async def _absent(self) -> Check:
        source = await self._source()
        if self._settings.cursor is None:
            return Check("source_system.null_cursor", True, "no row is left out for it")
        async with self._pool.questions() as session:
            absent = await session.one("counting", source.chosen.statements.absent())
        return Check(
            "source_system.null_cursor",
            not absent or self._settings.null_cursor == "ignore",
            f"{absent} rows have no value, or a zero date, in {self._settings.cursor}",
            "No window ever holds them: fill them, or set source_system.cursor_fallback or null_cursor.",
        )

    async def _readable(self) -> Check:
        async with self._pool.questions() as session:
            now = await session.clock()
            held = now - await readable_until(session, self._settings, now)
        by = [
            word
            for word, given in (
                ("its source's lag", self._settings.replica),
                ("open transactions", self._settings.hold_back_open_transactions),
            )
            if given
        ]
        found = f"held back {held.total_seconds():.1f} s by {' and '.join(by)}" if by else "the server's clock"
        return Check("source_system readable until", True, found)
