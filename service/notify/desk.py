"""Decides what is told of one pipeline, and when: once for each run and kind, alike ones together, not too often.

Plain arithmetic over events and a clock in seconds; it sends nothing, waits for nothing, and is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from service.events import (
    Event,
    FreshnessBack,
    FreshnessMissed,
    Looked,
    RowsSetAside,
    RunClaimed,
    RunFailed,
    RunFenced,
    RunFinished,
    RunsRepaired,
)
from service.notify.notice import (
    Account,
    Affected,
    Notice,
    notice,
    of_catching_up,
    of_lateness,
    of_receipts,
    of_rows_set_aside,
    of_run,
)
from service.notify.settings import Kind, Notifications
from state.errors import AuditMismatch
from state.model import Failure, Run, Window

BURST = 5
"""Notifications of a pipeline that may go out one right after another."""
TROUBLES, BATCHES = 300, 50
"""What is remembered of a pipeline at most; the oldest is forgotten first."""
WORST_FIRST: tuple[Kind, ...] = (
    "audit_mismatch",
    "quarantined",
    "freshness_missed",
    "failed",
    "rows_set_aside",
    "recovered",
)
FOR_AN_OPERATOR = ("audit_mismatch", "quarantined")

Subject = Window | None
"""What is broken or mended: a window, or None for the pipeline's freshness."""


class Alike(NamedTuple):
    """What breakdowns have in common that are told as one."""

    kind: Kind
    error: str = ""


@dataclass
class Trouble:
    """Something broken. `mark` tells this breakdown from others of its subject; `told_at` is None until then.

    `heard`: this or an earlier breakdown of the subject was told, so that its end is told too.
    """

    alike: Alike
    mark: str
    affected: Affected | None
    told_at: float | None = None
    heard: bool = False


@dataclass
class Batch:
    """What waits to be told together since `since`; the newest account speaks for all. `more` are not listed."""

    account: Account
    since: float
    again: bool
    waiting: dict[Subject, Affected | None] = field(default_factory=dict)
    more: int = 0


class Parcel(NamedTuple):
    """A notification to be sent, and what it is about."""

    notice: Notice
    subjects: tuple[Subject, ...]


