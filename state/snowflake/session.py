"""Sessions: one statement at a time, errors classified, and a small pool of idle ones that costs nothing."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from snowflake.connector import aio
from snowflake.connector import errors as vendor

from state.errors import ConfigurationError, TransientError
from state.port import Port, direct
from state.snowflake.errors import SESSION_GONE, explain
from state.snowflake.login import LOGOUT_SECONDS, Login
from state.snowflake.names import text
from state.snowflake.parameters import parameters, require
from state.snowflake.settings import SnowflakeConnection
from state.snowflake.tag import Tag

MOST_IDLE = 4
"""Sessions that are kept open while nobody uses them."""

PROBED_AFTER, DROPPED_AFTER = 60.0, 3 * 3_600.0
"""Seconds of idleness after which a session is asked whether it lives, and after which it is given up: Snowflake
ends it after four hours."""

HARMLESS = frozenset(
    {"SELECT", "WITH", "SHOW", "DESC", "DESCRIBE", "LIST", "LS", "BEGIN", "START", "ROLLBACK", "ALTER SESSION"}
)
"""Statements that leave nothing behind, so that a lost answer leaves nothing unknown."""

BEGINS, ENDS = frozenset({"BEGIN", "START"}), frozenset({"COMMIT", "ROLLBACK"})


class Session:
    """One session of Snowflake; one statement at a time.

    Values are bound with `?`. Errors are those of `state.errors`: `UnknownOutcome` if a statement that changes
    something was sent and its answer was lost. A task cancelled while its statement runs closes the session.
    """

    def __init__(self, connection: aio.SnowflakeConnection, account: str, tag: Tag, now: float) -> None:
        self._connection = connection
        self._account = account
        self._tag = tag
        self._turn = asyncio.Lock()
        self.id = str(connection.session_id)
        self.opened_at = self.used_at = now
        self.last_query_id: str | None = None
        self.in_transaction = False
        self.ended = False

    async def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement; all rows of its answer."""
        _, found = await self._run(sql, values)
        return found

    async def records(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """The rows of its answer by column name in lower case: SHOW, LIST, DESCRIBE, COPY."""
        columns, found = await self._run(sql, values)
        names = [column.lower() for column in columns]
        return [dict(zip(names, row, strict=True)) for row in found]

    async def value(self, sql: str, *values: Any) -> Any:
        """The first column of the first row; None if there is no row."""
        _, found = await self._run(sql, values)
        return found[0][0] if found else None

    async def count(self, sql: str, *values: Any) -> int:
        """A number of rows: asked for, or that a statement inserted, updated and deleted together."""
        columns, found = await self._run(sql, values)
        touched = [place for place, column in enumerate(columns) if column.lower().startswith("number of rows ")]
        return sum(int(found[0][place]) for place in touched or [0])

    async def put(self, path: Path, location: str) -> Mapping[str, Any]:
        """Upload one file as it is, over one of the same name; the one record that tells what became of it.

        `path`: absolute. `location`: as it stands in a statement, `@DB.SCHEMA.STAGE/folder/`. It is streamed.
        """
        (record,) = await self.records(f"PUT {text(f'file://{path}')} {location} {PUT_OPTIONS}")
        return record

    async def tag(self, tag: Tag) -> None:
        """Statements that follow bear this tag. It travels with each of them, at no cost of its own."""
        self._tag = tag

    async def close(self) -> None:
        """End the session; an open transaction is rolled back. Never raises for a server that does not answer."""
        self.ended = True
        with suppress(vendor.Error, TimeoutError):
            async with asyncio.timeout(LOGOUT_SECONDS):
                await self._connection.close(retry=False)

    async def alive(self) -> bool:
        """Ask the server whether the session is still there; needs no warehouse."""
        return bool(await self._connection.is_valid())

    async def _run(self, sql: str, values: tuple[Any, ...]) -> tuple[list[str], list[tuple[Any, ...]]]:
        async with self._turn:
            if self.ended:
                raise TransientError(f"{self._doing(sql)}: the session was closed", code="session_gone")
            try:
                answer = await self._sent(sql, values)
            except vendor.Error as error:
                self.ended = self.ended or error.errno in SESSION_GONE
                raise explain(error, self._doing(sql), changes=_verb(sql) not in HARMLESS) from error
            except asyncio.CancelledError:
                await self.close()
                raise
            self._note(sql)
            return answer

    async def _sent(self, sql: str, values: tuple[Any, ...]) -> tuple[list[str], list[tuple[Any, ...]]]:
        cursor = self._connection.cursor()
        try:
            await cursor.execute(sql, values or None, _statement_params={"QUERY_TAG": str(self._tag)})
            self.last_query_id = cursor.sfqid
            return [column.name for column in cursor.description or ()], await cursor.fetchall()
        finally:
            cursor.close()

    def _note(self, sql: str) -> None:
        verb = _verb(sql)
        if verb in BEGINS:
            self.in_transaction = True
        elif verb in ENDS:
            self.in_transaction = False

    def _doing(self, sql: str) -> str:
        return f"Snowflake {self._account}, {_verb(sql)}"


PUT_OPTIONS = "AUTO_COMPRESS = FALSE SOURCE_COMPRESSION = NONE OVERWRITE = TRUE"


def _verb(sql: str) -> str:
    """What a statement does, by its first word; `ALTER SESSION` by two."""
    found = re.match(r"\s*(ALTER\s+SESSION|[A-Za-z]+)", sql, re.IGNORECASE)
    return " ".join(found[1].upper().split()) if found else ""


class Account:
    """The sessions of this process with one account. Idle ones cost nothing: nobody keeps them alive."""

    def __init__(
        self,
        settings: SnowflakeConnection,
        *,
        clock: Callable[[], float] = time.monotonic,
        port: Port = direct,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._login = Login(settings, clock=clock, port=port)
        self._idle: list[Session] = []
        self._closed = False

    @asynccontextmanager
    async def session(self, tag: Tag, *, fresh: bool = False) -> AsyncIterator[Session]:
        """A session for as long as the block lasts; `fresh`: opened after this call began.

        One that the block leaves by an exception or in a transaction is closed, which undoes what is open in it.
        """
        session = await self._checked_out(tag, fresh)
        try:
            yield session
        except BaseException:
            await session.close()
            raise
        await self._checked_in(session)

    async def aclose(self) -> None:
        """Close what is idle now and, when it comes back, what is in use."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()

    async def _checked_out(self, tag: Tag, fresh: bool) -> Session:
        while self._idle and not fresh:
            session = self._idle.pop()
            if await self._usable(session):
                await session.tag(tag)
                return session
            await session.close()
        return await self._opened(tag)

    async def _checked_in(self, session: Session) -> None:
        keep = not (session.ended or session.in_transaction or self._closed) and len(self._idle) < MOST_IDLE
        if keep:
            session.used_at = self._clock()
            self._idle.append(session)
        else:
            await session.close()

    async def _usable(self, session: Session) -> bool:
        idle = self._clock() - session.used_at
        return idle < PROBED_AFTER or (idle < DROPPED_AFTER and await session.alive())

    async def _opened(self, tag: Tag) -> Session:
        """Log in and read the parameters back: none is trusted because it was asked for (N-4)."""
        session = Session(await self._login.connect(tag), self._settings.account, tag, self._clock())
        try:
            found = await session.rows("SHOW PARAMETERS")
            require(parameters(self._settings, tag), {str(row[0]): str(row[1]) for row in found})
        except BaseException:
            await session.close()
            raise
        return session


async def warehouse(session: Session) -> str:
    """The warehouse that statements of `session` run in. Raises `ConfigurationError` if there is none."""
    found = await session.value("SELECT CURRENT_WAREHOUSE()")
    if found is None:
        raise ConfigurationError(
            "the session has no warehouse",
            hint="Grant USAGE on snowflake_connection.warehouse to snowflake_connection.role, and check its name.",
            code="no_warehouse",
            path="snowflake_connection.warehouse",
        )
    return str(found)
