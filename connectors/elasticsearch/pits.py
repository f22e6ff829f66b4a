"""The set of points in time of one attempt: opened when first needed, shared by its parts, always closed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connectors.elasticsearch.catalog import Index, require_still_there
from connectors.elasticsearch.load import PAUSED
from connectors.elasticsearch.points import Point, Points
from connectors.elasticsearch.settings import ElasticsearchSettings
from connectors.elasticsearch.ways import Ways
from state.errors import RestartAttempt, TransientError

_HARMLESS = frozenset({"connection", "timeout", PAUSED})


@dataclass(eq=False)
class PitSet:
    """Open points in time that together hold the source once, as it was at `read_at`.

    `users`: parts that read from it now. `spoiled`: no new part may begin on it. `used_at`: monotonic seconds.
    """

    points: tuple[Point, ...]
    read_at: datetime
    used_at: float
    users: int = 0
    spoiled: bool = False


class PitKeeper:
    """Hands the set out and takes it back. A set that was lost is replaced by a new one for the parts to come."""

    def __init__(
        self,
        settings: ElasticsearchSettings,
        points: Points,
        ways: Ways,
        indices: tuple[Index, ...],
        *,
        clock: Callable[[], Awaitable[datetime]],
        look_up: Callable[[], Awaitable[tuple[Index, ...]]],
    ) -> None:
        self._settings = settings
        self._points = points
        self._ways = ways
        self._clock = clock
        self._look_up = look_up
        self._indices = indices
        self._opening: asyncio.Task[PitSet] | None = None
        self._leaving: set[PitSet] = set()

    @asynccontextmanager
    async def use(self, query: Mapping[str, Any]) -> AsyncIterator[PitSet]:
        """The attempt's set, opened if none is still alive; `query` is what is read from it first."""
        pits = await self._current(query)
        pits.users += 1
        try:
            yield pits
        except (RestartAttempt, TransientError) as error:
            if _spoils(error):
                self.spoil(pits)
            raise
        finally:
            pits.users -= 1
            await self._close_left()

    def spoil(self, pits: PitSet) -> None:
        """No part begins on this set any more; it is closed when the last of its parts leaves."""
        pits.spoiled = True
        if self._opening is not None and self._opening.done() and _result(self._opening) is pits:
            self._opening = None
            self._leaving.add(pits)

    async def aclose(self) -> None:
        """Close every set, one that is just being opened too; harmless when repeated."""
        opening, self._opening = self._opening, None
        if opening is not None:
            await _finished(opening)
            if (pits := _result(opening)) is not None:
                self._leaving.add(pits)
        for pits in self._leaving:
            pits.users = 0
        await self._close_left()

    async def _current(self, query: Mapping[str, Any]) -> PitSet:
        pits = None if self._opening is None or not self._opening.done() else _result(self._opening)
        if pits is not None and time.monotonic() - pits.used_at > self._settings.keep_alive_seconds:
            self.spoil(pits)  # the server has forgotten it by now
            await self._close_left()
        if self._opening is None or (self._opening.done() and _result(self._opening) is None):
            self._opening = asyncio.create_task(self._open(query), name="open-points-in-time")
        # A part that is cancelled leaves the opening to the others and to `aclose`: what the server is about to
        # hand out is never lost on the way.
        return await asyncio.shield(self._opening)

    async def _open(self, query: Mapping[str, Any]) -> PitSet:
        """A new set. Raises `PermanentError` if an index that was read from is gone."""
        opened: list[Point] = []
        try:
            await self._look_again()
            read_at = await self._ways.open(self._indices, opened, query, self._clock)
            await self._look_again()
        except BaseException:
            await self._points.close(opened)
            raise
        return PitSet(tuple(opened), read_at, time.monotonic())

    async def _look_again(self) -> None:
        now = await self._look_up()
        require_still_there(self._indices, now, self._settings)
        self._indices = now

    async def _close_left(self) -> None:
        """Close sets that are spoiled and that no part reads from. Cancelled in the middle, it still finishes."""
        idle = [pits for pits in self._leaving if not pits.users]
        if idle:
            self._leaving.difference_update(idle)
            points = [point for pits in idle for point in pits.points]
            closing = asyncio.create_task(self._points.close(points), name="close-points-in-time")
            await _finished(closing)
            closing.result()


def _spoils(error: RestartAttempt | TransientError) -> bool:
    """True if no part should be read from the same set again: something was lost, or a shard may be away."""
    busy = isinstance(error, TransientError) and (error.shrink or error.code in _HARMLESS)
    return not busy


def _result(task: asyncio.Task[PitSet]) -> PitSet | None:
    """The set that a finished task opened; None if it failed."""
    return None if task.cancelled() or task.exception() is not None else task.result()


async def _finished(task: asyncio.Task[Any]) -> None:
    """Wait until the task is done, even if this wait is cancelled; then the cancellation goes on."""
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
