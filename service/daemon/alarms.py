"""Alarms: something is done after a time, each under a key of which there is one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarms:
    """`ring` is called when an alarm's time is over. Nothing rings after `close`."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._timers: dict[object, asyncio.TimerHandle] = {}
        self._closed = False

    def set(self, key: object, seconds: float) -> None:
        """Ring after so many seconds; the earlier alarm of this key is forgotten."""
        if (before := self._timers.pop(key, None)) is not None:
            before.cancel()
        if not self._closed:
            self._timers[key] = asyncio.get_running_loop().call_later(seconds, self._rings, key)

    def close(self) -> None:
        """Forget all of them; harmless when repeated."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()

    def _rings(self, key: object) -> None:
        self._timers.pop(key, None)
        self._ring()
