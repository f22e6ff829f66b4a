"""Runs a step, which is a plain function, over a store whose driver is asynchronous.

The rules of a drive table (`state.rules`) ask the store one question after another and decide in between. The step
runs in a thread of its own; each question goes to the event loop, and the thread waits for the answer. The loop is
never blocked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any, ParamSpec, Protocol, TypeVar

from state.finishing import finish

T = TypeVar("T")
P = ParamSpec("P")


class Transaction(Protocol):
    """What a step runs inside."""

    async def begin(self) -> None:
        """Open it; after an error there is none."""

    async def commit(self) -> None:
        """Make it last; after an error there is none open any more."""

    async def rollback(self) -> None:
        """Undo it, if need be by closing the session. Raises nothing: the step's own error is on its way."""


class Withdrawn(Exception):
    """Ends a step whose caller was cancelled; seen by nobody but the step."""


class Bridge:
    """One step at a time; the others wait for their turn.

    A caller that is cancelled gets its `CancelledError` only when nothing of its step is under way any more: the
    question that was asked is answered, the next is refused, and the transaction is rolled back. A COMMIT that was
    sent is waited for. How long that takes is bounded by the driver's timeouts.
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._turn = asyncio.Lock()
        self._withdrawn = Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def ask(self, question: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Only for a step, in its thread: what `question(*args)` comes to, awaited in the loop."""
        if self._withdrawn.is_set():
            raise Withdrawn
        assert self._loop is not None  # a step is running
        return asyncio.run_coroutine_threadsafe(question(*args, **kwargs), self._loop).result()

    async def run(self, step: Callable[[], T]) -> T:
        """The step's answer, or its error unchanged; without a transaction."""
        async with self._turn:
            return await self._guarded(self._step(step))

    async def transact(self, transaction: Transaction, step: Callable[[], T]) -> T:
        """The step's answer when it is committed, or its error unchanged when it is rolled back."""
        async with self._turn:
            return await self._guarded(self._within(transaction, step))

    async def aclose(self) -> None:
        """Wait for the step under way, and end the thread. Harmless when repeated."""
        async with self._turn:
            self._thread.shutdown(wait=True)

    async def _within(self, transaction: Transaction, step: Callable[[], T]) -> T:
        await transaction.begin()
        try:
            answer = await self._step(step)
            if self._withdrawn.is_set():
                raise Withdrawn
        except BaseException:
            await transaction.rollback()
            raise
        await transaction.commit()
        return answer

    async def _step(self, step: Callable[[], T]) -> T:
        # whoever cancels the guarded task itself (the loop's end) waits for the thread as well
        return await finish(asyncio.wrap_future(self._thread.submit(step)), self._withdrawn.set)

    async def _guarded(self, work: Coroutine[Any, Any, T]) -> T:
        self._withdrawn.clear()
        self._loop = asyncio.get_running_loop()
        return await finish(asyncio.create_task(work, name="drive step"), self._withdrawn.set)
