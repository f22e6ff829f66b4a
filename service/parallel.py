"""Several pieces of work side by side, with one error at the end: the one that decides what happens next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from state.errors import LeaseLost, RestartAttempt, SluicewayError, TransientError, UnknownOutcome
from state.finishing import finish

T = TypeVar("T")

_MILDEST_FIRST = (TransientError, RestartAttempt, UnknownOutcome)
"""What a retry mends. A quarantine weighs more, a lost lease still more, a defect most."""


async def each(items: Iterable[T], limit: int, work: Callable[[T], Awaitable[None]]) -> None:
    """Await `work(item)` for all items, `limit` at a time, begun in order.

    The first error cancels the others. If several fail, the gravest is raised, never an exception group. A
    cancellation goes on whatever fails beside it: an `asyncio.TaskGroup` lets it give way to errors, and before
    Python 3.13 it leaves one of its own behind.
    """
    queue = iter(items)

    async def worker() -> None:
        for item in queue:
            await work(item)

    tasks = [asyncio.create_task(worker()) for _ in range(limit)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        errors = await finish(_ended(tasks))
    if errors:
        raise max(errors, key=_gravity)


async def _ended(tasks: Iterable[asyncio.Task[None]]) -> list[BaseException]:
    """Cancel what goes on, and wait for its end; what failed."""
    for task in tasks:
        task.cancel()
    ended, _ = await asyncio.wait(tasks)
    return [error for task in ended if not task.cancelled() and (error := task.exception()) is not None]


def _gravity(error: BaseException) -> int:
    if isinstance(error, LeaseLost):
        return len(_MILDEST_FIRST) + 1
    if not isinstance(error, SluicewayError):
        return len(_MILDEST_FIRST) + 2
    return next((rank for rank, kind in enumerate(_MILDEST_FIRST) if isinstance(error, kind)), len(_MILDEST_FIRST))
