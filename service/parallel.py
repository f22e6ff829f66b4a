"""Several pieces of work side by side, with one error at the end: the one that decides what happens next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from state.errors import LeaseLost, RestartAttempt, SluicewayError, TransientError, UnknownOutcome

T = TypeVar("T")

_MILDEST_FIRST = (TransientError, RestartAttempt, UnknownOutcome)
"""What a retry mends. A quarantine weighs more, a lost lease still more, a defect most."""


async def each(items: Iterable[T], limit: int, work: Callable[[T], Awaitable[None]]) -> None:
    """Await `work(item)` for all items, `limit` at a time, begun in order.

    The first error cancels the others. If several fail, the gravest is raised, never an exception group.
    """
    queue = iter(items)

    async def worker() -> None:
        for item in queue:
            await work(item)

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(limit):
                tasks.create_task(worker())
    except BaseExceptionGroup as group:
        raise max(_leaves(group), key=_gravity) from None


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found


def _gravity(error: BaseException) -> int:
    if isinstance(error, LeaseLost):
        return len(_MILDEST_FIRST) + 1
    if not isinstance(error, SluicewayError):
        return len(_MILDEST_FIRST) + 2
    return next((rank for rank, kind in enumerate(_MILDEST_FIRST) if isinstance(error, kind)), len(_MILDEST_FIRST))
