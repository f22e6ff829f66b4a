"""How many runs walk at the same time in one process, and whose turn it is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """`total` turns, given fairly: the pipeline that has the fewest goes first, then who has waited longest.

    So one pipeline that catches up on a year never keeps the others from their minute.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._narrow = False
        self._taken: Counter[str] = Counter()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []

    @property
    def taken(self) -> int:
        """Turns that are out now."""
        return self._taken.total()

    def narrow(self, narrow: bool) -> None:
        """One at a time from now on, or as many as ever; who has a turn keeps it."""
        self._narrow = narrow
        self._grant()

    @asynccontextmanager
    async def turn(self, pipeline: str) -> AsyncIterator[None]:
        """Wait for a turn and hold it for as long as the block lasts."""
        await self._wait(pipeline)
        try:
            yield
        finally:
            self._give_back(pipeline)

    async def _wait(self, pipeline: str) -> None:
        granted = asyncio.get_running_loop().create_future()
        self._waiting.append((pipeline, granted))
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if not granted.cancelled():  # it came in the same moment
                self._give_back(pipeline)
            raise

    def _give_back(self, pipeline: str) -> None:
        self._taken[pipeline] -= 1
        if not self._taken[pipeline]:
            del self._taken[pipeline]
        self._grant()

    def _grant(self) -> None:
        self._waiting = [one for one in self._waiting if not one[1].cancelled()]
        while self._waiting and self.taken < (1 if self._narrow else self.total):
            place = min(range(len(self._waiting)), key=lambda at: (self._taken[self._waiting[at][0]], at))
            pipeline, granted = self._waiting.pop(place)
            self._taken[pipeline] += 1
            granted.set_result(None)
