"""SIGINT and SIGTERM during a command: what is under way is let go with its progress."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

import typer

from service import exit_codes
from service.console import Console

T = TypeVar("T")
CODES = {signal.SIGINT: exit_codes.INTERRUPTED, signal.SIGTERM: exit_codes.STOPPED}


def until_told_to_stop(work: Coroutine[Any, Any, T], console: Console) -> T:
    """What `work` returns. A first signal cancels it, and `typer.Exit` is raised; later ones change nothing."""
    told: list[signal.Signals] = []

    async def guarded() -> T:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()

        def stop(number: signal.Signals) -> None:
            if not told:
                told.append(number)
                task.cancel()

        for number in CODES:
            loop.add_signal_handler(number, stop, number)
        return await task

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        if not told:
            raise
        console.note("Stopped. What was done is kept; `sluiceway run` goes on from there.")
        raise typer.Exit(CODES[told[0]]) from None
