"""A stream that never blocks: a thread of its own writes, and a reader who stands still holds up nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Protocol

MOST_WAITING = 10_000
"""Texts that wait to be written; then the oldest give way."""


class Sink(Protocol):
    """What lines are written to: a text stream."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


class Background:
    """Writes to `stream` in order. For `count` texts that had to give way, `lost(count)` is written.

    It holds no lock: a warning may come up anywhere, in the midst of a write too, and wants to be written.
    """

    def __init__(self, stream: Sink, lost: Callable[[int], str], most: int = MOST_WAITING) -> None:
        self._stream = stream
        self._lost = lost
        self._most = most
        self._dropped = 0
        self._waiting: SimpleQueue[str | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="log-lines", daemon=True)
        self._thread.start()

    def write(self, text: str, /) -> None:
        """Put `text` in the queue; returns at once."""
        if self._waiting.qsize() >= self._most:
            with suppress(Empty):
                self._waiting.get_nowait()
                self._dropped += 1
        self._waiting.put(text)

    def flush(self) -> None:
        """Nothing: the thread flushes each text."""

    def close(self, seconds: float) -> bool:
        """Wait until everything is written, `seconds` at most; True if it is. The last thing to be called."""
        self._waiting.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (text := self._waiting.get()) is not None:
            if dropped := self._dropped:
                self._dropped -= dropped
                self._put(self._lost(dropped))
            self._put(text)

    def _put(self, text: str) -> None:
        with suppress(OSError, ValueError):  # a reader that went away, or a stream that was closed
            self._stream.write(text)
            self._stream.flush()
