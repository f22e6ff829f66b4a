"""`state.transactional.Rows` over MySQL or MariaDB, inside a transaction that the caller opened.

Writes of one pipeline follow each other, those of different pipelines do not meet: whoever writes locks the row of
the pipeline in `pipeline_tokens` before anything else, and what it reads then (READ COMMITTED) is the latest.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate, repeat
from operator import mul
from typing import Any, Protocol

import msgspec

from state.answers import KEPT_STEPS
from state.columns import Row, instant_of, row_of, run_of, text_of
from state.drive import Event
from state.model import Claim, Run, RunId, RunKind, RunStatus, Window

TABLE = "pipeline_execution_drive"
ORDER = "ORDER BY query_window_start_timestamp, query_window_end_timestamp, run_number, pipeline_name, drive_id"
KEY = ("pipeline_name", "query_window_start_timestamp", "query_window_end_timestamp", "run_number", "drive_id")
IDENTITY = " AND ".join(f"{name} = %s" for name in KEY)
UNFINISHED_FIRST, WINDOWS_ALONE = "FORCE INDEX (unfinished_runs)", "FORCE INDEX (windows_of_pipeline)"
"""Left alone, the server may read the wide rows of a whole history in the order of the primary key."""
FIRST_PAGE, GROWTH = 16, 4
"""A claim mostly takes one of the first runs; who reads on gets pages that grow."""


class Ask(Protocol):
    """The two ways to put a statement to the server, and to wait for its answer."""

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """The rows of a query."""

    def execute(self, sql: str, *values: Any) -> int:
        """Rows that were found to change."""


class MysqlRows:
    """The rows of one transaction. `writes`: lock what is read; `clock` replaces the database's in tests.

    `changed` tells whether something was written; `step` names the transaction, in the rows of its pipelines.
    """

    def __init__(
        self, ask: Ask, drive_id: str, clock: Callable[[], datetime] | None = None, *, writes: bool
    ) -> None:
        self._ask = ask
        self._drive_id = drive_id
        self._clock = clock
        self._writes = writes
        self._locked: set[str] = set()
        self._now: datetime | None = None
        self.step = uuid.uuid4().hex
        self.changed = False

    @property
    def drive_id(self) -> str:
        return self._drive_id

    def now(self) -> datetime:
        """The clock of the database, asked once after each wait for a lock."""
        if self._clock is not None:
            return self._clock()
        if self._now is None:
            [row] = self._ask.rows("SELECT UTC_TIMESTAMP(6) AS instant")
            self._now = datetime.fromisoformat(row["instant"]).replace(tzinfo=UTC)
        return self._now

    def lock(self, *pipelines: str) -> None:
        """Wait until these pipelines are ours to write, before anything else is read or written of them."""
        wanted = sorted({*pipelines} - self._locked)
        if not self._writes or not wanted:
            return
        # In the order of the key, or two processes would wait for each other. `touched` changes, so that nodes of
        # a cluster, which do not see each other's locks, see the conflict when the second commits.
        touch = (
            "UPDATE pipeline_tokens SET touched = touched + 1,"
            f" recent_steps = LEFT(CONCAT(%s, recent_steps), {KEPT_STEPS * len(self.step)})"
            f" WHERE pipeline_name IN ({marks(wanted)}) ORDER BY pipeline_name"
        )
        if self._ask.execute(touch, self.step, *wanted) < len(wanted):
            self._make_known(wanted)
            self._ask.execute(touch, self.step, *wanted)
        self._locked |= {*wanted}
        self._now = None

    def was_committed(self) -> tuple[Any, ...]:
        """A query, and its values, that finds a row if this transaction was committed.

        It waits for the lock that the transaction holds while it is under way.
        """
        pipeline = min(
            self._locked
        )  # whatever it changed, it has locked before, and all of that happened or nothing
        sql = "SELECT 1 FROM pipeline_tokens WHERE pipeline_name = %s AND LOCATE(%s, recent_steps) FOR UPDATE"
        return sql, pipeline, self.step

    def _make_known(self, pipelines: Sequence[str]) -> None:
        """Make the rows that are locked, in a transaction of their own.

        If one that made such a row were undone, those who wait for the row would end in a deadlock.
        """
        assert not self.changed and not self._locked  # nothing is undone but what is done again
        self._ask.execute("ROLLBACK")
        self._ask.execute(
            "INSERT INTO pipeline_tokens (pipeline_name, token, touched)"
            f" VALUES {', '.join(['(%s, 0, 0)'] * len(pipelines))} ON DUPLICATE KEY UPDATE touched = touched",
            *pipelines,
        )
        self._ask.execute("START TRANSACTION")

    def get(self, run: RunId) -> Run | None:
        self.lock(run.pipeline)
        found = self._ask.rows(f"SELECT * FROM {TABLE} WHERE {IDENTITY}", *identity(run))
        return run_of(found[0]) if found else None

    def put(self, run: Run) -> Run:
        self.lock(run.id.pipeline)
        row = row_of(msgspec.structs.replace(run, updated_at=self.now()))
        rest = [name for name in row if name not in KEY]
        settings = ", ".join(f"{name} = %s" for name in rest)
        values = [row[name] for name in (*rest, *KEY)]
        if not self._change(f"UPDATE {TABLE} SET {settings} WHERE {IDENTITY}", *values):
            names = ", ".join((*rest, *KEY))
            self._change(f"INSERT INTO {TABLE} ({names}) VALUES ({marks(values)})", *values)
        return run_of(row)

    def unfinished(self, pipeline: str) -> Iterable[Run]:
        self.lock(pipeline)
        return self._pages(
            f"SELECT * FROM {TABLE} {UNFINISHED_FIRST} WHERE pipeline_name = %s AND is_unfinished = 1"
            " ORDER BY query_window_start_timestamp, query_window_end_timestamp, run_number, drive_id",
            pipeline,
        )

    def scheduled_before(self, pipeline: str, end: datetime) -> Window | None:
        self.lock(pipeline)
        found = self._ask.rows(
            f"SELECT query_window_start_timestamp, query_window_end_timestamp FROM {TABLE}"
            " WHERE pipeline_name = %s AND run_kind = %s AND query_window_start_timestamp < %s"
            " ORDER BY query_window_start_timestamp DESC, query_window_end_timestamp DESC LIMIT 1",
            pipeline,
            RunKind.SCHEDULED.value,
            text_of(end),
        )
        return window_of(found[0]) if found else None

    def highest_number(self, pipeline: str, window: Window) -> int:
        self.lock(pipeline)
        [row] = self._ask.rows(
            f"SELECT COALESCE(MAX(run_number), 0) AS number FROM {TABLE} WHERE pipeline_name = %s"
            " AND query_window_start_timestamp = %s AND query_window_end_timestamp = %s",
            pipeline,
            text_of(window.start),
            text_of(window.end),
        )
        return int(row["number"])

    def has_name(self, name: str) -> bool:
        return bool(self._ask.rows(f"SELECT 1 FROM {TABLE} WHERE pipeline_id = %s LIMIT 1", name))

    def extend(self, claim: Claim, expires_at: datetime) -> bool:
        self.lock(claim.run.id.pipeline)
        return bool(
            self._change(
                f"UPDATE {TABLE} SET lease_expires_at = %s, updated_at = %s"
                f" WHERE {IDENTITY} AND token = %s AND pipeline_status = 'RUNNING'",
                text_of(expires_at),
                text_of(self.now()),
                *identity(claim.run.id),
                claim.token,
            )
        )

    def lift_token(self, pipeline: str, floor: int) -> None:
        self.lock(pipeline)
        self._change(
            "UPDATE pipeline_tokens SET token = GREATEST(token, %s) WHERE pipeline_name = %s", floor, pipeline
        )

    def token(self, pipeline: str) -> int:
        self.lock(pipeline)
        found = self._ask.rows("SELECT token FROM pipeline_tokens WHERE pipeline_name = %s", pipeline)
        return int(found[0]["token"]) if found else 0

    def add(self, event: Event) -> None:
        self.lock(event.pipeline)
        self._change(
            "INSERT INTO pipeline_events (at, actor, action, pipeline_name, subject, details)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            text_of(event.at),
            event.actor,
            event.action,
            event.pipeline,
            event.subject,
            msgspec.json.encode(event.details).decode(),
        )

    def events(self, pipeline: str, limit: int) -> list[Event]:
        found = self._ask.rows(
            "SELECT * FROM pipeline_events WHERE pipeline_name = %s ORDER BY number DESC LIMIT %s", pipeline, limit
        )
        return [event_of(row) for row in found]

    def runs(
        self, pipeline: str | None, statuses: Sequence[RunStatus], within: Window | None, limit: int | None
    ) -> list[Run]:
        wanted, values = ["TRUE"], list[Any]()
        if pipeline is not None:
            wanted.append("pipeline_name = %s")
            values.append(pipeline)
        if statuses:
            wanted.append(f"pipeline_status IN ({marks(statuses)})")
            values += [status.value for status in statuses]
        if within is not None:
            wanted.append("query_window_start_timestamp < %s AND query_window_end_timestamp > %s")
            values += [text_of(within.end), text_of(within.start)]
        query = f"SELECT * FROM {TABLE} WHERE {' AND '.join(wanted)} {ORDER}"
        if limit is not None:
            query += " LIMIT %s"
            values.append(limit)
        return [run_of(row) for row in self._ask.rows(query, *values)]

    def windows(self, pipeline: str, unfinished: bool) -> list[Window]:
        index, more = (UNFINISHED_FIRST, " AND is_unfinished = 1") if unfinished else (WINDOWS_ALONE, "")
        found = self._ask.rows(
            f"SELECT DISTINCT query_window_start_timestamp, query_window_end_timestamp FROM {TABLE} {index}"
            f" WHERE pipeline_name = %s{more} ORDER BY 1, 2",
            pipeline,
        )
        return [window_of(row) for row in found]

    def _pages(self, query: str, *values: Any) -> Iterator[Run]:
        """The runs of a query, read as far as the caller goes; nobody else changes them meanwhile."""
        done = 0
        for size in accumulate(repeat(GROWTH), mul, initial=FIRST_PAGE):
            page = self._ask.rows(f"{query} LIMIT %s OFFSET %s", *values, size, done)
            yield from map(run_of, page)
            done += len(page)
            if len(page) < size:
                return

    def _change(self, sql: str, *values: Any) -> int:
        self.changed = True
        return self._ask.execute(sql, *values)


def marks(values: Sequence[Any]) -> str:
    """Placeholders for `values`."""
    return ", ".join(["%s"] * len(values))


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
