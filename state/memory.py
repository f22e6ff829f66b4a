"""The twin of the drive table: the same rules over rows in memory. For tests and for looking without a file.

Rows go through their JSON form, so that what a database could not keep is not kept here either.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from state.drive import Event
from state.model import Claim, Run, RunId, RunKind, RunStatus, Window
from state.port import Port, direct
from state.summary import Summary, summary_of
from state.transactional import Rows, TransactionalDrive

T = TypeVar("T")


def system_clock() -> datetime:
    return datetime.now(UTC)


class MemoryDrive(TransactionalDrive):
    """`DriveTable` in memory. Each method is one synchronous step, so tasks of one event loop may share it."""

    def __init__(
        self,
        clock: Callable[[], datetime] = system_clock,
        *,
        port: Port = direct,
        owner_is_dead: Callable[[str], bool] = lambda _owner: False,
    ) -> None:
        super().__init__(uuid.uuid4().hex, owner_is_dead)
        self._port = port
        self.rows = MemoryRows(self.id, clock)

    async def _write(self, effect: str, step: Callable[[Rows], T]) -> T:
        with self._port(effect):
            before = self.rows.saved()
            try:
                return step(self.rows)
            except BaseException:
                self.rows.restore(before)
                raise

    async def _read(self, step: Callable[[Rows], T]) -> T:
        return step(self.rows)

    async def aclose(self) -> None:
        """Nothing to release; the rows stay for whoever still holds this object."""


class MemoryRows:
    """`Rows` in dicts; `table` holds the runs by identity."""

    def __init__(self, drive_id: str, clock: Callable[[], datetime]) -> None:
        self._drive_id = drive_id
        self._clock = clock
        self.table: dict[RunId, Run] = {}
        self.tokens: dict[str, int] = {}
        self.actions: list[Event] = []

    def saved(self) -> tuple[dict[RunId, Run], dict[str, int], list[Event]]:
        """Everything as it is now, to `restore` it."""
        return dict(self.table), dict(self.tokens), list(self.actions)

    def restore(self, saved: tuple[dict[RunId, Run], dict[str, int], list[Event]]) -> None:
        self.table, self.tokens, self.actions = saved

    @property
    def drive_id(self) -> str:
        return self._drive_id

    def now(self) -> datetime:
        return self._clock()

    def get(self, run: RunId) -> Run | None:
        return self.table.get(run)

    def put(self, run: Run) -> Run:
        run = msgspec.structs.replace(run, updated_at=self.now())
        self.table[run.id] = msgspec.json.decode(msgspec.json.encode(run), type=Run)
        return self.table[run.id]

    def unfinished(self, pipeline: str) -> Iterable[Run]:
        return [run for run in self.runs(pipeline, (), None, None) if run.unfinished]

    def scheduled_before(self, pipeline: str, end: datetime) -> Window | None:
        runs = self.runs(pipeline, (), None, None)
        spans = [run.window for run in runs if run.kind is RunKind.SCHEDULED and run.window.start < end]
        return max(spans, default=None)

    def highest_number(self, pipeline: str, window: Window) -> int:
        runs = self.runs(pipeline, (), window, None)
        return max((run.id.number for run in runs if run.window == window), default=0)

    def has_name(self, name: str) -> bool:
        return any(run.name == name for run in self.table.values())

    def extend(self, claim: Claim, expires_at: datetime) -> bool:
        run = self.table.get(claim.run.id)
        if run is None or run.token != claim.token or run.status is not RunStatus.RUNNING:
            return False
        self.put(msgspec.structs.replace(run, lease_expires_at=expires_at))
        return True

    def lift_token(self, pipeline: str, floor: int) -> None:
        self.tokens[pipeline] = max(self.token(pipeline), floor)

    def token(self, pipeline: str) -> int:
        return self.tokens.get(pipeline, 0)

    def add(self, event: Event) -> None:
        self.actions.append(msgspec.json.decode(msgspec.json.encode(event), type=Event))

    def events(self, pipeline: str, limit: int) -> list[Event]:
        return [event for event in reversed(self.actions) if event.pipeline == pipeline][:limit]

    def runs(
        self,
        pipeline: str | None,
        statuses: Sequence[RunStatus],
        within: Window | None,
        limit: int | None,
        *,
        name: str | None = None,
    ) -> list[Run]:
        found = [
            run
            for run in self.table.values()
            if pipeline in (None, run.id.pipeline)
            and (not statuses or run.status in statuses)
            and (within is None or run.window.overlaps(within))
            and name in (None, run.name)
        ]
        return sorted(found, key=place)[:limit]

    def summaries(self, pipeline: str, within: Window | None) -> list[Summary]:
        return [summary_of(run) for run in self.runs(pipeline, (), within, None)]

    def windows(self, pipeline: str, unfinished: bool) -> list[Window]:
        runs = self.unfinished(pipeline) if unfinished else self.runs(pipeline, (), None, None)
        return sorted({run.window for run in runs})


def place(run: Run) -> tuple[Window, int, str, str]:
    """Order of runs: window, number, then what tells runs of other pipelines and drive tables apart."""
    return run.window, run.id.number, run.id.pipeline, run.id.drive_id
