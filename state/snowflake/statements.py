"""Who wants to know hears of every statement that is sent: its first word, and what became of it (N-10, O-2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from state.errors import UnknownOutcome

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
