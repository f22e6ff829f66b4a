"""Runs of one pipeline in this process: open what is due, claim, walk, until nothing is left to do now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from connectors.base import Connector
from loaders.base import Loader, Loads
from loaders.spool import Spool
from service.bench import Bench, never
from service.events import Emit, RunClaimed, RunsRepaired, WindowsOpened
from service.lease import LeaseKeeper
from service.parallel import each
from service.retry import RetryPolicy, retrying
from service.settings import PipelineConfig
from service.tick import FASTER, new_runs, open_windows, proven, run_floors
from service.walk import Walk
from state.drive import DriveTable
from state.errors import ConfigurationError, DuplicateWindow, SluicewayError
from state.finishing import finish
from state.model import Claim, Phase, Run, RunId, RunKind, RunStatus, Window

T = TypeVar("T")

UNFINISHED = (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.FAILED)
LOOKS = 5
"""How often in a row another worker may be faster before what is left waits for the next call."""

_log = logging.getLogger(__name__)


def is_everybodys(run: Run) -> bool:
    """True if `run` ended by what is not its own: a setting, a grant, a credential: others would meet it."""
    return (
        run.status is RunStatus.FAILED and run.failure is not None and run.failure.kind == ConfigurationError.kind
    )


@dataclass(frozen=True)
class Worker:
    """What it takes to run one pipeline. `connect` makes a connector for one attempt."""

    config: PipelineConfig
    connect: Callable[[], Connector]
    loader: Loader
    drive: DriveTable
    spool: Spool
    emit: Emit
    owner: str
    stopping: Callable[[], bool] = never
    """True once the process is told to stop: runs are let go at their next checkpoint."""

    @property
    def pipeline(self) -> str:
        return self.config.pipeline_metadata.pipeline_name

    @property
    def retry(self) -> RetryPolicy:
        limits = self.config.limits
        return RetryPolicy(limits.tries_per_phase, limits.try_base_seconds, limits.try_cap_seconds)

    async def loads(self) -> Loads:
        """Everything that the target remembers of the pipeline."""
        return await self.tried(lambda: self.loader.loads(self.pipeline))

    async def repair(self, loads: Loads | None = None) -> Loads:
        """Take over what the target proves, and lift the token counter above the target's, before any claim.

        So a drive table that was lost or restored loads nothing twice. `loads`: as just read; read here without.
        """
        loads = await self.loads() if loads is None else loads
        repaired = await self.tried(lambda: self.drive.adopt(self.pipeline, proven(loads), loads.highest_token))
        if repaired:
            self.emit(RunsRepaired(self.pipeline, tuple(run.name for run in repaired)))
        return loads

    async def unfinished(self) -> list[Run]:
        """The pipeline's runs that are not done, by window; one that another run was made in place of is."""
        found = await self.tried(lambda: self.drive.runs(self.pipeline, statuses=UNFINISHED))
        return [run for run in found if run.unfinished]

    async def source_clock(self) -> tuple[datetime, datetime]:
        """The source's clock, and the instant until which it is readable; windows that end by then are closed."""
        async with aclosing(self.connect()) as source:
            now = await self.tried(source.now)
            return now, await self.tried(lambda: source.readable_until(now))

    async def open(self, loads: Loads, only: Window | None = None) -> list[Run]:
        """Create runs for the windows that are due; `loads` as this process repaired the ledger from it."""
        _, until = await self.source_clock()
        opened = await self._opened(loads, until, only)
        if opened:
            self.emit(WindowsOpened(self.pipeline, tuple(run.window for run in opened)))
        return opened

    async def _opened(self, loads: Loads, until: datetime, only: Window | None) -> list[Run]:
        """New runs; where another worker was faster, it is looked again for what it left."""
        for _ in range(LOOKS):
            try:
                return await self.tried(
                    lambda: open_windows(self.config, self.drive, loads, until, self.owner, only=only)
                )
            except DuplicateWindow as error:
                if error.code not in FASTER:
                    raise
        return []

    async def run_due(self, only: Window | None = None, loads: Loads | None = None) -> list[Run]:
        """Everything that is due now, once; returns the runs that this process ended, in order of ending.

        Runs that wait for a later time stay for a later call, as does what is due after a run that ended by a
        setting, a grant or a credential: one run waits for the operator then, and not every window. `loads`: what
        the target remembers, if the caller has just read it.
        """
        # The target's receipts are read once, however many rounds follow: all of them are many in a long history.
        # They serve two ends, and neither needs them again. What the drive table lacks was lost before it was
        # opened here; whatever is merged from now on, by this process or by others that share the table, has its
        # row there from before its first claim. And a run's number is above both `loads` and every row of its
        # window, so what was loaded meanwhile counts. What is in neither (another drive table's runs, a table that
        # was put back beneath workers) no read could tell in time either: a merge may land between it and the
        # write. That is decided in the target, under the fence: a higher token, or the run's own receipt.
        ended: list[Run] = []
        loads = await self.repair(loads)
        async with self._keeping() as keeper:
            await self.open(loads, only)
            while await self._claim_all(keeper, ended, only):
                await self.open(loads, only)
        return ended

    async def backfill(self, windows: Sequence[Window]) -> list[Run]:
        """Runs over these windows, whatever the ledger says of them; N+1 where one was done before."""
        loads = await self.repair()
        new = new_runs(self.config, run_floors(loads), windows, RunKind.BACKFILL)
        created = await self.tried(lambda: self.drive.create(self.pipeline, self.owner, new))
        return await self.run_these([run.id for run in created])

    async def run_these(self, runs: Sequence[RunId]) -> list[Run]:
        """The named runs, up to `max_open` at a time; one that somebody else holds is left out.

        None is begun any more once one has ended by what the others would meet as well.
        """
        ended: list[Run] = []
        async with self._keeping() as keeper:

            async def one(run: RunId) -> None:
                if any(map(is_everybodys, ended)):
                    return
                ended.extend(await self._claim_until_settled(keeper, run))

            await each(runs, self.config.windows.max_open, one)
        return ended

    async def attempt(self, run: RunId) -> Run | None:
        """One attempt at the named run; None if it cannot be claimed now."""
        async with self._keeping() as keeper:
            return await self.next_run(keeper, run=run)

    @asynccontextmanager
    async def _keeping(self) -> AsyncIterator[LeaseKeeper]:
        keeper = LeaseKeeper(self.drive, self.lease)
        keeping = asyncio.create_task(keeper.keep(), name="lease-keeper")
        try:
            yield keeper
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
        if not keeping.cancelled():
            keeping.result()  # a keeper that ended by itself is a defect, and is raised here

    async def tried(self, step: Callable[[], Awaitable[T]]) -> T:
        """A step outside a run: its retries have nobody to be told to but the caller, who sees the last error."""
        return await retrying(step, self.retry, lambda _tries, _wait, _error: None)

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.config.lease_seconds)

    async def _claim_all(self, keeper: LeaseKeeper, ended: list[Run], only: Window | None) -> bool:
        """`max_open` walkers that claim until nothing is due; True if more may be due then.

        None claims any more once a run has ended by what the others would meet as well.
        """
        before = len(ended)

        async def walker(_number: int) -> None:
            while (
                not any(map(is_everybodys, ended)) and (run := await self.next_run(keeper, only=only)) is not None
            ):
                ended.append(run)

        walkers = self.config.windows.max_open
        await each(range(walkers), walkers, walker)
        return len(ended) > before and not any(map(is_everybodys, ended))

    async def _claim_until_settled(self, keeper: LeaseKeeper, run: RunId) -> list[Run]:
        """Attempts at one run until it is finished or waits for a time or a person."""
        last: list[Run] = []
        while (ended := await self.next_run(keeper, run=run)) is not None:
            last = [ended]
            if ended.status is not RunStatus.FAILED:
                break
        return last

    async def next_run(
        self, keeper: LeaseKeeper, *, run: RunId | None = None, only: Window | None = None
    ) -> Run | None:
        """Claim the oldest run that is due (or `run`, or one inside `only`) and walk it; as stored at the end.

        None if there was none to claim.
        """
        asked_at = keeper.now()
        claim = await self.tried(lambda: self._claimed(run, only))
        return None if claim is None else await self._walk(keeper, claim, asked_at)

    async def _claimed(self, run: RunId | None, only: Window | None) -> Claim | None:
        """A claim; one that is under way when the worker is told to stop is given back, for else its run would
        wait for the end of a lease that nobody renews."""
        ordered = self.config.windows.ordered
        asked = asyncio.ensure_future(
            self.drive.claim(self.pipeline, self.owner, self.lease, run=run, within=only, ordered=ordered)
        )
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            await finish(self._given_back(asked))
            raise

    async def _given_back(self, asked: Awaitable[Claim | None]) -> None:
        try:
            claim = await asked
            if claim is not None:
                await self.drive.release(claim, claim.run)
        except SluicewayError:
            _log.debug("a claim that a stop came to may keep its run until its lease ends", exc_info=True)

    async def _walk(self, keeper: LeaseKeeper, claim: Claim, asked_at: float) -> Run:
        self.emit(RunClaimed(claim.run, next((p for p in Phase if not claim.run.done(p)), Phase.TARGET_CLEANING)))
        async with keeper.hold(claim, asked_at) as lease, aclosing(self.connect()) as connector:
            bench = Bench(
                self.config,
                connector,
                self.loader,
                self.drive,
                self.spool,
                lease,
                self.emit,
                self.retry,
                self.stopping,
            )
            return await Walk(bench).run()
