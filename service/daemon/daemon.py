"""The daemon from start to stop: a folder of pipelines, each attended to, until a signal says otherwise."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from loaders.spool import Quota
from service import exit_codes
from service.app import load
from service.daemon.attendant import LAST_SECONDS, Attendant, Found, nobody
from service.daemon.fleet import Changes, Fleet
from service.daemon.headroom import Headroom, container_limit
from service.daemon.resources import Hear, Resources
from service.daemon.settings import DaemonSettings
from service.daemon.supervisor import Supervisor
from service.daemon.turns import Turns
from service.events import (
    ConfigRefused,
    DaemonStarted,
    DaemonStopped,
    DrainBegan,
    Emit,
    LookFailed,
    PipelineAdded,
    PipelineRemoved,
)
from service.memory import resident
from service.scheduler import Scheduler
from service.settings import PipelineConfig
from state.errors import SluicewayError
from state.port import Port, direct

LOOKS = 8
"""Looks at the same time: they are short, and a start with hundreds of pipelines shall not be a storm."""
AGAIN_SECONDS = 15.0
"""Seconds until a pipeline that could not be opened is tried again."""


@dataclass
class Attended:
    """A pipeline of the daemon. `attendant` is None, and `error` says why, until what it needs could be opened."""

    config: PipelineConfig
    attendant: Attendant | None = None
    error: SluicewayError | None = None
    leaving: bool = False

    @property
    def name(self) -> str:
        return self.config.pipeline_metadata.pipeline_name

    @property
    def unfinished(self) -> int:
        """Runs that are open in the drive table, as far as is known."""
        standing = self.attendant.standing if self.attendant else None
        return len(standing.unfinished) if standing else 0

    @property
    def going(self) -> int:
        """Those of them that do not wait for an operator, and those that are being created."""
        standing = self.attendant.standing if self.attendant else None
        return len(standing.going) + self.attendant.opening if self.attendant and standing else 0

    @property
    def trouble(self) -> SluicewayError | None:
        """Why the last look failed; None if it went well."""
        return self.attendant.health.error if self.attendant else self.error

    @property
    def is_well(self) -> bool:
        """True once a look went well, and the last one did."""
        return self.trouble is None and self.attendant is not None and self.attendant.health.looked_at is not None


class Daemon:
    """Use once, inside an event loop. `stop` and `at_once` are set from outside: by signals, or by a test."""

    def __init__(
        self,
        folder: Path,
        settings: DaemonSettings,
        emit: Emit,
        *,
        port: Port = direct,
        hear: Hear | None = None,
        found: Found = nobody,
    ) -> None:
        self.settings = settings
        self.fleet = Fleet(folder)
        self.emit = emit
        self.stop = asyncio.Event()
        self.at_once = asyncio.Event()
        self.pipelines: dict[str, Attended] = {}
        self.turns = Turns(settings.max_runs)
        self.supervisor = Supervisor()
        self.scheduler = Scheduler(emit)
        self._found = found
        self.quota = Quota(settings.spool_quota_bytes)
        self._alone = True
        self.resources = Resources(self.supervisor, emit, self.quota, port, hear, alone=lambda: self._alone)
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._looks = asyncio.Semaphore(LOOKS)
        self._reloading = asyncio.Lock()

    async def serve(self) -> int:
        """Attend to everything until `stop` is set or a part of the daemon breaks; returns the exit code."""
        self.emit(DaemonStarted(version("sluiceway")))
        code = exit_codes.DEFECT
        try:
            async with self.resources:
                try:
                    code = await self._serve()
                finally:
                    await self.supervisor.aclose()  # who renews leases uses what is closed next
        finally:
            self.emit(DaemonStopped(code))
        return code

    async def _serve(self) -> int:
        self.scheduler.start()
        await self.reload()
        self.supervisor.keep("reloader", self._keep_reloading())
        if (limit := self.settings.memory_limit_bytes or container_limit()) is not None:
            headroom = Headroom(limit, partial(resident, os.getpid()), self.turns.narrow, self.emit)
            self.supervisor.keep("headroom", headroom.keep())
        stopped = asyncio.ensure_future(self.stop.wait())
        either: set[asyncio.Future[Any]] = {stopped, self.supervisor.broken}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        self.stop.set()
        await stopped
        drained = await self._drain()
        if self.supervisor.broken.done():
            self.supervisor.broken.result()  # raises what broke
        return exit_codes.OK if drained else exit_codes.STOPPED

    async def _drain(self) -> bool:
        """Let every run come to its next checkpoint, within the budget; True unless somebody was in a hurry."""
        self.scheduler.close()
        self.emit(DrainBegan(self.walking))
        await self._let_go(list(self.pipelines.values()))
        return not self.at_once.is_set()

    async def _let_go(self, leaving: Sequence[Attended]) -> None:
        """No more claims for these; their runs have `drain_seconds`, then they are let go where they are."""
        attendants = [one.attendant for one in leaving if one.attendant is not None]
        for one in leaving:
            one.leaving = True
        gently = asyncio.ensure_future(_closed(attendants, at_once=False))
        hurry = asyncio.ensure_future(self.at_once.wait())
        seconds = self.settings.drain_seconds
        await asyncio.wait({gently, hurry}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        gently.cancel()
        await _closed(attendants, at_once=True)
        await self.supervisor.let_go(*(self._tasks.pop(one.name) for one in leaving if one.name in self._tasks))

    @property
    def walking(self) -> int:
        """Runs under way, and those that wait for their turn."""
        return sum(one.attendant.walking for one in self.pipelines.values() if one.attendant is not None)

    def why_not_ready(self) -> list[str]:
        """Reasons why nothing can be expected of this process now; empty if it is ready."""
        if self.stop.is_set():
            return ["draining"]
        if not self.pipelines:
            return ["configuration"] if self.fleet.refused else []
        if any(one.is_well for one in self.pipelines.values()):
            return []
        troubles = {one.trouble.code for one in self.pipelines.values() if one.trouble is not None}
        return sorted(troubles) or ["starting"]

    async def reload(self) -> Changes:
        """Look at the folder; begin, change and end pipelines accordingly."""
        async with self._reloading:
            if self.stop.is_set():
                return Changes()
            changes = await asyncio.to_thread(self._found_in_folder)
            for one in changes.refused:
                self.emit(ConfigRefused(one.file, tuple(str(problem) for problem in one.problems)))
            changed = [config.pipeline_metadata.pipeline_name for config in changes.begin]
            old = [self.pipelines[name] for name in (*changes.end, *changed) if name in self.pipelines]
            if old:
                await self._let_go(old)
            if self.stop.is_set():  # nothing is begun any more
                return changes
            for name in changes.end:
                del self.pipelines[name]
                self.scheduler.forget(name)
                self.emit(PipelineRemoved(name))
            # Only now: until they had let go, old configurations counted too.
            self._alone = not any(config.phases.have_functions for config in self.fleet.configs.values())
            for config in changes.begin:
                self._begin(config)
            return changes

    def _found_in_folder(self) -> Changes:
        """What changed there; what new pipelines need is imported, which would hold the event loop."""
        changes = self.fleet.look()
        for config in changes.begin:
            load(config)
        return changes

    async def _keep_reloading(self) -> NoReturn:
        while True:
            await asyncio.sleep(self.settings.reload_seconds)
            self.scheduler.catch_up()
            await self.reload()

    def _begin(self, config: PipelineConfig) -> None:
        one = Attended(config)
        self.pipelines[one.name] = one
        self.emit(PipelineAdded(one.name))
        self._tasks[one.name] = self.supervisor.keep(f"attendant {one.name}", self._attend(one))

    async def _attend(self, one: Attended) -> NoReturn:
        """For ever: open what the pipeline needs, and attend to it."""
        while True:
            try:
                async with self.resources.attended(one.config, lambda: one.leaving) as (worker, keeper):
                    one.attendant = Attendant(worker, keeper, self.turns, self._looks, self._room, self._found)
                    one.attendant.closing = one.leaving
                    self.scheduler.every(one.name, one.config.windows.schedule, one.attendant.tick)
                    await one.attendant.attend()
            except SluicewayError as error:
                one.attendant, one.error = None, error
                self.emit(LookFailed(one.name, error.kind, error.code, error.message, error.hint))
            await asyncio.sleep(AGAIN_SECONDS)

    def _room(self) -> int:
        """Runs that may still be opened before some are done, or wait for an operator."""
        return self.settings.max_unfinished - sum(one.going for one in self.pipelines.values())


async def _closed(attendants: Sequence[Attendant], *, at_once: bool) -> bool:
    """True when all of them are closed. `at_once`: those that cannot be are left behind."""
    seconds = LAST_SECONDS if at_once else None
    await asyncio.gather(*(attendant.close(at_once=at_once, seconds=seconds) for attendant in attendants))
    return True
