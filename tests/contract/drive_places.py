"""Where a drive table lies, for tests that share one among processes; its text form fits a command line."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar, Protocol

import pymysql

from state.drive import DriveTable
from state.mysql.drive import MysqlDrive
from state.mysql.settings import MysqlDriveSettings
from state.sqlite import SqliteDrive


class Place(Protocol):
    """An initialised drive table that several processes may open.

    `lease`: short, and long enough for a few statements. `windows`: so many that a race takes some seconds.
    """

    lease: timedelta
    windows: int

    def __str__(self) -> str:
        """What `place_of` reads; no secret in it."""

    async def open(self, clock: Callable[[], datetime] | None = None) -> DriveTable:
        """A drive table of this process."""

    def token(self) -> int:
        """The highest token, asked as an operator would; the table is checked on the way."""

    def before_each_statement(self, drive: DriveTable, call: Callable[[], None]) -> None:
        """Have `call` called before whatever `drive`, opened here, says to the store."""


@dataclass(frozen=True)
class SqlitePlace:
    path: Path
    lease: ClassVar = timedelta(seconds=0.15)
    windows: ClassVar = 30

    def __str__(self) -> str:
        return str(self.path)

    async def open(self, clock: Callable[[], datetime] | None = None) -> DriveTable:
        return await SqliteDrive.open(self.path, clock=clock)

    def token(self) -> int:
        with closing(sqlite3.connect(self.path)) as sql:
            assert sql.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return sql.execute("SELECT coalesce(max(token), 0) FROM pipeline_tokens").fetchone()[0]

    def before_each_statement(self, drive: DriveTable, call: Callable[[], None]) -> None:
        drive._connection.set_trace_callback(lambda _statement: call())


@dataclass(frozen=True)
class MysqlPlace:
    settings: MysqlDriveSettings
    lease: ClassVar = timedelta(seconds=0.15)
    windows: ClassVar = 30

    def __str__(self) -> str:
        return self.settings.model_dump_json()

    async def open(self, clock: Callable[[], datetime] | None = None) -> DriveTable:
        return await MysqlDrive.open(self.settings, clock=clock)

    def token(self) -> int:
        settings = self.settings
        connection = pymysql.connect(
            host=settings.host,
            port=settings.port,
            user=settings.user,
            password=settings.password.read().encode(),
            database=settings.database,
        )
        with closing(connection), connection.cursor() as cursor:
            cursor.execute("SELECT coalesce(max(token), 0) FROM pipeline_tokens")
            return int(cursor.fetchone()[0])

    def before_each_statement(self, drive: DriveTable, call: Callable[[], None]) -> None:
        session = drive._session
        for name in ("rows", "execute", "begin", "commit", "rollback"):
            setattr(session, name, after(call, getattr(session, name)))


def after(call: Callable[[], None], method):
    """`method`, with `call` called first."""

    async def wrapped(*values):
        call()
        return await method(*values)

    return wrapped


def place_of(text: str) -> Place:
    """The place whose text form this is."""
    if not text.startswith("{"):
        return SqlitePlace(Path(text))
    told = json.loads(text)
    if "account" in told:
        from tests.contract.drive_snowflake import SnowflakePlace  # its driver takes a second to import

        return SnowflakePlace(told)
    return MysqlPlace(MysqlDriveSettings.model_validate(told))


async def sqlite_place(folder: Path) -> Place:
    """A fresh file in `folder`."""
    path = Path(tempfile.mkdtemp(dir=folder)) / "drive.sqlite"
    await SqliteDrive.init(path)
    return SqlitePlace(path)


async def mysql_place(server) -> Place:
    """A fresh database of the server."""
    settings = server.database()
    await MysqlDrive.init(settings)
    return MysqlPlace(settings)


async def snowflake_place(server) -> Place:
    """A fresh schema of the test server."""
    from tests.contract.drive_snowflake import SnowflakePlace, made

    place = server.place().connection
    await made(place)
    return SnowflakePlace(
        {name: place[name] for name in ("account", "user", "role", "warehouse", "host", "port")}
        | {"database": place["database"], "schema": place["schema"]}
    )
