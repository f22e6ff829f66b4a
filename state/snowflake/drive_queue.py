"""One queue per process for everything the drive table asks of Snowflake: at most one statement in flight (G-8).

Statements that change a table wait for each other in Snowflake, and of those who wait the twenty-first is refused
with 000625. So the statements of a process queue up here, and one that was refused is tried again: a few times,
after a wait that differs from process to process. This is the one place outside `service/retry.py` that does.

A lock is waited for in pieces, and never as long as a lease lasts: whoever waits in the queue has leases to renew.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import TypeVar

from state.errors import SluicewayError, TransientError, UnknownOutcome
from state.finishing import finish
from state.snowflake.parameters import require, setting
from state.snowflake.session import Account, Session
from state.snowflake.tag import Tag

T = TypeVar("T")
Work = Callable[[Session], Awaitable[T]]

TRIES = 8
WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.2, 5.0
"""Before the second try, doubled each time, and at most; some 15 seconds in all."""

LOCK_SECONDS = 15
"""LOCK_TIMEOUT of the drive table's session: longest wait of one statement for a lock; it is tried again."""

PATIENCE_SECONDS = 310.0
"""After so long in its turn, nothing is tried again. Snowflake gives up a transaction that holds others up and
stands still for five minutes; that is waited for. A lease lasts ten minutes at least and is renewed after a third
of it: a turn ends within the other four hundred seconds, though its last try may wait for five locks (two to make
a pipeline known, two of a step, one to settle a lost answer)."""

CHANGED = "changed_meanwhile"
"""Code of a step that found its rows changed since it read them, or that was rolled back."""

WAITED = "lock_timeout"
"""Code of a statement that waited for a lock for as long as one may."""

NOT_RUN = frozenset({"lock_waiters", "deadlock", "session_gone", CHANGED})
"""Codes of errors after which nothing has happened, and which come at once."""


class Queue:
    """The drive table's one session, and the turn to use it. Closed by whoever made it.

    Statements that follow one another see each other's effect, because they run in the same session.
    """

    def __init__(
        self,
        account: Account,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        spread: Callable[[float, float], float] = random.uniform,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._account = account
        self._sleep = sleep
        self._spread = spread
        self._clock = clock
        self._turn = asyncio.Lock()
        self._began_at = clock()
        self._opened: AsyncExitStack | None = None
        self._session: Session | None = None
        self._withdrawn = False

    async def run(self, tag: Tag, work: Work[T]) -> T:
        """What `work` comes to, in its turn; tried again while its errors say that nothing has happened.

        A caller that is cancelled waits for the try under way, and no other follows.
        """
        async with self._turn:
            self._withdrawn, self._began_at = False, self._clock()
            return await finish(asyncio.create_task(self._tried(tag, work), name="drive step"), self._withdraw)

    async def settled(self, tag: Tag, again: Work[T], lost: UnknownOutcome) -> T:
        """Only for work in its turn: what `again` comes to in a session opened after the answer was `lost`.

        Raises `lost` if that remains without an answer as well.
        """
        try:
            return await self._patiently(tag, again, fresh=True)
        except (TransientError, UnknownOutcome) as error:
            raise lost from error

    async def aclose(self) -> None:
        """Wait for the try under way, then end the session. Harmless when repeated."""
        async with self._turn:
            await self._close()

    async def _tried(self, tag: Tag, work: Work[T]) -> T:
        fresh = False
        for tries in range(1, TRIES + 1):
            try:
                return await self._patiently(tag, work, fresh=fresh)
            except TransientError as error:
                if error.code not in NOT_RUN or tries == TRIES or self._is_over():
                    raise
                fresh = error.code == CHANGED and tries > 1  # a session may be slow to see what others committed
            ceiling = min(WAIT_SECONDS * 2 ** (tries - 1), LONGEST_WAIT_SECONDS)
            await self._sleep(self._spread(ceiling / 2, ceiling))
        raise AssertionError("unreachable: the last try answers or raises")

    async def _patiently(self, tag: Tag, work: Work[T], *, fresh: bool) -> T:
        """The same as often as a lock is waited for in vain."""
        while True:
            try:
                return await self._once(tag, work, fresh=fresh)
            except TransientError as error:
                if error.code != WAITED or self._is_over():
                    raise
            fresh = False
            await self._sleep(self._spread(WAIT_SECONDS / 2, WAIT_SECONDS))

    def _is_over(self) -> bool:
        """True if nothing may be tried again in this turn."""
        return self._withdrawn or self._clock() - self._began_at >= PATIENCE_SECONDS

    async def _once(self, tag: Tag, work: Work[T], *, fresh: bool) -> T:
        """One try, which leaves nothing open."""
        if fresh:
            await self._close()
        try:
            session = await self._ready(tag, fresh)
            return await work(session)
        finally:
            await self._tidy()

    async def _ready(self, tag: Tag, fresh: bool) -> Session:
        if self._session is None:
            async with AsyncExitStack() as stack:
                session = await stack.enter_async_context(self._account.session(tag, fresh=fresh))
                await bound_waits(session)
                self._opened, self._session = stack.pop_all(), session
        assert self._session is not None  # opened now or before
        await self._session.tag(tag)
        return self._session

    async def _tidy(self) -> None:
        """Undo what is open; a session that is over, or does not take that, is given up."""
        session = self._session
        if session is not None and session.in_transaction and not session.ended:
            with suppress(SluicewayError):
                await session.rows("ROLLBACK")
        if session is not None and (session.ended or session.in_transaction):
            await self._close()

    async def _close(self) -> None:
        opened, session, self._opened, self._session = self._opened, self._session, None, None
        if opened is not None and session is not None:
            await session.close()  # nobody else shall have it: its parameters are not those of the others
            await opened.aclose()

    def _withdraw(self) -> None:
        self._withdrawn = True


async def bound_waits(session: Session) -> None:
    """No statement of the session waits for a lock any longer than `LOCK_SECONDS`.

    Raises `ConfigurationError` if the session does not take that.
    """
    wanted = {"LOCK_TIMEOUT": str(LOCK_SECONDS)}
    if int((await _lock_timeout(session))["LOCK_TIMEOUT"]) > LOCK_SECONDS:  # else somebody wants it shorter
        await session.rows(setting(wanted))
        require(wanted, await _lock_timeout(session))


async def _lock_timeout(session: Session) -> dict[str, str]:
    found = await session.records("SHOW PARAMETERS LIKE 'LOCK_TIMEOUT' IN SESSION")
    return {row["key"]: str(row["value"]) for row in found}
