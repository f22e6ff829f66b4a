"""Long statements: submitted, then asked for by their id, so that a lost connection costs no second run (N-3)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from state.errors import SluicewayError, TransientError, UnknownOutcome
from state.finishing import finish
from state.snowflake.driver import Connection, closed
from state.snowflake.driver import errors as vendor
from state.snowflake.errors import doubted, ends_session, explain
from state.snowflake.meanings import SETTLED
from state.snowflake.values import read

ASKED_AGAIN_AFTER = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, *[30.0] * 7)
"""Seconds to wait before each further question where answers are lost in a row. Together they are some four
minutes: a statement that nobody asked for in five is aborted (ABORT_DETACHED_QUERY)."""

PAUSES = (0.05, 2.0)
"""Seconds between two questions while it runs, shortest and longest. Snowflake holds each for 45 seconds."""

ABORT_SECONDS = 10.0
"""Longest time of telling Snowflake to end a statement that nobody wants any more."""

SLICE = 500
"""Rows that are read at a time: the driver makes values of them in the event loop's own thread, some ten
milliseconds for so many."""

Row = tuple[Any, ...]
Answer = tuple[list[str], list[Row]]


async def answer_of(cursor: Any) -> Answer:
    """Names of the columns and all rows. Other tasks have their turn after each slice of them."""
    columns = [column.name for column in cursor.description or ()]
    rows: list[Row] = []
    while found := await cursor.fetchmany(SLICE):
        rows += [tuple(map(read, row)) for row in found]
        await asyncio.sleep(0)
    return columns, rows


def not_taken(error: vendor.Error) -> bool:
    """True if Snowflake answered, but not with the id of a statement: the session is over, or the like."""
    return "did not report a queryId" in str(error.raw_msg)


class Submitted:
    """A statement at work in Snowflake, known by its id. It must be all of its transaction.

    The question for its result is what keeps it at work: asking for its status alone would not. Where the session
    is over, it is asked for in another one; `moved` is True then.
    """

    def __init__(
        self,
        connection: Connection,
        query_id: str,
        doing: str,
        reopen: Callable[[], Awaitable[Connection]],
        clock: Callable[[], float],
    ) -> None:
        self._connection = connection
        self._query_id = query_id
        self._doing = doing
        self._reopen = reopen
        self._clock = clock
        self.moved = False

    async def answer(self, seconds: float) -> Answer:
        """Wait for its answer, which comes at most so many seconds from now. Raises what became of it, and
        `UnknownOutcome` if nobody can be asked for minutes. If the task is cancelled, the statement is aborted."""
        try:
            return await self._answered(self._clock() + seconds)
        except asyncio.CancelledError:
            await finish(self.abort())
            raise
        finally:
            await self._leave()

    async def abort(self) -> None:
        """End it; if Snowflake does not hear of that, it ends by itself after five minutes without a question."""
        with suppress(vendor.Error, TimeoutError):
            async with asyncio.timeout(ABORT_SECONDS):
                await self._connection.cursor().abort_query(self._query_id)

    async def _answered(self, until: float) -> Answer:
        lost, pause = 0, PAUSES[0]
        while True:
            try:
                found = await self._asked()
            except vendor.Error as error:
                await self._lost(explain(error, self._doing), error, lost)
                lost += 1
                continue
            if found is not None:
                return found
            if self._clock() >= until:
                await self.abort()
                raise UnknownOutcome(f"{self._doing}: it does not end", hint=SETTLED, code="lost")
            lost, pause = 0, min(pause * 2, PAUSES[1])
            await asyncio.sleep(pause)

    async def _asked(self) -> Answer | None:
        """One question of bounded length; None: it is at work still."""
        cursor = self._connection.cursor()
        try:
            await cursor.query_result(self._query_id)
            return None if cursor.description is None else await answer_of(cursor)
        finally:
            cursor.close()
            self._connection.messages.clear()

    async def _lost(self, found: SluicewayError, error: vendor.Error, before: int) -> None:
        """Wait, and be ready to ask again; raise `found` if it is the statement's own end, or has lasted."""
        if not ends_session(found):
            raise found from error
        if before == len(ASKED_AGAIN_AFTER):
            raise doubted(found) from error
        await asyncio.sleep(ASKED_AGAIN_AFTER[before])
        if found.code == "session_gone":
            with suppress(TransientError):  # the next question finds that out
                await self._move()

    async def _move(self) -> None:
        """Ask in a session of its own. The one that it was submitted in is left as it is: its end could be that of
        the statement."""
        connection = await self._reopen()
        await self._leave()
        self._connection, self.moved = connection, True

    async def _leave(self) -> None:
        """End a session that was opened to ask in."""
        if self.moved:
            await closed(self._connection)
