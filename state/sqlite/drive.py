"""`DriveTable` in a SQLite file. All SQL runs in one thread of its own, so the event loop never waits."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from state.owner import owner_is_dead
from state.port import Port, direct
from state.sqlite import file, schema
from state.sqlite.rows import SqliteRows
from state.transactional import Rows, TransactionalDrive

T = TypeVar("T")

BUSY_SECONDS = 10.0
"""How long a write waits for another process; a step takes milliseconds."""


class SqliteDrive(TransactionalDrive):
    """Made by `open`; every write is one `BEGIN IMMEDIATE` transaction, durable when it returns."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        thread: ThreadPoolExecutor,
        *,
        port: Port = direct,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        super().__init__(schema.id_of(connection), owner_is_dead)
        self._path = path
        self._connection = connection
        self._thread = thread
        self._port = port
        self._rows = SqliteRows(connection, self.id, clock)

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        port: Port = direct,
        clock: Callable[[], datetime] | None = None,
        busy_seconds: float = BUSY_SECONDS,
    ) -> SqliteDrive:
        """The drive table in `path`. Raises `ConfigurationError` if there is none, or not of this version.

        `clock` replaces the database's clock, for tests.
        """
        file.require_local(path)
        thread = ThreadPoolExecutor(1, thread_name_prefix="drive")

        def opened() -> SqliteDrive:
            connection = opened_connection(path, busy_seconds)
            return cls(path, connection, thread, port=port, clock=clock)

        try:
            return await asyncio.get_running_loop().run_in_executor(thread, opened)
        except BaseException:
            thread.shutdown(wait=False)
            raise

    @staticmethod
    async def init(path: Path) -> str:
        """Make the drive table, or upgrade the one that is there; returns its id. Repeatable."""
        file.require_local(path)
        return await asyncio.to_thread(made, path)

    @staticmethod
    async def upgrade(path: Path) -> str:
        """Bring the drive table to this version. Raises `ConfigurationError` if there is none or it is newer."""
        file.require_local(path)
        return await asyncio.to_thread(upgraded, path)

    async def _write(self, effect: str, step: Callable[[Rows], T]) -> T:
        with self._port(effect):
            return await self._in_thread(lambda: self._transact(step))

    async def _read(self, step: Callable[[Rows], T]) -> T:
        return await self._in_thread(lambda: step(self._rows))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        def explained() -> T:
            with file.explained(self._path):
                return call()

        return await asyncio.get_running_loop().run_in_executor(self._thread, explained)

    def _transact(self, step: Callable[[Rows], T]) -> T:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            answer = step(self._rows)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return answer

    async def aclose(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._thread.shutdown(wait=True)  # a step under way ends first
        self._connection.close()


def opened_connection(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """A connection to a drive table of this version."""
    if not path.exists():
        raise schema.missing(path)
    with file.explained(path):
        connection = file.connect(path, busy_seconds)
        try:
            schema.require_current(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def upgraded(path: Path) -> str:
    """As `made`, for a drive table that must be there."""
    if not path.exists():
        raise schema.missing(path)
    return made(path)


def made(path: Path) -> str:
    """The id of the drive table in `path`, which is there and current afterwards."""
    with file.explained(path):
        file.make(path)
        connection = file.connect(path, BUSY_SECONDS)
        try:
            schema.upgrade(connection, path)
            return schema.id_of(connection)
        finally:
            connection.close()
