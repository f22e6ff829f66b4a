"""One pipeline in the daemon: looks when it is woken, opens what is due, and keeps its walkers walking."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn

from service.daemon.alarms import Alarms
from service.daemon.freshness import Freshness
from service.daemon.looks import Health, slot
from service.daemon.pauses import is_paused
from service.daemon.standing import Standing
from service.daemon.turns import Turns
from service.events import Emit, Looked, LookFailed, TickNoted, WindowsOpened
from service.lease import LeaseKeeper
from service.live import require_same_table, require_unchanged
from service.tick import FASTER, closed_until, new_runs, run_floors
from service.worker import Worker, is_everybodys
from state.errors import DuplicateWindow, SluicewayError
from state.model import Run, RunKind, RunStatus, Window

LEFT = "left"
"""Names the timer for a run that a walker had to leave as it was: it may be taken up when its lease is over."""
SOONEST_SECONDS = 1.0
"""A run that may go on at once is claimed again after this long, not in the same breath."""
LAST_SECONDS = 10.0
"""How long walkers that were cancelled are waited for: as long as a checkpoint in flight may take."""


Found = Callable[[Sequence[Run], datetime], None]
"""Told of the unfinished runs that a pipeline has when it is opened, and of the drive table's time."""


def nobody(_runs: Sequence[Run], _now: datetime) -> None:
    """Nobody needs to know."""


