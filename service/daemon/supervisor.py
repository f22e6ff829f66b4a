"""Tasks that live as long as the process: named, guarded, none forgotten.

An eternal task that ends, whichever way, is a defect: the process stops with it and says so, because a daemon that
goes on without one of its parts looks alive and is not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

_log = logging.getLogger(__name__)


class TaskEnded(Exception):
    """An eternal task ended; `__cause__` is what ended it, if anything was raised."""


class Supervisor:
    """Watches over eternal tasks; `broken` is done as soon as one of them has ended by itself."""

    def __init__(self) -> None:
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._kept: set[asyncio.Task[Any]] = set()
        self._watched: set[asyncio.Task[Any]] = set()

    def keep(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work`, which never returns, until `let_go` or `aclose`."""
        task = asyncio.create_task(work, name=name)
        self._kept.add(task)
        self.watch(task)
        return task

    def watch(self, task: asyncio.Task[Any]) -> None:
        """Until `aclose`, the end of this task, which somebody else began and will end, is a defect."""
        self._watched.add(task)
        task.add_done_callback(self._ended)

    async def let_go(self, *tasks: asyncio.Task[Any]) -> None:
        """Cancel tasks on purpose, and wait for their end."""
        self._watched.difference_update(tasks)
        self._kept.difference_update(tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def aclose(self) -> None:
        """Let all of them go; what is only watched goes on."""
        self._watched.clear()
        await self.let_go(*self._kept)
        self.broken.cancel()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if task not in self._watched:
            if not task.cancelled() and task.exception() is not None:
                _log.debug("%s failed while it was let go", task.get_name(), exc_info=task.exception())
            return
        self._watched.discard(task)
        if not self.broken.done():
            error = TaskEnded(f"{task.get_name()} ended, which it never should")
            error.__cause__ = None if task.cancelled() else task.exception()
            self.broken.set_exception(error)
