"""The pulse of the event loop: how late it wakes, and whether it stood still."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NoReturn

BEAT_SECONDS = 0.1


class Pulse:
    """`observe` hears by how many seconds each beat came late."""

    def __init__(self, observe: Callable[[float], None], stalled_seconds: float) -> None:
        self._observe = observe
        self._stalled_seconds = stalled_seconds
        self._last_lag = 0.0
        self._beat_at = time.monotonic()

    @property
    def is_stalled(self) -> bool:
        """True if the loop stood still for too long just now."""
        return max(self._last_lag, time.monotonic() - self._beat_at - BEAT_SECONDS) > self._stalled_seconds

    async def keep(self) -> NoReturn:
        """Beat for ever; run it as a task of its own."""
        while True:
            self._beat_at = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)
            self._last_lag = max(time.monotonic() - self._beat_at - BEAT_SECONDS, 0.0)
            self._observe(self._last_lag)
