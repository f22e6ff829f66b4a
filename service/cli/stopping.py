"""SIGINT and SIGTERM during a command: what is under way is let go with its progress."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

import typer

from service import exit_codes
from service.cli.failures import SAFE, Trouble, tell
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
        say_so(told[0], console)
        raise typer.Exit(CODES[told[0]]) from None


def say_so(number: signal.Signals, console: Console) -> None:
    kept = "What was done is kept; the same command goes on from there."
    if console.json:
        what = f"stopped by {number.name}"
        tell(Trouble("stopped", what, "", "stopped", number.name.lower(), SAFE, kept, ""), json=True)
    else:
        console.note(f"Stopped. {kept}")
