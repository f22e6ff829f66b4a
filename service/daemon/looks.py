"""Looks of pipelines: how the last one went, and how many go on at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from state.errors import SluicewayError

PATIENCE_SECONDS = 2.0
"""A look that takes longer waits for a server, and keeps others from theirs no longer."""


@dataclass
class Health:
    """How the last look went; times are monotonic seconds."""

    looked_at: float | None = None
    failing_since: float | None = None
    error: SluicewayError | None = None


@asynccontextmanager
async def slot(looks: asyncio.Semaphore) -> AsyncIterator[None]:
    """One of `looks`, for as long as the block lasts, `PATIENCE_SECONDS` at most."""
    await looks.acquire()
    given_back = False

    def give_back() -> None:
        nonlocal given_back
        if not given_back:
            given_back = True
            looks.release()

    timer = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, give_back)
    try:
        yield
    finally:
        timer.cancel()
        give_back()
