"""`state.transactional.Rows` over a SQLite connection, inside a transaction that the caller opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from state.columns import instant_of, row_of, run_of, text_of
from state.drive import Event
from state.model import Claim, Run, RunId, RunKind, RunStatus, Window

TABLE = "pipeline_execution_drive"
UNFINISHED = "superseded_by = 0 AND pipeline_status NOT IN ('COMPLETED', 'SKIPPED')"
ORDER = "ORDER BY query_window_start_timestamp, query_window_end_timestamp, run_number, pipeline_name, drive_id"
IDENTITY = (
    "pipeline_name = :pipeline AND query_window_start_timestamp = :start"
    " AND query_window_end_timestamp = :end AND run_number = :number AND drive_id = :drive"
)


class SqliteRows:
    """`clock` replaces the database's clock in tests."""

    def __init__(
        self, connection: sqlite3.Connection, drive_id: str, clock: Callable[[], datetime] | None = None
    ) -> None:
        self._sql = connection
        self._drive_id = drive_id
        self._clock = clock

    @property
    def drive_id(self) -> str:
        return self._drive_id

    def now(self) -> datetime:
        return self._clock() if self._clock else database_now(self._sql)

    def get(self, run: RunId) -> Run | None:
        row = self._sql.execute(f"SELECT * FROM {TABLE} WHERE {IDENTITY}", identity(run)).fetchone()
        return run_of(row) if row else None

    def put(self, run: Run) -> Run:
        row = row_of(msgspec.structs.replace(run, updated_at=self.now()))
        names = ", ".join(row)
        self._sql.execute(
            f"INSERT OR REPLACE INTO {TABLE} ({names}) VALUES ({', '.join(f':{name}' for name in row)})", row
        )
        return run_of(row)

    def unfinished(self, pipeline: str) -> Iterable[Run]:
        # fetched row by row on purpose: a claim reads as far as the first run that is due
        rows = self._sql.execute(
            f"SELECT * FROM {TABLE} WHERE pipeline_name = ? AND {UNFINISHED} {ORDER}", (pipeline,)
        )
        return (run_of(row) for row in rows)

    def scheduled_before(self, pipeline: str, end: datetime) -> Window | None:
        row = self._sql.execute(
            f"SELECT query_window_start_timestamp, query_window_end_timestamp FROM {TABLE}"
            " WHERE pipeline_name = ? AND run_kind = ? AND query_window_start_timestamp < ?"
            " ORDER BY query_window_start_timestamp DESC, query_window_end_timestamp DESC LIMIT 1",
            (pipeline, RunKind.SCHEDULED.value, text_of(end)),
        ).fetchone()
        return None if row is None else window_of(row)

    def highest_number(self, pipeline: str, window: Window) -> int:
        (number,) = self._sql.execute(
            f"SELECT coalesce(max(run_number), 0) FROM {TABLE} WHERE pipeline_name = ?"
            " AND query_window_start_timestamp = ? AND query_window_end_timestamp = ?",
            (pipeline, text_of(window.start), text_of(window.end)),
        ).fetchone()
        return int(number)

    def has_name(self, name: str) -> bool:
        found = self._sql.execute(f"SELECT 1 FROM {TABLE} WHERE pipeline_id = ? LIMIT 1", (name,))
        return found.fetchone() is not None

    def extend(self, claim: Claim, expires_at: datetime) -> bool:
        done = self._sql.execute(
            f"UPDATE {TABLE} SET lease_expires_at = :expires, updated_at = :now"
            f" WHERE {IDENTITY} AND token = :token AND pipeline_status = 'RUNNING'",
            {
                **identity(claim.run.id),
                "expires": text_of(expires_at),
                "now": text_of(self.now()),
                "token": claim.token,
            },
        )
        return done.rowcount == 1

    def lift_token(self, pipeline: str, floor: int) -> None:
        self._sql.execute(
            "INSERT INTO pipeline_tokens (pipeline_name, token) VALUES (?, ?)"
            " ON CONFLICT (pipeline_name) DO UPDATE SET token = max(token, excluded.token)",
            (pipeline, floor),
        )

    def token(self, pipeline: str) -> int:
        row = self._sql.execute(
            "SELECT token FROM pipeline_tokens WHERE pipeline_name = ?", (pipeline,)
        ).fetchone()
        return int(row[0]) if row else 0

    def add(self, event: Event) -> None:
        self._sql.execute(
            "INSERT INTO pipeline_events (at, actor, action, pipeline_name, subject, details)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                text_of(event.at),
                event.actor,
                event.action,
                event.pipeline,
                event.subject,
                msgspec.json.encode(event.details).decode(),
            ),
        )

    def events(self, pipeline: str, limit: int) -> list[Event]:
        rows = self._sql.execute(
            "SELECT at, actor, action, pipeline_name, subject, details FROM pipeline_events"
            " WHERE pipeline_name = ? ORDER BY number DESC LIMIT ?",
            (pipeline, limit),
        )
        return [event_of(row) for row in rows]

    def runs(
        self, pipeline: str | None, statuses: Sequence[RunStatus], within: Window | None, limit: int | None
    ) -> list[Run]:
        wanted, values = ["TRUE"], list[Any]()
        if pipeline is not None:
            wanted.append("pipeline_name = ?")
            values.append(pipeline)
        if statuses:
            wanted.append(f"pipeline_status IN ({', '.join('?' * len(statuses))})")
            values += [status.value for status in statuses]
        if within is not None:
            wanted.append("query_window_start_timestamp < ? AND query_window_end_timestamp > ?")
            values += [text_of(within.end), text_of(within.start)]
        query = f"SELECT * FROM {TABLE} WHERE {' AND '.join(wanted)} {ORDER} LIMIT ?"
        return [run_of(row) for row in self._sql.execute(query, (*values, -1 if limit is None else limit))]

    def windows(self, pipeline: str, unfinished: bool) -> list[Window]:
        # answered from an index, without the wide rows of what is finished
        rows = self._sql.execute(
            f"SELECT DISTINCT query_window_start_timestamp, query_window_end_timestamp FROM {TABLE}"
            f" WHERE pipeline_name = ? AND {UNFINISHED if unfinished else 'TRUE'} ORDER BY 1, 2",
            (pipeline,),
        )
        return [window_of(row) for row in rows]


def database_now(connection: sqlite3.Connection) -> datetime:
    """The database's clock, UTC, exact to the millisecond."""
    (text,) = connection.execute("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')").fetchone()
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def window_of(row: sqlite3.Row) -> Window:
    """The window in a row of two columns."""
    start, end = (instant_of(text) for text in tuple(row))
    assert start is not None and end is not None  # both columns are NOT NULL
    return Window(start, end)


def identity(run: RunId) -> dict[str, Any]:
    """Values of the query text `IDENTITY`."""
    return {
        "pipeline": run.pipeline,
        "start": text_of(run.window.start),
        "end": text_of(run.window.end),
        "number": run.number,
        "drive": run.drive_id,
    }


def event_of(row: sqlite3.Row) -> Event:
    """The event that `add` wrote."""
    at, actor, action, pipeline, subject, details = row
    moment = instant_of(at)
    assert moment is not None  # the column is NOT NULL
    return Event(moment, actor, action, pipeline, subject, msgspec.json.decode(details))
