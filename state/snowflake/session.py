"""Sessions: one statement at a time, errors classified, and a small pool of idle ones that costs nothing."""

from __future__ import annotations

import asyncio
import glob
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from state.errors import SluicewayError, TransientError
from state.finishing import finish
from state.port import Port, direct
from state.snowflake import login
from state.snowflake.driver import Connection, closed
from state.snowflake.driver import errors as vendor
from state.snowflake.errors import doubted, ends_session, explain
from state.snowflake.login import Login
from state.snowflake.names import text
from state.snowflake.parameters import differing, parameters, require, setting
from state.snowflake.settings import SnowflakeConnection
from state.snowflake.statements import Hear, deaf, told, uploading
from state.snowflake.submitted import ABORT_SECONDS, Answer, Row, Submitted, answer_of, not_taken
from state.snowflake.tag import Tag
from state.snowflake.values import bound

MOST_IDLE = 4
"""Sessions that are kept open while nobody uses them."""

PROBED_AFTER, DROPPED_AFTER = 60.0, 3 * 3_600.0
"""Seconds of idleness after which a session is asked whether it lives, and after which it is given up: Snowflake
ends it after four hours."""

PROBE_SECONDS = 10
"""Longest time of that question."""

REPEATABLE = frozenset(
    {"SELECT", "WITH", "SHOW", "DESC", "DESCRIBE", "LIST", "LS", "BEGIN", "START", "ROLLBACK", "USE"}
    | {"ALTER-SESSION", "PUT", "GET", "REMOVE", "RM"}
)
"""Statements that leave nothing behind, or the same however often they run: if the answer is lost, nothing is
unknown."""

BEGINS, ENDS = frozenset({"BEGIN", "START"}), frozenset({"COMMIT", "ROLLBACK"})

PUT_OPTIONS = "AUTO_COMPRESS = FALSE SOURCE_COMPRESSION = NONE OVERWRITE = TRUE"

Opener = Callable[[Tag], Awaitable[Connection]]


