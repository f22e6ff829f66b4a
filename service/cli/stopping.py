"""SIGINT and SIGTERM during a command: what is under way is let go with its progress; a second one is final."""

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
RELEASING = "Stopping: runs are being released; a second signal ends this process at once."
CODES = {signal.SIGINT: exit_codes.INTERRUPTED, signal.SIGTERM: exit_codes.STOPPED}


def until_told_to_stop(work: Coroutine[Any, Any, T], console: Console) -> T:
    """What `work` returns. A first signal cancels it, and `typer.Exit` is raised; a second ends the process.

    So even a user's function that hangs can be ended; its run is taken over as that of any dead process.
    """
    told: list[signal.Signals] = []

    async def guarded() -> T:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()

        def stop(number: signal.Signals) -> None:
            told.append(number)
            task.cancel()
            for each in CODES:
                loop.remove_signal_handler(each)
                signal.signal(each, signal.SIG_DFL)  # asyncio leaves SIGINT an exception, which waits for threads
            console.note(RELEASING)

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
