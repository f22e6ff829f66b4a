"""Typed events: what happens to runs and phases, said once; console, logs and metrics subscribe."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal

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


class RowsSetAside(msgspec.Struct, frozen=True):
    """A run was merged, and value policies set `rows` aside, beside the `loaded` ones: they wait to be mended."""

    run: Run
    rows: int
    loaded: int


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


class TickNoted(msgspec.Struct, frozen=True):
    """Something about a tick of the scheduler: it came late, while a look was under way, or its job failed."""

    pipeline: str
    what: Literal["missed", "overlapping", "failed"]


class Looked(msgspec.Struct, frozen=True):
    """A look at a pipeline ended. `loaded_until`: everything before it is loaded; None while nothing is.

    `oldest_open`: end of the oldest closed window that is not loaded; `unfinished` counts runs, `quarantined`
    those of them that wait for an operator.
    """

    pipeline: str
    closed_until: datetime
    loaded_until: datetime | None
    oldest_open: datetime | None
    unfinished: int
    quarantined: int


class LookFailed(msgspec.Struct, frozen=True):
    """A look found something not available; the next one comes by itself. No run is touched by it."""

    pipeline: str
    kind: str
    code: str
    message: str
    hint: str


class FreshnessMissed(msgspec.Struct, frozen=True):
    """A pipeline's target is further `behind` than its configuration allows."""

    pipeline: str
    loaded_until: datetime | None
    behind: timedelta


class FreshnessBack(msgspec.Struct, frozen=True):
    """A pipeline that was behind has caught up."""

    pipeline: str


class PipelineAdded(msgspec.Struct, frozen=True):
    """A daemon attends to a pipeline from now on, or to its changed configuration."""

    pipeline: str


class PipelineRemoved(msgspec.Struct, frozen=True):
    """A daemon attends to a pipeline no more: its file is gone."""

    pipeline: str


class ConfigRefused(msgspec.Struct, frozen=True):
    """A file of the daemon's folder is no valid configuration; the others, and its last valid form, go on."""

    file: str
    problems: tuple[str, ...]


class DaemonStarted(msgspec.Struct, frozen=True):
    version: str


class Listening(msgspec.Struct, frozen=True):
    """A port of the daemon is open; `address` is its URL."""

    what: Literal["health", "admin"]
    address: str


class MemoryShort(msgspec.Struct, frozen=True):
    """Memory came near its limit, both in bytes: runs walk one at a time until it is eased."""

    used: int
    limit: int


class MemoryEased(msgspec.Struct, frozen=True):
    """There is room again: as many runs as ever walk side by side."""

    used: int
    limit: int


class DrainBegan(msgspec.Struct, frozen=True):
    """The daemon was told to stop: no new claims; `runs` go to their next checkpoint."""

    runs: int


class DaemonStopped(msgspec.Struct, frozen=True):
    exit_code: int


class AdminActed(msgspec.Struct, frozen=True):
    """Somebody changed something through the admin API; recorded in the drive table before its effect."""

    actor: str
    action: str
    pipeline: str
    subject: str
    request_id: str
    result: str


class RunLeft(msgspec.Struct, frozen=True):
    """An attempt ended and the drive table could not be told: the run keeps its owner until the lease ends."""

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
    | RowsSetAside
    | RunFinished
    | RunFailed
    | RunReleased
    | RunFenced
    | RunLeft
    | TickNoted
    | Looked
    | LookFailed
    | FreshnessMissed
    | FreshnessBack
    | PipelineAdded
    | PipelineRemoved
    | ConfigRefused
    | DaemonStarted
    | Listening
    | MemoryShort
    | MemoryEased
    | DrainBegan
    | DaemonStopped
    | AdminActed
)

Emit = Callable[[Event], None]
