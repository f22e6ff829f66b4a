"""`state.transactional.Rows` over a database that speaks SQL: what is asked of each of them in the same words.

A backend says how a statement is put to it, how its clock is asked, and what only it can or must do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from state.columns import MERGED, SUMMARY, Row, instant_of, row_of, run_of, summary_in, text_of
from state.drive import Event
from state.model import Claim, Run, RunId, RunKind, RunStatus, Window
from state.summary import Summary

TABLE = "pipeline_execution_drive"
KEY = ("pipeline_name", "query_window_start_timestamp", "query_window_end_timestamp", "run_number", "drive_id")
IDENTITY = " AND ".join(f"{name} = ?" for name in KEY)
SPAN = "query_window_start_timestamp, query_window_end_timestamp"
ORDER = f"ORDER BY {SPAN}, run_number, pipeline_name, drive_id"


class SqlRows(ABC):
    """Values are bound with `?`. `clock` replaces the database's in tests."""

    by_span, by_name = "", ""
    """By which index the runs of a pipeline in a span, and a run of a name, are found, where that must be said."""

    def __init__(self, drive_id: str, clock: Callable[[], datetime] | None = None) -> None:
        self._drive_id = drive_id
        self._clock = clock

    @abstractmethod
    def _ask(self, sql: str, *values: Any) -> Sequence[Row]:
        """The rows of a query, by column."""

    @abstractmethod
    def _change(self, sql: str, *values: Any) -> int:
        """The rows that a statement found to change, changed or not."""

    @abstractmethod
    def _database_now(self) -> datetime:
        """The clock of the database, UTC."""

    @abstractmethod
    def unfinished(self, pipeline: str) -> Iterable[Run]:
        """As `Rows` says; how that is read as far as the caller goes differs."""

    @abstractmethod
    def windows(self, pipeline: str, unfinished: bool) -> list[Window]:
        """As `Rows` says; answered from an index, without the wide rows of what is finished."""

    @abstractmethod
    def lift_token(self, pipeline: str, floor: int) -> None:
        """As `Rows` says."""

    @abstractmethod
    def lock(self, *pipelines: str) -> None:
        """Wait until these pipelines are ours to write, where that is not so already."""

    @property
    def drive_id(self) -> str:
        return self._drive_id

    def now(self) -> datetime:
        return self._clock() if self._clock is not None else self._database_now()

    def get(self, run: RunId) -> Run | None:
        self.lock(run.pipeline)
        found = self._ask(f"SELECT * FROM {TABLE} WHERE {IDENTITY}", *identity(run))
        return run_of(found[0]) if found else None

    def put(self, run: Run) -> Run:
        self.lock(run.id.pipeline)
        row = row_of(msgspec.structs.replace(run, updated_at=self.now()))
        rest = [name for name in row if name not in KEY]
        settings = ", ".join(f"{name} = ?" for name in rest)
        values = [row[name] for name in (*rest, *KEY)]
        if not self._change(f"UPDATE {TABLE} SET {settings} WHERE {IDENTITY}", *values):
            names = ", ".join((*rest, *KEY))
            self._change(f"INSERT INTO {TABLE} ({names}) VALUES ({marks(values)})", *values)
        return run_of(row)

    def scheduled_before(self, pipeline: str, end: datetime) -> Window | None:
        self.lock(pipeline)
        found = self._ask(
            f"SELECT {SPAN} FROM {TABLE}"
            " WHERE pipeline_name = ? AND run_kind = ? AND query_window_start_timestamp < ?"
            " ORDER BY query_window_start_timestamp DESC, query_window_end_timestamp DESC LIMIT 1",
            pipeline,
            RunKind.SCHEDULED.value,
            text_of(end),
        )
        return window_of(found[0]) if found else None

    def highest_number(self, pipeline: str, window: Window) -> int:
        self.lock(pipeline)
        [row] = self._ask(
            f"SELECT COALESCE(MAX(run_number), 0) AS number FROM {TABLE} WHERE pipeline_name = ?"
            " AND query_window_start_timestamp = ? AND query_window_end_timestamp = ?",
            pipeline,
            text_of(window.start),
            text_of(window.end),
        )
        return int(row["number"])

    def has_name(self, name: str) -> bool:
        return bool(self._ask(f"SELECT 1 FROM {TABLE} WHERE pipeline_id = ? LIMIT 1", name))

    def extend(self, claim: Claim, expires_at: datetime) -> bool:
        self.lock(claim.run.id.pipeline)
        return bool(
            self._change(
                f"UPDATE {TABLE} SET lease_expires_at = ?, updated_at = ?"
                f" WHERE {IDENTITY} AND token = ? AND pipeline_status = 'RUNNING'",
                text_of(expires_at),
                text_of(self.now()),
                *identity(claim.run.id),
                claim.token,
            )
        )

    def token(self, pipeline: str) -> int:
        self.lock(pipeline)
        found = self._ask("SELECT token FROM pipeline_tokens WHERE pipeline_name = ?", pipeline)
        return int(found[0]["token"]) if found else 0

    def add(self, event: Event) -> None:
        self.lock(event.pipeline)
        self._change(
            "INSERT INTO pipeline_events (at, actor, action, pipeline_name, subject, details)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            text_of(event.at),
            event.actor,
            event.action,
            event.pipeline,
            event.subject,
            msgspec.json.encode(event.details).decode(),
        )

    def events(self, pipeline: str, limit: int) -> list[Event]:
        found = self._ask(
            "SELECT * FROM pipeline_events WHERE pipeline_name = ? ORDER BY number DESC LIMIT ?", pipeline, limit
        )
        return [event_of(row) for row in found]

    def runs(
        self,
        pipeline: str | None,
        statuses: Sequence[RunStatus],
        within: Window | None,
        limit: int | None,
        *,
        name: str | None = None,
    ) -> list[Run]:
        found = self._found("*", pipeline, statuses=statuses, within=within, name=name, limit=limit)
        return [run_of(row) for row in found]

    def summaries(self, pipeline: str, within: Window | None) -> list[Summary]:
        columns = f"{', '.join(SUMMARY)}, {MERGED}"
        return [summary_in(row) for row in self._found(columns, pipeline, within=within)]

    def _found(
        self,
        columns: str,
        pipeline: str | None,
        *,
        statuses: Sequence[RunStatus] = (),
        within: Window | None = None,
        name: str | None = None,
        limit: int | None = None,
    ) -> Sequence[Row]:
        wanted, values = ["TRUE"], list[Any]()
        if pipeline is not None:
            wanted.append("pipeline_name = ?")
            values.append(pipeline)
        if statuses:
            wanted.append(f"pipeline_status IN ({marks(statuses)})")
            values += [status.value for status in statuses]
        if within is not None:
            wanted.append("query_window_start_timestamp < ? AND query_window_end_timestamp > ?")
            values += [text_of(within.end), text_of(within.start)]
        index = self.by_span if pipeline is not None and within is not None else ""
        if name is not None:
            wanted.append("pipeline_id = ?")
            values.append(name)
            index = self.by_name
        query = f"SELECT {columns} FROM {TABLE} {index} WHERE {' AND '.join(wanted)} {ORDER}"
        if limit is not None:
            query += " LIMIT ?"
            values.append(limit)
        return self._ask(query, *values)


def marks(values: Sequence[Any]) -> str:
    """Placeholders for `values`."""
    return ", ".join("?" * len(values))


def identity(run: RunId) -> tuple[Any, ...]:
    """Values of the query text `IDENTITY`."""
    return run.pipeline, text_of(run.window.start), text_of(run.window.end), run.number, run.drive_id


def window_of(row: Row) -> Window:
    """The window in a row."""
    start, end = (instant_of(row[f"query_window_{edge}_timestamp"]) for edge in ("start", "end"))
    assert start is not None and end is not None  # both columns are NOT NULL
    return Window(start, end)


def event_of(row: Mapping[str, Any]) -> Event:
    """The event that `add` wrote."""
    at = instant_of(row["at"])
    assert at is not None  # the column is NOT NULL
    details = msgspec.json.decode(row["details"])
    return Event(at, row["actor"], row["action"], row["pipeline_name"], row["subject"], details)
