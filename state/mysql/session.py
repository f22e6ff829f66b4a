"""One connection to MySQL or MariaDB: opened when it is needed, closed when anything went wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiomysql
from pymysql.err import InterfaceError, MySQLError, OperationalError

from state.errors import SluicewayError
from state.mysql.connection import Connection, certificates
from state.mysql.errors import TIMED_OUT, explain, is_lost
from state.mysql.settings import MysqlDriveSettings

IDLE_SECONDS = 60
"""The server ends a connection that is silent for so long, and its transaction; the next call opens another."""

Row = dict[str, Any]


class Session:
    """One statement at a time. Errors leave it explained; a connection that they broke is closed with them.

    Only `open` and `begin` open a connection: what follows in a transaction never goes on in another one.
    """

    def __init__(self, settings: MysqlDriveSettings, *, answer_seconds: float | None = None) -> None:
        self._settings = settings
        self._answer_seconds = answer_seconds or settings.answer_timeout_seconds
        self._connection: Connection | None = None

    async def rows(self, sql: str, *values: Any) -> list[Row]:
        """The rows of a query, by column; instants come as text."""
        async with self._answering() as connection, connection.cursor(aiomysql.DictCursor) as cursor:
            await cursor.execute(sql, values or None)
            return list(await cursor.fetchall())

    async def execute(self, sql: str, *values: Any) -> int:
        """Rows that the statement found to change, changed or not (FOUND_ROWS)."""
        async with self._answering() as connection, connection.cursor() as cursor:
            return int(await cursor.execute(sql, values or None))

    async def open(self) -> None:
        """Open a connection, if none is."""
        if self._connection is None:
            self._connection = await self._opened()

    async def begin(self) -> None:
        """Open a transaction; in a new connection if the one at hand was lost while nothing was asked of it."""
        was_open = self._connection is not None
        await self.open()
        try:
            await self._begin()
        except SluicewayError as error:
            if not was_open or self._connection is not None or error.code == TIMED_OUT:
                raise
            await self.open()
            await self._begin()

    async def commit(self) -> None:
        """Raises `UnknownOutcome` if the answer to COMMIT is lost."""
        async with self._answering(committing=True) as connection:
            await connection.commit()

    async def rollback(self) -> None:
        """Undo the transaction; raises nothing: a connection that is closed has undone it as well."""
        try:
            async with self._answering() as connection:
                await connection.rollback()
        except SluicewayError:
            self._drop()

    async def aclose(self) -> None:
        """Say good-bye and close. Harmless when repeated."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            async with asyncio.timeout(1):
                await connection.ensure_closed()
        except (OSError, MySQLError):
            connection.close()

    async def _begin(self) -> None:
        async with self._answering() as connection:
            await connection.begin()

    @asynccontextmanager
    async def _answering(self, *, committing: bool = False) -> AsyncIterator[Connection]:
        """The open connection, for one statement."""
        connection = self._connection
        if connection is None:
            raise explain(self._settings.place, InterfaceError("the connection is lost"))
        try:
            async with asyncio.timeout(self._answer_seconds):
                yield connection
        except (MySQLError, OSError) as error:
            if committing or is_lost(error) or connection.closed:
                self._drop()
            raise explain(self._settings.place, error, committing=committing) from error
        except BaseException:
            self._drop()
            raise

    async def _opened(self) -> Connection:
        connection = self._made()
        try:
            async with asyncio.timeout(self._settings.connect_timeout_seconds):
                await connection.open()
                for statement in _first_words(connection, self._settings):
                    await connection.query(statement)
        except (MySQLError, OSError) as error:
            connection.close()
            seen = OperationalError(2003, "no answer in time") if isinstance(error, TimeoutError) else error
            raise explain(self._settings.place, seen) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _made(self) -> Connection:
        settings = self._settings
        return Connection(
            settings.host,
            settings.port,
            user=settings.user,
            password=settings.password.read(),
            database=settings.database,
            trusting=certificates(settings.ca_file, "drive_table") if settings.tls else None,
        )

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _first_words(connection: Connection, settings: MysqlDriveSettings) -> list[str]:
    """What every connection is told before anything else. Values are numbers of the settings."""
    wait = settings.lock_wait_timeout_seconds
    words = [
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00',"
        f" innodb_lock_wait_timeout = {wait}, lock_wait_timeout = {wait}, wait_timeout = {IDLE_SECONDS}",
    ]
    if "MariaDB" in connection.get_server_info():
        words.append(f"SET SESSION idle_transaction_timeout = {wait}")
    return words
