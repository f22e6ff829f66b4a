"""The drive table: what was done, what is being done, and by whom. One protocol, several backends.

Every write of a run is conditional on the token of its claim and raises `LeaseLost` otherwise. Lease
times are the drive database's clock. Backends: `state.sqlite`; the twin in `state.memory`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from state.model import Claim, Failure, Phase, Receipt, Run, RunId, RunKind, RunStatus, Window
from state.summary import Summary


class NewRun(msgspec.Struct, frozen=True):
    """A run to be created. `run_floor`: the highest run number of this window known from the target."""

    window: Window
    kind: RunKind
    read_start: datetime
    run_floor: int = 0


class Event(msgspec.Struct, frozen=True):
    """An operator's action, written before its effect."""

    at: datetime
    actor: str
    action: str
    pipeline: str
    subject: str
    details: Mapping[str, Any] = msgspec.field(default_factory=dict)


class DriveTable(Protocol):
    """Durable memory of runs. All methods are atomic; none retries or sleeps.

    A lock that another process holds longer than the busy timeout is a `TransientError`. Where it cannot be found
    out what became of a write, `create`, `adopt`, `claim` and `renew` raise `TransientError`: they may be asked
    for again, and find what they did. A claim of which this process has not heard is taken up by its next one.
    Any other write raises `UnknownOutcome`.
    """

    @property
    def id(self) -> str:
        """The id made at `drive init`; part of every run's identity."""

    async def now(self) -> datetime:
        """The drive database's clock, UTC."""

    async def create(self, pipeline: str, owner: str, runs: Sequence[NewRun]) -> list[Run]:
        """Create PENDING runs, all or none, under the pipeline's own lease; return them in order.

        The number of each is one more than the highest of its window here and in `run_floor`. Raises
        `DuplicateWindow` if one overlaps an unfinished run of the pipeline (code `unfinished`), or if a scheduled
        one is of a window that has a run already, whatever became of it (`known`: somebody else was faster), or
        overlaps another scheduled span (`tiling`); `TransientError` while another owner holds the pipeline's
        lease.
        """

    async def adopt(self, pipeline: str, receipts: Sequence[Receipt], token_floor: int) -> list[Run]:
        """Take over what the target proves: repair a lost or restored drive table from receipts.

        A run of this pipeline that is unknown here is created COMPLETED with its receipt (and the drive
        id of the receipt). An unfinished one becomes COMPLETED, unless a worker holds it, or its manifest is
        the receipt's: then going on finds the receipt, and its audit is still done. The pipeline's token
        counter is lifted to `token_floor` at least. Returns the runs that changed. Repeating it changes nothing.
        """

    async def claim(
        self,
        pipeline: str,
        owner: str,
        lease: timedelta,
        *,
        run: RunId | None = None,
        within: Window | None = None,
        ordered: bool = False,
    ) -> Claim | None:
        """Take the oldest run that is due (inside `within` if given), or `run` itself; None if there is none.

        Due: PENDING; FAILED with `next_attempt_at` reached and neither quarantined nor superseded; RUNNING
        with an expired lease (or, where the backend can know it, a dead owner: `state.owner`). The
        pipeline's token is raised in the same transaction. The claimed run is RUNNING, holds `token` and
        `owner`, its `attempts` one higher. With `ordered`, a run is due only if every older run of the
        pipeline is finished.
        """

    async def renew(self, claims: Sequence[Claim], lease: timedelta) -> list[Claim]:
        """Extend the leases in one statement; return the claims that still hold, with the new expiry.

        A claim that is missing from the answer is lost. An expired lease that nobody took may be renewed.
        """

    async def checkpoint(self, claim: Claim, run: Run) -> Claim:
        """Store the progress of a claimed run; returns the claim with it. Raises `LeaseLost`.

        A run stored as COMPLETED or SKIPPED gives its lease up.
        """

    async def fail(
        self, claim: Claim, run: Run, failure: Failure, *, retry_in: timedelta | None, quarantine: bool
    ) -> Run:
        """Store FAILED with its cause, and when it goes on by itself or that an operator decides.

        `strikes` counts failures of one kind in a row. Gives the lease up. Raises `LeaseLost`.
        """

    async def release(self, claim: Claim, run: Run) -> Run:
        """Back to PENDING with progress kept (drain). Gives the lease up. Raises `LeaseLost`."""

    async def reopen(self, run: RunId, *, from_phase: Phase | None, run_floor: int, event: Event) -> Run:
        """An operator's retry; the event is stored in the same transaction. Returns the run that goes on.

        A FAILED run (or RUNNING with an expired lease) becomes PENDING, not quarantined, strikes 0; phases
        from `from_phase` on are forgotten (and what was read, if reading is among them); None keeps all progress,
        and the run goes on with its failed phase. A run whose rows were merged is never merged again as itself: if
        its audit found a mismatch and is not asked for by name, if it met a receipt of other data or of another
        table, or if `from_phase` is the merge or earlier and it holds a receipt, it stays FAILED with
        `superseded_by`, and run N+1 of the window is created PENDING (N also from `run_floor`).
        Raises `ConfigurationError` for a run that is unknown, finished, superseded or held by a live worker.
        """

    async def record(self, event: Event) -> None:
        """Store an operator's action."""

    async def events(self, pipeline: str, limit: int = 100) -> list[Event]:
        """Operator actions, newest first."""

    async def runs(
        self,
        pipeline: str | None = None,
        *,
        statuses: Sequence[RunStatus] = (),
        within: Window | None = None,
        name: str | None = None,
        limit: int | None = None,
    ) -> list[Run]:
        """Runs by pipeline, status, overlap with `within` and whole name, ordered by window and number."""

    async def summaries(self, pipeline: str, *, within: Window | None = None) -> list[Summary]:
        """Runs of a pipeline that overlap `within`, in short, ordered by window and number.

        Reads no manifest, however many files a run has: cheap enough to show a thousand runs on a page.
        """

    async def windows(self, pipeline: str, *, unfinished: bool = False) -> list[Window]:
        """The windows that have a run (an unfinished one, if asked), in order, each once.

        Reads no run: cheap enough for every look at the clock, however long the pipeline's history is.
        """

    async def aclose(self) -> None:
        """Release every resource; harmless when repeated."""
