"""Rows of the drive table in Snowflake: the statements that read and write them, and what a look at them saw."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from state import versions
from state.columns import SUMMARY, instant_of, row_of, run_of, summary_in
from state.drive import Event
from state.errors import ConfigurationError, DuplicateWindow
from state.memory import MemoryRows
from state.model import Manifest, Phase, Run, RunId, RunKind, RunStatus, Window
from state.snowflake.names import Name
from state.summary import Summary
from state.windows import overlaps

SETTING = "drive_table.database_schema"
INIT = (
    "Make it with `sluiceway drive init` as a role that may, or what `sluiceway drive sql drive_table` prints;"
    " then run what `sluiceway drive sql grants` prints."
)

IDENTITY = (
    "pipeline_name",
    "query_window_start_timestamp",
    "query_window_end_timestamp",
    "run_number",
    "drive_id",
)
INSTANTS = frozenset(
    {
        "created_at",
        "updated_at",
        "query_window_start_timestamp",
        "query_window_end_timestamp",
        "read_start_timestamp",
        "lease_expires_at",
        "next_attempt_at",
        "quarantined_at",
    }
)
VARIANTS = frozenset({*(f"{phase.value}_phase" for phase in Phase), "manifest", "receipt", "failure"})
NUMBERS = frozenset({"run_number", "token", "attempts", "strikes", "superseded_by"})
TEXTS = frozenset(
    {
        "pipeline_id",
        "pipeline_name",
        "pipeline_status",
        "phase_failed",
        "run_kind",
        "owner",
        "drive_id",
    }
)
COLUMNS = tuple(sorted(INSTANTS | VARIANTS | NUMBERS | TEXTS))
"""Columns of a run, those of `state.columns`."""

UNFINISHED = "d.superseded_by = 0 AND d.pipeline_status NOT IN ('COMPLETED', 'SKIPPED')"
OVERLAPS = "d.query_window_start_timestamp < ? AND d.query_window_end_timestamp > ?"
ORDER = "ORDER BY query_window_start_timestamp, query_window_end_timestamp, run_number, pipeline_name, drive_id"
ROWS_PER_INSERT = 1_000
"""Some two megabytes of JSON; Snowflake takes sixteen."""

NO_MANIFEST = msgspec.json.encode(Manifest()).decode()


@dataclass(frozen=True)
class Tables:
    """The drive table's objects as they are written in a statement."""

    schema: Name

    def _named(self, name: str) -> str:
        return Name((*self.schema.parts, name)).sql

    @property
    def drive(self) -> str:
        return self._named("SLUICEWAY_DRIVE")

    @property
    def runs(self) -> str:
        return self._named("PIPELINE_EXECUTION_DRIVE")

    @property
    def tokens(self) -> str:
        return self._named("PIPELINE_TOKENS")

    @property
    def events(self) -> str:
        return self._named("PIPELINE_EVENTS")


@dataclass(frozen=True)
class Wanted:
    """Which runs of a pipeline a look reads.

    `wide`: False where phases, manifest and receipt are not asked for. `finished`: of those that are finished,
    names and identities, in a statement of their own.
    """

    where: str
    values: tuple[Any, ...] = ()
    wide: bool = True
    finished: bool = False


class Seen(MemoryRows):
    """What a look saw of one pipeline. A step of `state.rules` changes it; nothing is written by that.

    `steps`: the pipeline's counter at that look, None if the pipeline is not known yet. `changed`: runs that the
    step put. `revisions`: revision of each run that the look saw. `finished`: names of runs of which no more was
    read than that they are there. Questions are answered from indexes: a step may ask thousands.
    """

    def __init__(self, drive_id: str, clock: Callable[[], datetime], pipeline: str) -> None:
        super().__init__(drive_id, clock)
        self.pipeline = pipeline
        self.steps: int | None = None
        self.revisions: dict[RunId, int] = {}
        self.changed: dict[RunId, Run] = {}
        self.finished: dict[RunId, str] = {}
        self.token_seen = 0
        self._names: set[str] = set()
        self._numbers: dict[Window, int] = {}
        self._scheduled: list[Window] = []

    def saw(self, run: Run, revision: int) -> None:
        """A row of the look. Raises `DuplicateWindow` if it is there twice: no key of Snowflake forbids that."""
        if run.id in self.table:
            raise duplicate(f"{run.name} is in the drive table twice")
        self.table[run.id] = run
        self.revisions[run.id] = revision
        self._index(run)

    def saw_token(self, token: int, steps: int) -> None:
        """The pipeline's row."""
        self.tokens[self.pipeline] = self.token_seen = token
        self.steps = steps

    def saw_finished(self, run: RunId, name: str) -> None:
        """A run of which no more is read."""
        self.finished[run] = name
        self._names.add(name)

    def get(self, run: RunId) -> Run | None:
        found = super().get(run)
        if found is None and (name := self.finished.get(run)) is not None:
            start = run.window.start
            return Run(run, name, RunKind.BACKFILL, start, start, RunStatus.COMPLETED)
        return found

    def put(self, run: Run) -> Run:
        stored = super().put(run)
        self.changed[stored.id] = stored
        self._index(stored)
        return stored

    def scheduled_before(self, pipeline: str, end: datetime) -> Window | None:  # noqa: ARG002 there is one
        place = bisect_left(self._scheduled, end, key=lambda window: window.start)
        return self._scheduled[place - 1] if place else None

    def highest_number(self, pipeline: str, window: Window) -> int:  # noqa: ARG002 there is one
        return self._numbers.get(window, 0)

    def has_name(self, name: str) -> bool:
        return name in self._names

    def _index(self, run: Run) -> None:
        self._names.add(run.name)
        self._numbers[run.window] = max(run.id.number, self._numbers.get(run.window, 0))
        if run.kind is RunKind.SCHEDULED:
            insort(self._scheduled, run.window)

    @property
    def wants_a_write(self) -> bool:
        """True if the step changed anything."""
        return bool(self.changed or self.actions) or self.token(self.pipeline) != self.token_seen

    @property
    def new(self) -> list[Run]:
        return [run for run in self.changed.values() if run.id not in self.revisions]

    @property
    def old(self) -> list[Run]:
        return [run for run in self.changed.values() if run.id in self.revisions]

    def require_no_overlap(self) -> None:
        """Raises `DuplicateWindow` if unfinished runs overlap (G-10): a person must look first."""
        for one, other in overlaps([run.window for run in self.unfinished(self.pipeline)]):
            raise duplicate(f"{self.pipeline}: unfinished runs overlap in {one} and {other}")


