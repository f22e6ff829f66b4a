"""How hard a cluster is worked: requests in flight and pauses, of all runs of this process together.

A guard belongs to what `source_system.endpoint` says, so that all pipelines of a daemon on one cluster share it,
and what it learnt outlives the run. Where they are configured differently, the most careful one counts for all.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple
from weakref import WeakKeyDictionary

from connectors.elasticsearch.pace import Pace
from state.errors import TransientError

PAUSED = "paused"
"""Code of the error about a pause that a server asked for and that is too long to be waited for here."""
_STRAINED = 2
"""Requests in flight at a cluster that takes one page at a time."""
_TELLING = 256 << 10
"""Bytes; smaller answers say little about speed."""


class Bounds(NamedTuple):
    """What one pipeline allows: requests at a time, and pages per second (None: any)."""

    requests: int
    pages_per_second: float | None


class Slot(NamedTuple):
    """The right to make one request. `at_once`: pages in flight with it; `cuts`: how often the guard cut them."""

    at_once: int
    cuts: int


class LoadGuard:
    """Lets requests through: pages as many at a time as pay, what else is asked beside them, in the order in which
    they ask. Belongs to one event loop."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._pace = Pace()
        self._members: dict[object, Bounds] = {}
        self._waiting: dict[bool, deque[asyncio.Future[None]]] = {True: deque(), False: deque()}
        self._in_flight = {True: 0, False: 0}
        """Both by whether it is a page."""
        self._cuts = 0
        self._next_page = 0.0
        self._closed_until = 0.0

    @property
    def allowed(self) -> int:
        """Pages at the same time, now."""
        return min(self._pace.level, self._most)

    def _is_free(self, page: bool) -> bool:
        """Of a cluster that takes one page at a time little else is asked beside it."""
        most = self._most if self.allowed > 1 else min(_STRAINED, self._most)
        return sum(self._in_flight.values()) < most and (not page or self._in_flight[True] < self.allowed)

    @property
    def _most(self) -> int:
        return min((bounds.requests for bounds in self._members.values()), default=1)

    def join(self, member: object, bounds: Bounds) -> None:
        """`member` makes requests from now on; its bounds count until it leaves."""
        self._members[member] = bounds

    def leave(self, member: object) -> None:
        """Harmless when repeated."""
        self._members.pop(member, None)
        self._let_in()

    @asynccontextmanager
    async def slot(self, patience: float | None, *, page: bool) -> AsyncIterator[Slot]:
        """Wait for the right to make one request, which ends with the context.

        Raises `TransientError` where the server asked for a pause of more than `patience` seconds; None: the
        request relieves the server, and no pause is meant for it.
        """
        await self._turn(page)
        try:
            if patience is not None:
                await self._pause(patience, page)
            yield Slot(self._in_flight[True], self._cuts)
        finally:
            self._leave_slot(page)

    def came(self, slot: Slot, size: int, seconds: float) -> None:
        """A page of `size` bytes took `seconds`."""
        if size >= _TELLING:
            self._pace.came(size, seconds, slot.at_once, self._most)
            self._let_in()

    def refused(self, slot: Slot, retry_after: float | None) -> None:
        """The server had too much to do. Requests that were in flight together count as one refusal."""
        if slot.cuts == self._cuts:
            self._cuts += 1
            self._pace.refused()
        if retry_after is not None:
            self._closed_until = max(self._closed_until, self._clock() + retry_after)

    async def _turn(self, page: bool) -> None:
        if not self._waiting[page] and self._is_free(page):
            self._in_flight[page] += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[page].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave_slot(page)  # it was let in just then
            raise

    def _let_in(self) -> None:
        """Pages first where they leave room for others; else the others, which hold up more than one page."""
        pages_first = self.allowed < self._most
        for page in (pages_first, not pages_first):
            waiting = self._waiting[page]
            while waiting and self._is_free(page):
                turn = waiting.popleft()
                if not turn.done():
                    self._in_flight[page] += 1
                    turn.set_result(None)

    def _leave_slot(self, page: bool) -> None:
        self._in_flight[page] -= 1
        self._let_in()

    async def _pause(self, patience: float, page: bool) -> None:
        begin = self._reserved() if page else 0.0
        while (left := max(begin, self._closed_until) - self._clock()) > 0:
            if (asked := self._closed_until - self._clock()) > patience:
                raise TransientError(
                    f"the search server asked for a pause, {asked:.0f} seconds of which are left",
                    hint="Nothing to do: requests are made again when it is over.",
                    code=PAUSED,
                    retry_after=asked,
                )
            await self._sleep(left)

    def _reserved(self) -> float:
        """When the next page may be asked for."""
        slowest = min(
            (each.pages_per_second for each in self._members.values() if each.pages_per_second), default=0
        )
        begin = max(self._clock(), self._next_page)
        self._next_page = begin + 1 / slowest if slowest else 0.0
        return begin


_GUARDS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, ...], LoadGuard]] = WeakKeyDictionary()


def guard_of(endpoints: tuple[str, ...]) -> LoadGuard:
    """The guard of a cluster in the running event loop."""
    guards = _GUARDS.setdefault(asyncio.get_running_loop(), {})
    return guards.setdefault(tuple(sorted(endpoints)), LoadGuard())
