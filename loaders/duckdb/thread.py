"""The one thread that a loader's calls run in, one after another, and whether more of them wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")


class CallThread:
    """`idle` is called after a call that ended, or was withdrawn, if no other waits; never beside a call."""

    def __init__(self, idle: Callable[[], None]) -> None:
        self._idle = idle
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="duckdb")
        self._lock = Lock()
        self._waiting = 0

    @property
    def calls_wait(self) -> bool:
        """True if a call has not begun yet: the file is opened again at once."""
        with self._lock:
            return self._waiting > 0

    async def run(self, call: Callable[[], T]) -> T:
        """`call` in the thread, when those before it have ended. Cancelled, it still ends if it has begun."""
        self._count(1)
        future = self._pool.submit(self._begin, call)
        future.add_done_callback(self._withdrawn)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Wait for what was called so far."""
        self._pool.shutdown(wait=True)

    def _begin(self, call: Callable[[], T]) -> T:
        self._count(-1)
        try:
            return call()
        finally:
            self._settle()

    def _withdrawn(self, future: Future[Any]) -> None:
        if not future.cancelled():
            return
        self._count(-1)
        try:
            self._pool.submit(self._settle)
        except RuntimeError:  # closed already
            self._settle()

    def _settle(self) -> None:
        if not self.calls_wait:
            self._idle()

    def _count(self, by: int) -> None:
        with self._lock:
            self._waiting += by
