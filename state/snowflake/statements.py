"""Who wants to know hears of every statement that is sent: its first word, and what became of it (N-10, O-2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from state.errors import TransientError, UnknownOutcome

Hear = Callable[[str, str], None]
"""Takes a verb (`SELECT`) and a result: `ok`, `error`, `cancelled`, or `unknown` where no answer came."""


def deaf(_verb: str, _result: str) -> None:
    """Nobody wants to know."""


@contextmanager
def told(hear: Hear, verb: str) -> Iterator[None]:
    """Tell `hear` how the block ended: the time from a statement to its answer."""
    result = "error"
    try:
        yield
        result = "ok"
    except UnknownOutcome:
        result = "unknown"
        raise
    except asyncio.CancelledError:
        result = "cancelled"
        raise
    finally:
        hear(verb, result)


@asynccontextmanager
async def uploading(doing: str, seconds: int) -> AsyncIterator[None]:
    """The block is cancelled after so many seconds: a storage that does not answer is asked for minutes by the
    driver. Raises `TransientError` then; putting a file again is harmless."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TransientError(
            f"{doing} was not uploaded within {seconds} s",
            hint="It is tried again by itself; if it stays, look at the way to the storage of the stage, or raise"
            " snowflake_connection.upload_timeout_seconds.",
            code="upload",
        ) from None