class Desk:
    """What is broken in a pipeline, and what waits to be told of it. `dropped`: notifications given up unsent."""

    def __init__(self, pipeline: str, same_config: str) -> None:
        self._pipeline = pipeline
        self._same_config = same_config
        self._told = Notifications()
        self._troubles: dict[Subject, Trouble] = {}
        self._accounts: dict[Alike, Account] = {}
        self._batches: dict[Alike, Batch] = {}
        self._left, self._left_at = float(BURST), 0.0
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Notifications that were not handed out yet."""
        return len(self._batches)

    def hear(self, event: Event, told: Notifications, clock: float) -> None:
        """Take notice of an event that came at `clock` seconds, under the settings `told`."""
        self._told = told
        match event:
            case RunFailed(run=run, failure=failure):
                self._failed(run, failure, clock)
            case RunFinished(run=run):
                if self._ended(run.window):
                    self._mended(run.window, of_run(run, self._same_config), affected(run), clock)
            case RunClaimed(run=run):
                self._claimed(run, clock)
            case RunFenced(run=run):  # whoever owns it now tells what becomes of it
                self._troubles.pop(run.window, None)
            case RunsRepaired(runs=names):
                self._repaired(set(names), clock)
            case Looked():
                self._looked(event, clock)
            case FreshnessMissed():
                self._late(event, clock)
            case _:
                self._hear_seldom(event, clock)

    def _hear_seldom(self, event: Event, clock: float) -> None:
        match event:
            case RowsSetAside(run=run):
                self._set_aside(event, run, clock)
            case FreshnessBack() if self._ended(None):
                self._mended(None, of_catching_up(self._pipeline), None, clock)

    def know(self, run: Run, told: Notifications, now: datetime, clock: float) -> None:
        """A failure that an earlier process told, if it was one to be told; `now` is the drive table's clock."""
        self._told = told
        kind = self._kind(run.failure, quarantined=run.quarantined_at is not None)
        if kind is not None and run.failure is not None:
            age = now - (run.quarantined_at or run.failure.at)
            self._known(kind, run, run.failure, clock - max(0.0, age.total_seconds()))

    def due(self, told: Notifications, clock: float, *, all_of_it: bool = False) -> list[Parcel]:
        """What is to be sent now, worst first; with `all_of_it` nothing is kept waiting."""
        self._told = told
        order = sorted(self._batches, key=lambda alike: WORST_FIRST.index(alike.kind))
        return [self._handed_out(alike, clock) for alike in order if all_of_it or self._may_go(alike, clock)]

    def next_at(self) -> float | None:
        """When something may be due, in seconds of the clock; None while nothing waits."""
        allowed = self._left_at + max(0.0, 1.0 - self._left) * self._told.spacing_seconds
        times = [max(batch.since + self._told.gather_seconds, allowed) for batch in self._batches.values()]
        return min(times, default=None)

    def unheard(self, parcel: Parcel) -> None:
        """Nobody was reached by it: what it was about counts as not told, and is told at the next occasion."""
        for subject in parcel.subjects:
            if trouble := self._troubles.get(subject):
                trouble.told_at, trouble.heard = None, False

    def _kind(self, failure: Failure | None, *, quarantined: bool) -> Kind | None:
        """As what a failure is told; None if it is not."""
        kinds: list[Kind] = ["quarantined" if quarantined else "failed"]
        if failure is not None and failure.kind == AuditMismatch.kind:
            kinds.insert(0, "audit_mismatch")
        return next((kind for kind in kinds if kind in self._told.on), None)

    def _trouble(self, kind: Kind, run: Run, failure: Failure) -> Trouble:
        """A trouble with an account of it. A run that is quarantined anew was let go on by a person meanwhile."""
        alike = Alike(kind, f"{failure.phase} {failure.kind} {failure.code}")
        self._accounts[alike] = of_run(run, self._same_config)
        return Trouble(alike, f"{run.name} {kind} {run.quarantined_at or ''}", affected(run))

    def _failed(self, run: Run, failure: Failure, clock: float) -> None:
        kind = self._kind(failure, quarantined=run.quarantined_at is not None)
        if kind is not None:
            self._broken(run.window, self._trouble(kind, run, failure), clock)

    def _set_aside(self, event: RowsSetAside, run: Run, clock: float) -> None:
        """Told once; nothing is broken, so nothing ends."""
        if "rows_set_aside" in self._told.on:
            account = of_rows_set_aside(event, self._same_config)
            self._put(Alike("rows_set_aside"), run.window, affected(run), account, clock, again=False)

    def _late(self, event: FreshnessMissed, clock: float) -> None:
        if "freshness_missed" in self._told.on:
            alike = Alike("freshness_missed")
            self._accounts[alike] = of_lateness(event, self._same_config)
            self._broken(None, Trouble(alike, "", None), clock)

    def _broken(self, subject: Subject, trouble: Trouble, clock: float) -> None:
        """Something is broken, maybe as before; then it is told again only after a while."""
        before = self._troubles.get(subject)
        if before is not None:
            trouble.heard = before.heard
            if before.mark == trouble.mark:
                trouble.told_at = before.told_at
            else:
                self._withdraw(subject)
        self._remember(subject, trouble)
        self._tell_if_time(subject, trouble, clock)

    def _tell_if_time(self, subject: Subject, trouble: Trouble, clock: float) -> None:
        repeat = self._told.repeat_after_seconds
        if trouble.told_at is None or (repeat and clock - trouble.told_at >= repeat):
            account = self._accounts[trouble.alike]
            self._put(trouble.alike, subject, trouble.affected, account, clock, again=trouble.told_at is not None)

    def _ended(self, subject: Subject) -> bool:
        """Forget a trouble that is over; True if its end is to be told."""
        trouble = self._troubles.get(subject)
        if trouble is None:
            return False
        self._forget(subject)
        return trouble.heard and "recovered" in self._told.on

    def _mended(self, subject: Subject, account: Account, whom: Affected | None, clock: float) -> None:
        about = "a run" if whom else "freshness"
        self._put(Alike("recovered", about), subject, whom, account, clock, again=False)

    def _claimed(self, run: Run, clock: float) -> None:
        """A run that failed in another process is known from its row; one that an operator let go on has no
        strikes, and was told as quarantined where that is told, else as failed."""
        if run.failure is None:
            return
        reopened = run.strikes == 0
        kind = self._kind(run.failure, quarantined=reopened) or self._kind(run.failure, quarantined=False)
        if kind is not None:
            age = (run.updated_at or run.failure.at) - run.failure.at
            self._known(kind, run, run.failure, clock - max(0.0, age.total_seconds()))

    def _known(self, kind: Kind, run: Run, failure: Failure, told_at: float) -> None:
        if run.window not in self._troubles:
            trouble = self._trouble(kind, run, failure)
            trouble.told_at, trouble.heard = told_at, True
            self._remember(run.window, trouble)

    def _repaired(self, names: set[str], clock: float) -> None:
        for subject, trouble in list(self._troubles.items()):
            whom = trouble.affected
            if whom is not None and whom.run in names and self._ended(subject):
                self._mended(subject, of_receipts(self._pipeline), whom, clock)

    def _looked(self, look: Looked, clock: float) -> None:
        """What is loaded, or does not wait any more, was settled elsewhere; what still waits is told again.

        A failure that goes on by itself is told again when it fails again. What was not told yet may be younger
        than the look, and stays.
        """
        for subject, trouble in list(self._troubles.items()):
            if (
                subject is not None
                and trouble.told_at is not None
                and is_settled(subject, trouble.alike.kind, look)
            ):
                self._forget(subject)
            elif trouble.alike.kind != "failed":
                self._tell_if_time(subject, trouble, clock)

    def _put(
        self, alike: Alike, subject: Subject, whom: Affected | None, account: Account, clock: float, *, again: bool
    ) -> None:
        batch = self._batches.setdefault(alike, Batch(account, clock, again))
        batch.account, batch.again = account, batch.again and again
        batch.waiting[subject] = whom
        if len(self._batches) > BATCHES:
            del self._batches[next(iter(self._batches))]
            self.dropped += 1

    def _withdraw(self, subject: Subject) -> None:
        """Take back what waits to be told of a subject."""
        for alike, batch in list(self._batches.items()):
            batch.waiting.pop(subject, None)
            if not batch.waiting and not batch.more:
                del self._batches[alike]

    def _remember(self, subject: Subject, trouble: Trouble) -> None:
        self._troubles[subject] = trouble
        if len(self._troubles) > TROUBLES:
            oldest = next(iter(self._troubles))
            for batch in self._batches.values():
                batch.more += oldest in batch.waiting
            self._forget(oldest)

    def _forget(self, subject: Subject) -> None:
        self._troubles.pop(subject, None)
        self._withdraw(subject)
        kept = {trouble.alike for trouble in self._troubles.values()}
        self._accounts = {alike: account for alike, account in self._accounts.items() if alike in kept}

    def _allowance(self, clock: float) -> float:
        """How many notifications may go out now."""
        spacing = self._told.spacing_seconds
        return min(float(BURST), self._left + ((clock - self._left_at) / spacing if spacing else BURST))

    def _may_go(self, alike: Alike, clock: float) -> bool:
        return clock >= self._batches[alike].since + self._told.gather_seconds and self._allowance(clock) >= 1.0

    def _handed_out(self, alike: Alike, clock: float) -> Parcel:
        batch = self._batches.pop(alike)
        self._left, self._left_at = max(0.0, self._allowance(clock) - 1.0), clock
        for subject in batch.waiting:
            trouble = self._troubles.get(subject)
            if trouble is not None and trouble.alike == alike:
                trouble.told_at, trouble.heard = clock, True
        runs = [whom for whom in batch.waiting.values() if whom is not None]
        count = len(runs) + batch.more
        made = notice(alike.kind, self._pipeline, batch.account, runs, count=count, again=batch.again)
        return Parcel(made, tuple(batch.waiting))


def affected(run: Run) -> Affected:
    return Affected(run.name, str(run.window))


def is_settled(window: Window, kind: Kind, look: Looked) -> bool:
    """True if a look shows that the run of a window is done with."""
    loaded = look.loaded_until is not None and window.end <= look.loaded_until
    return loaded or not look.unfinished or (kind in FOR_AN_OPERATOR and not look.quarantined)
