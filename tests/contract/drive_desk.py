"""What the clauses of the drive table's contract share: a clock to move, values to store, and their register."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from state.drive import DriveTable, Event, NewRun
from state.model import (
    Chunk,
    Claim,
    Failure,
    Manifest,
    MergeCounts,
    Part,
    Phase,
    PhaseRecord,
    PhaseStatus,
    Receipt,
    Run,
    RunId,
    RunKind,
    RunStatus,
    SnapshotKind,
    Window,
)

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
T0 = datetime(2025, 11, 15, tzinfo=UTC)
LEASE = timedelta(seconds=60)


@dataclass
class Clock:
    """The drive database's clock, moved by hand."""

    at: datetime = T0 + 1000 * HOUR

    def __call__(self) -> datetime:
        return self.at

    def advance(self, by: timedelta) -> None:
        self.at += by


Make = Callable[[Clock], Awaitable[DriveTable]]
CLAUSES: dict[str, Callable[[Make], Awaitable[None]]] = {}


@dataclass
class Desk:
    """An empty drive table, its clock, and short ways to bring it into a state."""

    drive: DriveTable
    clock: Clock = field(default_factory=Clock)

    async def create(self, *hours: int, kind: RunKind = RunKind.SCHEDULED, pipeline: str = "p") -> list[Run]:
        return await self.drive.create(pipeline, "maker", [new(hour, kind=kind) for hour in hours])

    async def take(self, hour: int | None = None, *, owner: str = "one", pipeline: str = "p") -> Claim:
        """A claim, of the newest run whose window begins at `hour` if given."""
        runs = [] if hour is None else await self.drive.runs(pipeline)
        found = [run.id for run in runs if run.window.start == window(hour).start]
        newest = max(found, key=lambda run: run.number, default=None)
        claim = await self.drive.claim(pipeline, owner, LEASE, run=newest)
        assert claim is not None
        return claim

    async def running(self, hour: int = 0, kind: RunKind = RunKind.SCHEDULED) -> Claim:
        await self.create(hour, kind=kind)
        return await self.take(hour)

    async def failed(
        self,
        hour: int = 0,
        phase: Phase = Phase.PRE_VALIDATION,
        *,
        kind: str = "permanent",
        progress: bool = False,
    ) -> Run:
        """A quarantined run, with everything done before `phase` if there is `progress`."""
        claim = await self.running(hour)
        run = progressed(claim.run, phase) if progress else claim.run
        return await self.quarantine(claim, run, failure(phase, kind))

    async def quarantine(self, claim: Claim, run: Run, why: Failure) -> Run:
        return await self.drive.fail(claim, run, why, retry_in=None, quarantine=True)

    async def finish(self, claim: Claim, status: RunStatus = RunStatus.COMPLETED) -> Run:
        return (await self.drive.checkpoint(claim, replace(claim.run, status=status))).run

    async def completed(self, hour: int = 0, kind: RunKind = RunKind.SCHEDULED) -> Run:
        return await self.finish(await self.running(hour, kind))

    async def row(self, run: RunId) -> Run:
        (found,) = [row for row in await self.drive.runs(run.pipeline) if row.id == run]
        return found

    async def rows(self) -> list[Run]:
        return await self.drive.runs()

    async def reopen(self, run: Run, from_phase: Phase | None = None, run_floor: int = 0) -> Run:
        return await self.drive.reopen(run.id, from_phase=from_phase, run_floor=run_floor, event=event("retry"))

    async def nothing_due(self, **wish) -> bool:
        return await self.drive.claim("p", "two", LEASE, **wish) is None


def clause(body: Callable[[Desk], Awaitable[None]]) -> Callable[[Make], Awaitable[None]]:
    """Register `body` as a clause of the contract, under its name."""

    async def run(make: Make) -> None:
        clock = Clock()
        async with aclosing(await make(clock)) as drive:
            await body(Desk(drive, clock))

    CLAUSES[body.__name__.replace("_", " ")] = run
    return run


def window(hour: int, hours: int = 1) -> Window:
    return Window(T0 + hour * HOUR, T0 + (hour + hours) * HOUR)


def new(hour: int, hours: int = 1, *, kind: RunKind = RunKind.SCHEDULED, floor: int = 0) -> NewRun:
    """A run over `hours`, with a lookback of a second."""
    span = window(hour, hours)
    return NewRun(span, kind, span.start - SECOND, floor)


def failure(phase: Phase = Phase.PRE_VALIDATION, kind: str = "transient") -> Failure:
    return Failure(phase, kind, "429", "too many requests", "wait", T0)


def event(action: str, subject: str = "", at: datetime = T0, pipeline: str = "p") -> Event:
    return Event(at, "anna", action, pipeline, subject, {"why": ["x", 1, None], "deep": {"a": 0.1}})


def manifest_of(run: Run, rows: int = 3) -> Manifest:
    """Two parts of a run, both read."""
    middle = run.window.start + run.window.width / 2
    chunk = Chunk("p/p00000-00000-abc.parquet", rows, 100, "ab" * 32, run.window.start, middle)
    first = Part(Window(run.read_start, middle), (chunk,), rows, rows, SnapshotKind.PIT, T0, {"delay": 1})
    return Manifest((first, Part(Window(middle, run.window.end), (), None, 0)), "c0ffee")


def progressed(run: Run, before: Phase) -> Run:
    """`run` with a manifest, and every phase before `before` done."""
    done = {}
    for phase in Phase:
        if phase is before:
            break
        done[phase] = PhaseRecord(PhaseStatus.COMPLETED, T0, T0 + SECOND, {"rows": 3})
    return replace(run, phases=done, manifest=manifest_of(run))


def receipt_of(run: RunId, *, token: int = 5, digest: str = "d1") -> Receipt:
    return Receipt(run, token, digest, "target-1", MergeCounts(4, 3, 1, 1, 1, 0), T0 + 2 * HOUR)


def merged(run: Run, before: Phase = Phase.STAGE_CLEANING) -> Run:
    """`run` after its merge."""
    run = progressed(run, before)
    return replace(run, receipt=receipt_of(run.id, digest=run.manifest.digest))


@functools.cache
def dead_owner() -> str:
    """The name of a process of this machine that has ended."""
    program = "from state.owner import owner_name; print(owner_name())"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return done.stdout.strip()
