"""Keeping claims alive: one task renews all leases of the process in one statement.

The worker's own deadline is on a clock that never goes back, nor stands while the machine sleeps, and counted from
before the renewal was sent, so a paused or slow worker believes itself dead before anybody else may take its run.
Each lease has a watch of its own: a renewal that gets no answer keeps nobody alive, and a write that gets none is
given up with its lease.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

from state.drive import DriveTable
from state.errors import LeaseLost, SluicewayError, TransientError, UnknownOutcome
from state.finishing import finish
from state.model import Claim, Run

RENEWALS_PER_LEASE, RENEWALS_PER_LEASE_IN_NEED = 3, 12
"""How often a lease is renewed while it lasts, and how often it is tried while renewals fail."""

SOONEST_SECONDS = 0.01
"""A deadline is judged no more often: timers of the event loop may come a little early."""

CLOCK = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC
"""On Linux the monotonic clock stands still while the machine sleeps, and others take its runs meanwhile."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


def awake_or_asleep() -> float:
    """Seconds of a clock that never goes back and counts the sleep of the machine."""
    return time.clock_gettime(CLOCK)


class Lease:
    """A claim in this process's hands. Checkpoints are serialized and pass only while the lease lives."""

    def __init__(self, drive: DriveTable, claim: Claim, deadline: float, clock: Callable[[], float]) -> None:
        self._drive = drive
        self._claim = claim
        self._clock = clock
        self._writing = asyncio.Lock()
        self._writes: set[asyncio.Task[Any]] = set()
        self.deadline = deadline
        self.lost = False

    @property
    def claim(self) -> Claim:
        return self._claim

    @property
    def run(self) -> Run:
        return self._claim.run

    def require(self) -> None:
        """Raise `LeaseLost` unless this process may still write for the run."""
        if self.lost or self._clock() >= self.deadline:
            raise LeaseLost(f"the lease of {self.run.name} is lost; another worker may own it now")

    async def checkpoint(self, change: Callable[[Run], Run]) -> Run:
        """Store `change(run)`, as `whole` does. Raises `LeaseLost`."""
        return await self.whole(self._checkpoint(change))

    async def whole(self, write: Coroutine[Any, Any, T]) -> T:
        """Await a write for the run to its end, even if the caller is cancelled meanwhile.

        One whose lease is lost is withdrawn: it is void, and a drive table that does not answer keeps no walker.
        """
        task = asyncio.create_task(write)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return await finish(task)

    def lose(self) -> None:
        """From now on nothing is written for the run."""
        self.lost = True
        for write in self._writes:
            write.cancel()

    async def _checkpoint(self, change: Callable[[Run], Run]) -> Run:
        async with self._writing:
            self.require()
            self._claim = await self._drive.checkpoint(self._claim, change(self.run))
            return self.run

    @asynccontextmanager
    async def closing(self) -> AsyncIterator[Claim]:
        """Hold the pen for a last write (fail, release): no checkpoint runs beside it. Raises `LeaseLost`."""
        async with self._writing:
            self.require()
            yield self._claim


class LeaseKeeper:
    """Renews every lease of the process; cancels the holder of one that is lost."""

    def __init__(
        self,
        drive: DriveTable,
        lease: timedelta,
        clock: Callable[[], float] = awake_or_asleep,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._drive = drive
        self._lease = lease
        self._clock = clock
        self._sleep = sleep
        self._held: dict[Lease, asyncio.Task[object]] = {}
        self._watches: dict[Lease, asyncio.TimerHandle] = {}

    @property
    def held(self) -> int:
        """Leases that this process has now."""
        return len(self._held)

    def now(self) -> float:
        """Seconds of the clock that leases end by."""
        return self._clock()

    @asynccontextmanager
    async def hold(self, claim: Claim, asked_at: float) -> AsyncIterator[Lease]:
        """A `Lease`, renewed while the context is open; `asked_at`: by `now`, before the claim was sent."""
        lease = Lease(self._drive, claim, asked_at + self._lease.total_seconds(), self._clock)
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a lease is held by a task")
        self._held[lease] = task
        self._watch(lease)
        try:
            yield lease
        finally:
            del self._held[lease]
            if (watch := self._watches.pop(lease, None)) is not None:
                watch.cancel()

    async def keep(self) -> None:
        """Renew for ever; run it as a task of its own. What went wrong is tried again sooner."""
        times = RENEWALS_PER_LEASE
        while True:
            await self._sleep(self._lease.total_seconds() / times)
            times = RENEWALS_PER_LEASE if await self.renew() else RENEWALS_PER_LEASE_IN_NEED

    async def renew(self) -> bool:
        """One round: all leases in one statement; whoever is lost or overdue is cancelled.

        False if nothing could be renewed. Whatever the reason, no run ends by that before its deadline: a server
        may come back until then, and an operator may mend a grant or a password.
        """
        held = list(self._held)
        if not held:
            return True
        sent, kept = self._clock(), None
        try:
            kept = {claim.run.id for claim in await self._drive.renew([x.claim for x in held], self._lease)}
        except SluicewayError as error:  # a renewal that may have happened is done again, too
            level = logging.DEBUG if isinstance(error, TransientError | UnknownOutcome) else logging.WARNING
            _log.log(level, "none of %d leases could be renewed: %s. %s", len(held), error.message, error.hint)
        for lease in held:
            if kept is not None and lease.run.id in kept:
                lease.deadline = sent + self._lease.total_seconds()
            elif kept is not None or self._clock() >= lease.deadline:
                self._drop(lease)
        return kept is not None

    def _watch(self, lease: Lease) -> None:
        """Drop the lease at its deadline, which renewals move, whatever becomes of them."""
        left = lease.deadline - self._clock()
        if lease.lost or left <= 0:
            self._drop(lease)
        else:
            soon = max(left, SOONEST_SECONDS)
            self._watches[lease] = asyncio.get_running_loop().call_later(soon, self._watch, lease)

    def _drop(self, lease: Lease) -> None:
        if lease in self._held and not lease.lost:
            lease.lose()
            self._held[lease].cancel()
