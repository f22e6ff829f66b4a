"""One queue per process for everything the drive table asks of Snowflake: at most one statement in flight (G-8).

Statements that change a table wait for each other in Snowflake, and of those who wait the twenty-first is refused
with 000625. So the statements of a process queue up here, and one that was refused is tried again: a few times,
after a wait that differs from process to process. This is the one place outside `service/retry.py` that does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from state.errors import TransientError, UnknownOutcome
from state.finishing import finish
from state.snowflake.session import Account, Session
from state.snowflake.tag import Tag

T = TypeVar("T")
Work = Callable[[Session], Awaitable[T]]

TRIES = 8
WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.2, 5.0
"""Before the second try, doubled each time, and at most; some 15 seconds in all."""

CHANGED = "changed_meanwhile"
"""Code of a step that found its rows changed since it read them, or that was rolled back."""

NOT_RUN = frozenset({"lock_waiters", "lock_timeout", "deadlock", "session_gone", CHANGED})
"""Codes of errors after which nothing has happened."""


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
    ) -> None:
        self._account = account
        self._sleep = sleep
        self._spread = spread
        self._turn = asyncio.Lock()
        self._opened: AbstractAsyncContextManager[Session] | None = None
        self._session: Session | None = None
        self._withdrawn = False

    async def run(self, tag: Tag, work: Work[T]) -> T:
        """What `work` comes to, in its turn; tried again while its errors say that nothing has happened.

        A caller that is cancelled waits for the try under way, and no other follows.
        """
        async with self._turn:
            self._withdrawn = False
            return await finish(asyncio.create_task(self._tried(tag, work), name="drive step"), self._withdraw)

    async def settled(self, tag: Tag, again: Work[T], lost: UnknownOutcome) -> T:
        """Only for work in its turn: what `again` comes to in a session opened after the answer was `lost`.

        Raises `lost` if that remains without an answer as well.
        """
        try:
            return await self._once(tag, again, fresh=True)
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
                return await self._once(tag, work, fresh=fresh)
            except TransientError as error:
                if error.code not in NOT_RUN or tries == TRIES or self._withdrawn:
                    raise
                fresh = error.code == CHANGED and tries > 1  # a session may be slow to see what others committed
            ceiling = min(WAIT_SECONDS * 2 ** (tries - 1), LONGEST_WAIT_SECONDS)
            await self._sleep(self._spread(ceiling / 2, ceiling))
        raise AssertionError("unreachable: the last try answers or raises")

    async def _once(self, tag: Tag, work: Work[T], *, fresh: bool) -> T:
        """One try. A session that something is open in is not used again, which undoes it."""
        if fresh:
            await self._close()
        try:
            session = await self._ready(tag, fresh)
            return await work(session)
        finally:
            if self._session is not None and (self._session.ended or self._session.in_transaction):
                await self._close()

    async def _ready(self, tag: Tag, fresh: bool) -> Session:
        if self._session is None:
            opened = self._account.session(tag, fresh=fresh)
            self._session = await opened.__aenter__()
            self._opened = opened
        await self._session.tag(tag)
        return self._session

    async def _close(self) -> None:
        opened, self._opened, self._session = self._opened, None, None
        if opened is not None:
            await opened.__aexit__(None, None, None)  # which closes one that something is open in

    def _withdraw(self) -> None:
        self._withdrawn = True
