"""Work that must not be left half done, although whoever asked for it is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_log = logging.getLogger(__name__)


def go_on() -> None:
    """Nothing is told to work that shall be done whole."""


async def finish(work: Awaitable[T], withdraw: Callable[[], None] = go_on) -> T:
    """Await `work` to its end, however often the caller is cancelled meanwhile; each time, `withdraw` is called.

    After a cancellation the cancellation goes on, whatever `work` came to.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
            withdraw()
    if cancelled is None:
        return task.result()
    if not task.cancelled() and (failure := task.exception()) is not None:
        _log.debug("work that was finished after a cancellation failed", exc_info=failure)
    raise cancelled
