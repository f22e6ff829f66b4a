"""One connection to the server that is read: what its session is told, and read back, and what it is asked.

A variable that the server does not take as it was told is an error: a shorter timeout would cut a slow read,
another time zone would shift each instant, another character set would lose letters in silence.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from aiomysql import Cursor, DictCursor
from pymysql.err import InterfaceError, MySQLError, OperationalError

from connectors.mysql.errors import explain
from connectors.mysql.settings import MysqlSettings
from connectors.tls import trusting
from state.errors import ConfigurationError, SluicewayError
from state.mysql.connection import Connection

ALL_ROWS = 2**64 - 1
PROBE = "\U0001f600"
"""Four bytes in UTF-8: `?` comes back if anything between here and the server is narrower than `utf8mb4`."""
GRACE_SECONDS = 10
"""What an answer may take longer than its statement."""

NO_MYSQL = (struct.error, IndexError, ValueError, AssertionError, RuntimeError, AttributeError)
"""What the driver stumbles over where bytes are of another protocol, or a file of this machine is asked for."""
NO_ANSWER = "what the server sends is no answer to the question"

ISOLATION = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"
SNAPSHOT = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"


class _Rows(Cursor):  # type: ignore[misc]
    """As the driver's, which would ask for the warnings of each statement and give them to Python's."""

    async def _show_warnings(self, conn: Any) -> None: ...


class _Table(_Rows, DictCursor):  # type: ignore[misc]
    """Rows by column."""


class Session:
    """One statement at a time. An error leaves the connection closed, and itself explained."""

    def __init__(self, settings: MysqlSettings) -> None:
        self._settings = settings
        self._connection: Connection | None = None
        self._used_at = 0.0
        self.in_snapshot = False
        self.server = ""

    @property
    def connection(self) -> Connection:
        """The open connection. Raises `RestartAttempt` if it is lost."""
        if self._connection is None or self._connection.closed:
            raise self.explained(f"reading {self._settings.what}", InterfaceError("the connection is closed"))
        return self._connection

    @property
    def is_fresh(self) -> bool:
        """True if it is open, and the server did not close it for its silence."""
        silent = asyncio.get_running_loop().time() - self._used_at
        is_open = self._connection is not None and not self._connection.closed
        return is_open and silent < self._settings.write_timeout_seconds / 2

    @property
    def is_mariadb(self) -> bool:
        """MySQL otherwise."""
        return "MariaDB" in self.server

    @property
    def cipher(self) -> str:
        """How the connection is encrypted, in words."""
        used = self.connection.encryption
        return f"encrypted with {used}" if used else "in the clear"

    async def open(self) -> None:
        """Connect, and agree on everything that a read hangs on. Raises `ConfigurationError`, `TransientError`."""
        self.in_snapshot = False
        connection = self._connection = self._made(await asyncio.to_thread(self._trusted))
        try:
            async with asyncio.timeout(self._settings.connect_timeout_seconds):
                await connection.open()
        except (MySQLError, OSError) as error:
            connection.close()
            seen = OperationalError(2003, "no answer in time") if isinstance(error, TimeoutError) else error
            raise self.explained("connecting", seen) from error
        except NO_MYSQL as error:
            connection.close()
            raise ConfigurationError(
                f"something else than MySQL or MariaDB answers at {self._settings.place}",
                hint="Correct source_system.host and port.",
                code="protocol",
                path="source_system.host",
            ) from error
        except BaseException:
            connection.close()
            raise
        self.server = str(connection.get_server_info())
        await self._agree()

    async def rows(self, doing: str, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query; what is no whole number comes as text."""
        async with self._answered(_Rows, doing, sql, *values) as cursor:
            return list(await cursor.fetchall())

    async def table(self, doing: str, sql: str) -> list[dict[str, Any]]:
        """The rows of a query, by column."""
        async with self._answered(_Table, doing, sql) as cursor:
            return list(await cursor.fetchall())

    async def fields(self, doing: str, sql: str) -> list[Any]:
        """How the driver describes the columns of a query's answer."""
        async with self._answered(_Rows, doing, sql) as cursor:
            return list(cursor._result.fields)

    async def one(self, doing: str, sql: str, *values: Any) -> int:
        """The one number that a query gives."""
        [(number,)] = await self.rows(doing, sql, *values)
        return int(number)

    async def clock(self) -> datetime:
        """The server's clock."""
        [(told,)] = await self.rows("asking for the time", "SELECT UTC_TIMESTAMP(6)")
        return datetime.fromisoformat(told).replace(tzinfo=UTC)

    async def begin(self) -> None:
        """Everything that is read until `end` is as it is now. Raises `RestartAttempt` and others."""
        self.in_snapshot = True
        await self.rows("opening a snapshot of", SNAPSHOT)

    async def end(self) -> None:
        """Give the snapshot back; raises nothing: a connection that is closed has given it back as well."""
        if self._connection is not None and not self._connection.closed:
            with suppress(SluicewayError):
                await self.rows("closing a snapshot of", "ROLLBACK")
        self.in_snapshot = False

    def close(self) -> None:
        """At once; whatever the server does for this connection ends."""
        if self._connection is not None:
            self._connection.close()

    async def aclose(self) -> None:
        """Say good-bye and close. Harmless when repeated."""
        connection, self._connection = self._connection, None
        if connection is None or connection.closed:
            return
        try:
            async with asyncio.timeout(1):
                await connection.ensure_closed()
        except (OSError, MySQLError):
            connection.close()

    def explained(self, doing: str, error: BaseException) -> Exception:
        """An error of the driver for the one who runs Sluiceway."""
        return explain(self._settings, doing, error, in_snapshot=self.in_snapshot)

    @asynccontextmanager
    async def _answered(self, kind: type[Any], doing: str, sql: str, *values: Any) -> AsyncIterator[Any]:
        """A cursor with the whole answer to a statement."""
        connection = self.connection
        async with (
            self._explaining(doing, self._settings.statement_timeout_seconds + GRACE_SECONDS),
            connection.cursor(kind) as cursor,
        ):
            await cursor.execute(sql, values or None)
            yield cursor

    @asynccontextmanager
    async def _explaining(self, doing: str, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except (MySQLError, OSError) as error:
            said = self.explained(f"{doing} {self._settings.what}", error)
            self.close()
            raise said from error
        except NO_MYSQL as error:
            said = self.explained(f"{doing} {self._settings.what}", OperationalError(2027, NO_ANSWER))
            self.close()
            raise said from error
        except BaseException:
            self.close()
            raise
        self._used_at = asyncio.get_running_loop().time()

    async def _agree(self) -> None:
        """Tell the session, and read back what it understood."""
        told = variables(self._settings, is_mariadb=self.is_mariadb)
        await self.rows("setting the session for", ISOLATION)
        await self.rows("setting the session for", f"SET SESSION {', '.join(_assignments(told))}")
        isolation = "tx_isolation" if self.is_mariadb else "transaction_isolation"
        wanted = {isolation: "REPEATABLE-READ", **told}
        names = ", ".join(f"@@SESSION.{name}" for name in wanted)
        [found] = await self.rows("reading the session for", f"SELECT {names}, '{PROBE}', HEX('{PROBE}')")
        refused = [
            f"{name} is {value}"
            for (name, wish), value in zip(wanted.items(), found, strict=False)
            if not _same(wish, value)
        ]
        if found[-2:] != (PROBE, PROBE.encode().hex().upper()):
            refused.append("the connection is not utf8mb4")
        if refused:
            self.close()
            raise ConfigurationError(
                f"the server at {self._settings.place} does not take its session as told: {'; '.join(refused)}",
                hint="Look for a proxy or an init_connect that changes sessions, or let another user read.",
                code="session",
                path="source_system.host",
            )

    def _trusted(self) -> ssl.SSLContext | None:
        return trusting(self._settings.ca_file) if self._settings.tls else None

    def _made(self, trusted: ssl.SSLContext | None) -> Connection:
        settings = self._settings
        return Connection(
            settings.host,
            settings.port,
            user=settings.user,
            password=settings.password.read(),
            database=settings.database,
            trusting=trusted,
        )


def variables(settings: MysqlSettings, *, is_mariadb: bool) -> Mapping[str, int | str]:
    """What each session is told, by name."""
    patience = settings.write_timeout_seconds
    common: dict[str, int | str] = {
        "time_zone": "+00:00",
        "sql_mode": "NO_ENGINE_SUBSTITUTION",  # nothing that makes zero dates NULL or pads a CHAR
        "character_set_client": "utf8mb4",
        "character_set_results": "utf8mb4",
        "net_write_timeout": patience,
        "net_read_timeout": patience,
        "wait_timeout": patience,
        "lock_wait_timeout": settings.connect_timeout_seconds,
        "sql_select_limit": ALL_ROWS,
        "sql_big_selects": 1,
    }
    seconds = settings.statement_timeout_seconds
    if is_mariadb:
        return common | {
            "max_statement_time": seconds,
            "idle_transaction_timeout": 0,
            "idle_readonly_transaction_timeout": 0,
        }
    return common | {"max_execution_time": seconds * 1000}


def _assignments(told: Mapping[str, int | str]) -> list[str]:
    return [f"{name} = {value!r}" for name, value in told.items()]


def _same(wish: int | str, value: Any) -> bool:
    if isinstance(wish, int):
        return value == wish or (isinstance(value, str) and math.isclose(float(value), wish))
    return bool(value == wish)