def duplicate(what: str) -> DuplicateWindow:
    return DuplicateWindow(
        what,
        hint="Stop the workers and look at its rows in pipeline_execution_drive: one of them was not written by"
        " Sluiceway.",
        code="duplicate",
    )


def run_in(values: Sequence[Any]) -> Run:
    """The run in a row of `COLUMNS`."""
    row = {name: plain(value) for name, value in zip(COLUMNS, values, strict=True)}
    return run_of({**row, "manifest": row["manifest"] or NO_MANIFEST})


def summary_of_row(values: Sequence[Any]) -> Summary:
    """The run in a row of `SUMMARY` and whether it is merged, in short."""
    *told, merged = map(plain, values)
    return summary_in({**dict(zip(SUMMARY, told, strict=True)), "is_merged": merged})


def span_in(values: Sequence[Any]) -> Window:
    """The window of a start and an end."""
    start, end = values
    return Window(utc(start), utc(end))


def plain(value: Any) -> Any:
    """A value of the driver in the form of `state.columns`."""
    return value.isoformat(" ", "microseconds") if isinstance(value, datetime) else value


def utc(value: datetime) -> datetime:
    """A TIMESTAMP_NTZ as the instant that it is."""
    return value.replace(tzinfo=UTC)


def identity_sql(alias: str = "") -> str:
    """The condition that a row is that of one run."""
    return " AND ".join(f"{alias}{column} = ?" for column in IDENTITY)


def identity(run: RunId) -> tuple[Any, ...]:
    """Values of `identity_sql`."""
    return run.pipeline, run.window.start, run.window.end, run.number, run.drive_id


def update_sql(tables: Tables, run: Run, columns: Iterable[str], where: str) -> tuple[str, tuple[Any, ...]]:
    """An UPDATE of `columns` to what they are in `run`, revision raised; and its values up to those of `where`."""
    row = row_of(run)
    names = list(columns)
    places = ", ".join(f"{name} = {'PARSE_JSON(?)' if name in VARIANTS else '?'}" for name in names)
    sql = f"UPDATE {tables.runs} SET {places}, revision = revision + 1, last_write = ? WHERE {where}"
    return sql, tuple(instant_of(row[name]) if name in INSTANTS else row[name] for name in names)


def insert_sql(tables: Tables) -> str:
    """An INSERT of any number of runs, whose one value is the JSON of `insert_json`."""
    columns = ", ".join(from_json(column) for column in COLUMNS)
    return (
        f"INSERT INTO {tables.runs} ({', '.join(COLUMNS)}, revision, last_write) SELECT {columns}, 1, ''"
        " FROM TABLE(FLATTEN(INPUT => PARSE_JSON(?))) AS r"
    )


def from_json(column: str) -> str:
    if column in INSTANTS:
        return f"r.value:{column}::TIMESTAMP_NTZ"
    if column in VARIANTS:
        return f"r.value:{column}"
    return f"r.value:{column}::{'NUMBER' if column in NUMBERS else 'VARCHAR'}"


def insert_json(runs: Sequence[Run]) -> Iterator[tuple[str, int]]:
    """The rows of `runs` in pieces that one statement takes, and how many are in each.

    What is NULL is left out, for a JSON null is a value in Snowflake.
    """
    for start in range(0, len(runs), ROWS_PER_INSERT):
        piece = runs[start : start + ROWS_PER_INSERT]
        yield msgspec.json.encode([in_json(row_of(run)) for run in piece]).decode(), len(piece)


def in_json(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: msgspec.Raw(value.encode()) if name in VARIANTS else value
        for name, value in row.items()
        if value is not None
    }


def event_of(row: Sequence[Any]) -> Event:
    """The event in a row of `happened_at, actor, action, pipeline_name, subject, details`."""
    at, actor, action, pipeline, subject, details = row
    return Event(utc(at), actor, action, pipeline, subject, msgspec.json.decode(details))


def missing(schema: Name) -> ConfigurationError:
    """There is no drive table in that schema, or it was made anew since it was opened."""
    return versions.missing(schema, SETTING, hint=INIT)


def recreated(tables: Tables, expected: str, found: str) -> ConfigurationError:
    """Another drive table stands where the one that was opened stood (F-22)."""
    return ConfigurationError(
        f"the drive table in {tables.schema} was made anew: its id is {found}, it was {expected}",
        hint="Start the workers again: they take over what the target's receipts prove, and load nothing twice.",
        code="recreated",
        path=SETTING,
    )