class Session:
    """One session of Snowflake; one statement at a time.

    Values are bound with `?`. Errors are those of `state.errors`: `UnknownOutcome` if a statement that changes
    something was sent and its answer was lost. A task cancelled while its statement runs closes the session.

    `long=True` is for a statement that may take minutes and is all of its transaction: it is submitted, and asked
    for by its id until it ends (N-3). A connection or session that is lost meanwhile does not matter then; the
    statement is aborted if the task is cancelled.
    """

    def __init__(
        self,
        connection: Connection,
        tag: Tag,
        settings: SnowflakeConnection,
        reopen: Opener,
        clock: Callable[[], float],
        *,
        hear: Hear,
    ) -> None:
        self._connection = connection
        self._tag = tag
        self._account = settings.account
        self._longest = settings.statement_timeout_seconds + settings.request_timeout_seconds
        self._upload_seconds = settings.upload_timeout_seconds
        self._reopen = reopen
        self._clock = clock
        self._hear = hear
        self._sent_at = clock()
        self._turn = asyncio.Lock()
        self._untouched = False
        self.id = str(connection.session_id)
        self.in_transaction = False
        self.ended = False

    async def rows(self, sql: str, *values: Any) -> list[Row]:
        """Run a statement; all rows of its answer."""
        _, found = await self._run(sql, values)
        return found

    async def records(self, sql: str, *values: Any, long: bool = False) -> list[dict[str, Any]]:
        """The rows of its answer by column name in lower case: SHOW, LIST, DESCRIBE, COPY."""
        columns, found = await self._run(sql, values, long)
        names = [column.lower() for column in columns]
        return [dict(zip(names, row, strict=True)) for row in found]

    async def value(self, sql: str, *values: Any) -> Any:
        """The first column of the first row; None if there is no row."""
        _, found = await self._run(sql, values)
        return found[0][0] if found else None

    async def count(self, sql: str, *values: Any, long: bool = False) -> int:
        """A number of rows: asked for, or that a statement inserted, updated and deleted together."""
        columns, found = await self._run(sql, values, long)
        touched = [place for place, column in enumerate(columns) if column.lower().startswith("number of rows ")]
        return sum(int(found[0][place]) for place in touched or [0])

    async def put(self, path: Path, location: str) -> Mapping[str, Any]:
        """Upload one file as it is, over one of the same name; the one record that tells what became of it.

        `path`: absolute. `location`: as it stands in a statement, `@DB.SCHEMA.STAGE/folder/`. It is streamed.
        If it takes longer than `upload_timeout_seconds` it is given up, and the session with it.
        """
        source = text("file://" + glob.escape(str(path)))  # the driver takes `?`, `*` and `[` for wildcards
        async with uploading(f"{self._doing('PUT')}: {path.name}", self._upload_seconds):
            (record,) = await self.records(f"PUT {source} {location} {PUT_OPTIONS}")
        return record

    async def tag(self, tag: Tag) -> None:
        """Statements that follow bear this tag. It travels with each of them, at no cost of its own."""
        self._tag = tag

    async def close(self) -> None:
        """End the session; an open transaction is rolled back. A server that does not answer is not waited for."""
        self.ended = True
        await closed(self._connection)

    async def lives(self) -> bool:
        """Ask the server whether the session is still there; needs no warehouse."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return bool(await self._connection.is_valid())
        except TimeoutError:
            return False

    def lent(self, tag: Tag) -> None:
        """A new user has it: its first statement finds out whether it is still there."""
        self._tag = tag
        self._untouched = True

    async def _run(self, sql: str, values: Sequence[Any], long: bool = False) -> Answer:
        async with self._turn:
            verb = _verb(sql)
            if self.ended:
                raise TransientError(f"{self._doing(verb)}: the session is closed", code="session_gone")
            if long and self.in_transaction:
                raise ValueError(f"{verb} in a transaction cannot be taken up again by its id")
            with told(self._hear, verb):
                answer = await self._answered(sql, values, long)
            self._untouched = False
            self.in_transaction = verb in BEGINS or (self.in_transaction and verb not in ENDS)
            return answer

    async def _answered(self, sql: str, values: Sequence[Any], long: bool) -> Answer:
        try:
            return await (self._submitted(sql, values) if long else self._sent(sql, values))
        except vendor.Error as error:
            return await self._after(error, sql, values)
        except asyncio.CancelledError:
            await self.close()
            raise

    async def _after(self, error: vendor.Error, sql: str, values: Sequence[Any]) -> Answer:
        """Raise what the error means, unless a kept session was over before anything was asked of it."""
        verb = _verb(sql)
        found = explain(error, self._doing(verb), changes=verb not in REPEATABLE)
        if verb not in REPEATABLE and self._doubtful():
            found = doubted(found)
        if found.code != "session_gone" or not self._untouched or verb not in REPEATABLE:
            self.ended = self.ended or ends_session(found)
            raise found from error
        await self.close()
        self._connection = await self._reopen(self._tag)
        self.id, self.ended, self._untouched = str(self._connection.session_id), False, False
        try:
            return await self._sent(sql, values)
        except vendor.Error as again:
            return await self._after(again, sql, values)

    async def _sent(self, sql: str, values: Sequence[Any]) -> Answer:
        with self._cursor() as cursor:
            await cursor.execute(sql, _given(values), _statement_params={"QUERY_TAG": str(self._tag)})
            return await answer_of(cursor)

    async def _submitted(self, sql: str, values: Sequence[Any]) -> Answer:
        """Submit it and wait for its answer; a session that did not see its end is of no more use (G-7)."""
        submitting = asyncio.ensure_future(self._submit(sql, values))
        try:
            statement = await asyncio.shield(submitting)  # whoever is cancelled must know what to abort
        except asyncio.CancelledError:
            await finish(_aborted(submitting))
            raise
        except vendor.Error as error:
            if not_taken(error) and not self._doubtful():
                return await self._sent(sql, values)  # whose answer says why; the driver keeps it to itself here
            raise
        try:
            return await statement.answer(self._longest)
        except SluicewayError as error:
            self.ended = self.ended or ends_session(error)
            raise
        finally:
            self.ended = self.ended or statement.moved

    async def _submit(self, sql: str, values: Sequence[Any]) -> Submitted:
        with self._cursor() as cursor:
            sent = await cursor.execute_async(sql, _given(values), _statement_params={"QUERY_TAG": str(self._tag)})
        doing, reopen = self._doing(_verb(sql)), partial(self._reopen, self._tag)
        return Submitted(self._connection, sent["queryId"], doing, reopen, self._clock)

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        cursor = self._connection.cursor()
        self._sent_at = self._clock()
        try:
            yield cursor
        finally:
            cursor.close()
            self._connection.messages.clear()  # the driver keeps every error of a session there

    def _doubtful(self) -> bool:
        """True if the driver had the time to send it more than once."""
        return self._clock() - self._sent_at >= login.WAITS_MILLISECONDS[0] / 1000

    def _doing(self, verb: str) -> str:
        return f"{verb.replace('-', ' ')} on Snowflake account {self._account}"


def _given(values: Sequence[Any]) -> list[Any] | None:
    """Values as the driver takes them."""
    return [bound(value) for value in values] or None


async def _aborted(submitting: asyncio.Future[Submitted]) -> None:
    """End a statement that is being submitted."""
    with suppress(TimeoutError, vendor.Error):
        async with asyncio.timeout(ABORT_SECONDS):
            await (await submitting).abort()


def _verb(sql: str) -> str:
    """What a statement does, by its first word; `ALTER-SESSION` by two."""
    found = re.match(r"\s*(ALTER\s+SESSION|[A-Za-z]+)", sql, re.IGNORECASE)
    return "-".join(found[1].upper().split()) if found else "?"


class Account:
    """The sessions of this process with one account. Idle ones cost nothing: nobody keeps them alive.

    `hear` is told of every statement.
    """

    def __init__(
        self,
        settings: SnowflakeConnection,
        *,
        clock: Callable[[], float] = time.monotonic,
        port: Port = direct,
        hear: Hear = deaf,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._hear = hear
        self._login = Login(settings, clock=clock, port=port)
        self._idle: list[tuple[Session, float]] = []
        self._closed = False

    @asynccontextmanager
    async def session(self, tag: Tag, *, fresh: bool = False, known: str | None = None) -> AsyncIterator[Session]:
        """A session for as long as the block lasts; `fresh`: opened after this call began, unless the one of the
        id `known` is idle.

        One that the block leaves by an exception or in a transaction is closed, which undoes what is open in it.
        """
        kept = None if fresh and known is None else await self._kept(tag, known if fresh else None)
        session = kept or await self._opened(tag)
        try:
            yield session
        except BaseException:
            if session.ended:  # what ended it may have ended the others: each is asked before it is lent again
                self._idle = [(one, min(since, self._clock() - PROBED_AFTER)) for one, since in self._idle]
            await session.close()
            raise
        if session.ended or session.in_transaction or self._closed or len(self._idle) >= MOST_IDLE:
            await session.close()
        else:
            self._idle.append((session, self._clock()))

    @property
    def settings(self) -> SnowflakeConnection:
        """Who it is that logs in, and where; secrets only by where they are read from."""
        return self._settings

    async def aclose(self) -> None:
        """Close what is idle now and, when it comes back, what is in use."""
        self._closed = True
        while self._idle:
            await self._idle.pop()[0].close()

    async def _kept(self, tag: Tag, known: str | None) -> Session | None:
        """An idle session, any or the one that is `known`, as far as can be told for nothing; one that was idle
        for long is asked."""
        while (place := self._place(known)) is not None:
            session, since = self._idle.pop(place)
            idle = self._clock() - since
            if idle < PROBED_AFTER or (idle < DROPPED_AFTER and await session.lives()):
                session.lent(tag)
                return session
            await session.close()
        return None

    def _place(self, known: str | None) -> int | None:
        """Where among the idle ones the session stands that was used last, or the one that is `known`."""
        places = reversed(range(len(self._idle)))
        return next((place for place in places if known in (None, self._idle[place][0].id)), None)

    async def _opened(self, tag: Tag) -> Session:
        return self._session(await self._connected(tag), tag)

    def _session(self, connection: Connection, tag: Tag) -> Session:
        return Session(connection, tag, self._settings, self._connected, self._clock, hear=self._hear)

    async def _connected(self, tag: Tag) -> Connection:
        """Log in and read the parameters back: none is trusted because it was asked for (N-4)."""
        connection = await self._login.connect(tag)
        session = self._session(connection, tag)
        wanted = parameters(self._settings, tag)
        try:
            if missing := differing(wanted, await _shown(session)):
                await session.rows(setting(missing))
                require(wanted, await _shown(session))
        except BaseException:
            await session.close()
            raise
        return connection


async def _shown(session: Session) -> dict[str, str]:
    """The parameters of a session as the server shows them."""
    return {row["key"]: str(row["value"]) for row in await session.records("SHOW PARAMETERS")}
