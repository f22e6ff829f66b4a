"""Blocking iterators, one step at a time in a thread, so that the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from typing import Generic, TypeVar

from state.errors import RestartAttempt

T = TypeVar("T")


class Stepper(Generic[T]):
    """Steps through a generator of blocking work.

    A thread cannot be cancelled: whoever is cancelled leaves its step to end by itself, and `aclose` waits
    for that step before the generator, and with it every open file, is closed.
    """

    def __init__(self, steps: Generator[T, None, None]) -> None:
        self._steps = steps
        self._turn = threading.Lock()
        self._closed = False

    async def step(self) -> T | None:
        """The next value, None at the end. Raises `RestartAttempt` if it was closed before the end."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self._step))

    async def aclose(self) -> None:
        """Close the generator; harmless when repeated."""
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self._close))

    def _step(self) -> T | None:
        with self._turn:
            if self._closed:
                raise RestartAttempt("a closed snapshot cannot be read further", code="snapshot_closed")
            return next(self._steps, None)

    def _close(self) -> None:
        with self._turn:
            self._closed = True
            self._steps.close()