@dataclass
class Attendant:
    """Attends to one pipeline for as long as it is there.

    `looks` bounds the looks of a process at one time, `room()` tells how many runs may still be opened in it.

    Raises nothing that an operator can mend: what is not available now is told as `LookFailed`, and the next tick
    looks again. Anything else is a defect and ends the process.
    """

    worker: Worker
    keeper: LeaseKeeper
    turns: Turns
    looks: asyncio.Semaphore
    room: Callable[[], int]
    found: Found = nobody
    clock: Callable[[], float] = time.monotonic
    health: Health = field(default_factory=Health)
    paused: bool = False
    closing: bool = False
    standing: Standing | None = None
    looked: Looked | None = None
    """What the last look found."""
    opening: int = 0
    """Runs that are being created."""
    source_now: datetime | None = None
    """The source's clock at the last look."""
    readable_until: datetime | None = None
    """What of the source was surely there then: windows that end later are held back, and none is missing."""
    floors: dict[Window, int] = field(default_factory=dict)
    """The highest run number of each window that the target knew at the first look; the drive has later ones."""
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)
    _looking: bool = False
    _asked: int = 1
    _answered: int = 0
    _walkers: set[asyncio.Task[None]] = field(default_factory=set)
    _held_back: bool = False
    _made_room: bool = False
    _outdated: bool = False
    _halted: bool = False
    _defect: BaseException | None = None

    def __post_init__(self) -> None:
        self._alarms = Alarms(self._timed)
        self._freshness = Freshness(self.pipeline, self.worker.config.windows, self.emit)

    @property
    def pipeline(self) -> str:
        return self.worker.pipeline

    @property
    def emit(self) -> Emit:
        return self.worker.emit

    @property
    def walking(self) -> int:
        """Runs under way, and those that wait for their turn."""
        return len(self._walkers)

    def tick(self) -> None:
        """The scheduler's voice."""
        if self._looking:
            self.emit(TickNoted(self.pipeline, "overlapping"))
        self._halted = False
        self._wanted.set()

    def wake(self) -> None:
        """Something may be claimable that was not before: an operator acted."""
        self._halted = False
        self._asked += 1
        self._wanted.set()

    def know(self, runs: Sequence[Run]) -> None:
        """Runs that an operator's act made or changed."""
        if self.standing is not None:
            for run in runs:
                self.standing.note(run)
        self.wake()

    async def attend(self) -> NoReturn:
        """For ever: wait to be woken, look, send walkers. Run it as a task of its own; no walker outlives it."""
        try:
            await self._for_ever()
        finally:
            if not self.closing:
                await self.close(at_once=True, seconds=LAST_SECONDS)

    async def _for_ever(self) -> NoReturn:
        self._wanted.set()
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if self._defect is not None:
                raise self._defect
            if not self.closing:
                await self._look_and_walk()

    async def close(self, *, at_once: bool, seconds: float | None = None) -> None:
        """No more claims; returns when every walker is back, or after `seconds`. `at_once`: they are cancelled.

        Only a user's function that hangs in its thread keeps a cancelled walker from coming back.
        """
        self.closing = True
        self._alarms.close()
        if at_once:
            for walker in self._walkers:
                walker.cancel()
        if self._walkers:
            await asyncio.wait(self._walkers, timeout=seconds)

    async def _look_and_walk(self) -> None:
        self._looking = True
        try:
            async with slot(self.looks):
                await self._look()
        except SluicewayError as error:
            self._failed(error)
        finally:
            self._looking = False
        if self.standing is not None and self._may_claim:
            self._send_walkers()

    @property
    def _may_claim(self) -> bool:
        """False until the next tick, too, after a run that ended by what the others would meet as well."""
        return not (self.closing or self.paused or self._halted)

    async def _look(self) -> None:
        """Open what is due. The first time, and where others may have worked, the drive table is asked."""
        if self.standing is None:
            self.standing = await self._begin()
        elif self._outdated or self._is_shared:
            await self._refresh(self.standing)
        now, until = self.source_now, self.readable_until = await self.worker.source_clock()
        closed = closed_until(self.worker.config, until)
        waiting = self.standing.due(closed, 1) if self.paused else await self._open(self.standing, closed)
        self.health = Health(looked_at=self.clock())
        self._tell(self.standing, now, closed, waiting)

    @property
    def _is_shared(self) -> bool:
        """Other machines work on this pipeline, or an operator's command may let runs go on that wait for one; and
        asking for it wakes no warehouse."""
        config, waiting = self.worker.config, self.standing is not None and self.standing.quarantined > 0
        return (config.limits.several_machines or waiting) and config.drive_table.type != "snowflake"

    async def _refresh(self, standing: Standing) -> None:
        """The unfinished runs and a pause as they are now, whoever changed them."""
        self._outdated, before = False, self.paused
        standing.asking()
        try:
            standing.replace(await self.worker.unfinished())
            paused = await is_paused(self.worker, before)
        except SluicewayError:
            self._outdated = True
            raise
        self.paused = paused if self.paused == before else self.paused  # who was told here meanwhile is newer
        self._asked += 1
        await self._set_timers(standing)

    async def _set_timers(self, standing: Standing) -> datetime:
        now = await self.worker.tried(self.worker.drive.now)
        for run in standing.unfinished:
            self._wake_for(run, now)
        return now

    async def _begin(self) -> Standing:
        """What the target proves is taken over, and what an operator decided is read, before any claim."""
        worker = self.worker
        await require_unchanged(worker)
        loads = await worker.loads()
        await require_same_table(worker, loads)
        await worker.repair(loads)
        self.paused = await is_paused(worker)
        known = await worker.drive.windows(worker.pipeline)
        standing = Standing.of(worker.config, known, await worker.unfinished())
        self.floors = run_floors(loads)
        self._asked += 1
        self.found(standing.unfinished, await self._set_timers(standing))
        return standing

    async def _open(self, standing: Standing, closed: datetime) -> list[Window]:
        """Create runs for the windows that are due, within bounds; returns those that must wait."""
        room = self._room_for(standing)
        due = standing.due(closed, max(room, 1))
        self._held_back = bool(due) and len(due) >= room
        if not due or room <= 0:
            self._outdated |= bool(due) and standing.quarantined > 0
            return due
        worker = self.worker
        new = new_runs(worker.config, self.floors, due, RunKind.SCHEDULED)
        try:
            self.opening = len(new)
            opened = await worker.tried(lambda: worker.drive.create(worker.pipeline, worker.owner, new))
        except DuplicateWindow as error:
            if error.code not in FASTER:
                raise
            span = Window(due[0].start, due[-1].end)
            opened = await worker.tried(lambda: worker.drive.runs(worker.pipeline, within=span))
            self._outdated = True
        else:
            self.emit(WindowsOpened(self.pipeline, tuple(run.window for run in opened)))
        finally:
            self.opening = 0
        for run in opened:
            standing.note(run)
        self._asked += 1
        return []

    def _room_for(self, standing: Standing) -> int:
        """How many runs may be opened: what others left unfinished never keeps a pipeline from `max_open`."""
        limits, most = self.worker.config.limits, self.worker.config.windows.max_open
        share = max(self.room(), most - len(standing.going))
        return min(limits.catch_up_windows - len(standing.unfinished), share)

    def _tell(self, standing: Standing, now: datetime, closed: datetime, waiting: Sequence[Window]) -> None:
        loaded = standing.loaded_until(waiting)
        self.looked = Looked(
            self.pipeline,
            closed,
            loaded,
            standing.oldest_open(waiting),
            len(standing.unfinished),
            standing.quarantined,
        )
        self.emit(self.looked)
        self._freshness.look(now, loaded)

    def _failed(self, error: SluicewayError) -> None:
        since = self.health.failing_since if self.health.failing_since is not None else self.clock()
        self.health = Health(self.health.looked_at, since, error)
        self.emit(LookFailed(self.pipeline, error.kind, error.code, error.message, error.hint))

    def _send_walkers(self) -> None:
        """As many walkers as may walk, if there may be something to claim."""
        while self._asked > self._answered and len(self._walkers) < self.worker.config.windows.max_open:
            walker = asyncio.create_task(self._walk(), name=f"walker {self.pipeline}")
            self._walkers.add(walker)
            walker.add_done_callback(self._back)
            if len(self._walkers) >= len(self.standing.unfinished if self.standing else []):
                break

    async def _walk(self) -> None:
        """Claim and walk until there is nothing to claim."""
        while self._may_claim:
            async with self.turns.turn(self.pipeline):
                if not self._may_claim:
                    return
                asked = self._asked
                try:
                    run = await self.worker.next_run(self.keeper)
                except SluicewayError as error:  # the drive table cannot be used
                    self._failed(error)
                    self._alarms.set(LEFT, self.worker.lease.total_seconds() + SOONEST_SECONDS)
                    return
            if run is None:
                self._nothing_to_claim(asked)
                return
            self._ended(run)

    def _nothing_to_claim(self, asked: int) -> None:
        """Where a run waits for nothing, as far as is known, another process must have taken it: the drive table
        is asked at the next look."""
        self._answered = max(self._answered, asked)
        unfinished = self.standing.unfinished if self.standing is not None else []
        if self.worker.config.windows.ordered:
            unfinished = unfinished[:1]
        if not self._walking_others and any(run.status is RunStatus.PENDING for run in unfinished):
            self._outdated = True

    @property
    def _walking_others(self) -> bool:
        """Whether more walkers are out than the one that asks: what they walk is PENDING to our knowledge."""
        return len(self._walkers) > 1

    def _ended(self, run: Run) -> None:
        """A walk came to its end; a run that is still running then is in other hands."""
        if self.standing is not None:
            self.standing.note(run)
        self._made_room = self._made_room or not run.unfinished
        self._outdated = self._outdated or run.status is RunStatus.RUNNING
        self._halted = self._halted or is_everybodys(run)
        if run.updated_at is not None:
            self._wake_for(run, run.updated_at)

    def _wake_for(self, run: Run, now: datetime) -> None:
        """Wake when `run` may be claimed: at its next attempt, or when the lease of its owner ends.

        `now` is the drive table's clock, and the wait is counted on ours.
        """
        at = run.next_attempt_at if run.status is RunStatus.FAILED else run.lease_expires_at
        if at is None or run.quarantined_at is not None or not run.unfinished:
            return
        self._alarms.set(run.id, max((at - now).total_seconds(), 0.0) + SOONEST_SECONDS)

    def _timed(self) -> None:
        self._outdated = True
        self._asked += 1
        self._wanted.set()

    def _back(self, walker: asyncio.Task[None]) -> None:
        self._walkers.discard(walker)
        if not walker.cancelled() and (defect := walker.exception()) is not None:
            self._defect = defect
            self._wanted.set()
        if self._held_back and self._made_room and not self._walkers:
            self._made_room = False
            self._wanted.set()
