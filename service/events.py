"""Typed events: what happens to runs and phases, said once; console, logs and metrics subscribe."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from loaders.retention import Retired
from state.model import Failure, Part, Phase, PhaseStatus, Run, Window


class WindowsOpened(msgspec.Struct, frozen=True):
    """Windows became due and were written to the drive table."""

    pipeline: str
    windows: tuple[Window, ...]


class RunsRepaired(msgspec.Struct, frozen=True):
    """The drive table took over what receipts in the target prove."""

    pipeline: str
    runs: tuple[str, ...]


class RunClaimed(msgspec.Struct, frozen=True):
    """A worker took a run; `continues_at` is the first phase that is not done."""

    run: Run
    continues_at: Phase


class PhaseStarted(msgspec.Struct, frozen=True):
    run: Run
    phase: Phase


class PartRead(msgspec.Struct, frozen=True):
    """A part is read, staged and checkpointed; `done` of `total` parts are."""

    run: Run
    part: Part
    done: int
    total: int


class RowsRead(msgspec.Struct, frozen=True):
    """Progress inside a part: `rows` more rows came."""

    run: Run
    rows: int


class PhaseRetried(msgspec.Struct, frozen=True):
    """A try failed in a way that may pass; the next one starts after `wait`."""

    run: Run
    phase: Phase
    tries: int
    wait: timedelta
    kind: str
    code: str
    message: str


class PhaseFinished(msgspec.Struct, frozen=True):
    run: Run
    phase: Phase
    status: PhaseStatus
    took: timedelta


class CleaningFailed(msgspec.Struct, frozen=True):
    """A clean-up did not succeed; the run did, and what is left stays: no later run sweeps it."""

    run: Run
    phase: Phase
    message: str


class TargetCleaned(msgspec.Struct, frozen=True):
    """Old rows left the target, or would leave it: in a dry run they are only counted."""

    run: Run
    found: Retired
    before: datetime
    dry_run: bool


class RunFinished(msgspec.Struct, frozen=True):
    """A run ended COMPLETED or SKIPPED."""

    run: Run


class RunFailed(msgspec.Struct, frozen=True):
    """An attempt ended; the run says whether it goes on by itself."""

    run: Run
    failure: Failure


class RunReleased(msgspec.Struct, frozen=True):
    """A run went back to PENDING with its progress, because this process stops."""

    run: Run


class RunFenced(msgspec.Struct, frozen=True):
    """Another worker owns the run now; this one stopped writing."""

    run: Run
    message: str


Event = (
    WindowsOpened
    | RunsRepaired
    | RunClaimed
    | PhaseStarted
    | PartRead
    | RowsRead
    | PhaseRetried
    | PhaseFinished
    | CleaningFailed
    | TargetCleaned
    | RunFinished
    | RunFailed
    | RunReleased
    | RunFenced
)

Emit = Callable[[Event], None]
