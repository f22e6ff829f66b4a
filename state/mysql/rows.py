"""`state.transactional.Rows` over MySQL or MariaDB, inside a transaction that the caller opened.

Writes of one pipeline follow each other, those of different pipelines do not meet: whoever writes locks the row of
the pipeline in `pipeline_tokens` before anything else, and what it reads then (READ COMMITTED) is the latest.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import accumulate, repeat
from operator import mul
from typing import Any, Protocol

from state.answers import KEPT_STEPS
from state.columns import Row, run_of
from state.model import Run, Window
from state.sql_rows import SPAN, TABLE, SqlRows, marks, window_of

UNFINISHED_FIRST, WINDOWS_ALONE = "FORCE INDEX (unfinished_runs)", "FORCE INDEX (windows_of_pipeline)"
"""Left alone, the server may read the wide rows of a whole history in the order of the primary key."""
FIRST_PAGE, GROWTH = 16, 4
"""A claim mostly takes one of the first runs; who reads on gets pages that grow."""


class Statements(Protocol):
    """The two ways to put a statement to the server, and to wait for its answer; values are bound with `%s`."""

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """The rows of a query."""

    def execute(self, sql: str, *values: Any) -> int:
        """Rows that were found to change."""


class MysqlRows(SqlRows):
    """The rows of one transaction. `writes`: lock what is read.

    `changed` tells whether something was written; `step` names the transaction, in the rows of its pipelines.
    """

    by_span, by_name = WINDOWS_ALONE, "FORCE INDEX (runs_by_id)"

    def __init__(
        self, statements: Statements, drive_id: str, clock: Callable[[], datetime] | None = None, *, writes: bool
    ) -> None:
        super().__init__(drive_id, clock)
        self._statements = statements
        self._writes = writes
        self._locked: set[str] = set()
        self._now: datetime | None = None
        self.step = uuid.uuid4().hex
        self.changed = False

    def _ask(self, sql: str, *values: Any) -> Sequence[Row]:
        return self._statements.rows(spoken(sql), *values)

    def _change(self, sql: str, *values: Any) -> int:
        self.changed = True
        return self._statements.execute(spoken(sql), *values)

    def _database_now(self) -> datetime:
        """Asked once after each wait for a lock."""
        if self._now is None:
            [row] = self._ask("SELECT UTC_TIMESTAMP(6) AS instant")
            self._now = datetime.fromisoformat(row["instant"]).replace(tzinfo=UTC)
        return self._now

    def lock(self, *pipelines: str) -> None:
        """Wait until these pipelines are ours to write, before anything else is read or written of them."""
        wanted = sorted({*pipelines} - self._locked)
        if not self._writes or not wanted:
            return
        # In the order of the key, or two processes would wait for each other. `touched` changes, so that nodes of
        # a cluster, which do not see each other's locks, see the conflict when the second commits.
        touch = spoken(
            "UPDATE pipeline_tokens SET touched = touched + 1,"
            f" recent_steps = LEFT(CONCAT(?, recent_steps), {KEPT_STEPS * len(self.step)})"
            f" WHERE pipeline_name IN ({marks(wanted)}) ORDER BY pipeline_name"
        )
        if self._statements.execute(touch, self.step, *wanted) < len(wanted):
            self._make_known(wanted)
            self._statements.execute(touch, self.step, *wanted)
        self._locked |= {*wanted}
        self._now = None

    def was_committed(self) -> tuple[Any, ...]:
        """A query, and its values, that finds a row if this transaction was committed.

        It waits for the lock that the transaction holds while it is under way.
        """
        pipeline = min(self._locked)  # one is enough: all of them bear the name, or none
        sql = "SELECT 1 FROM pipeline_tokens WHERE pipeline_name = ? AND LOCATE(?, recent_steps) FOR UPDATE"
        return spoken(sql), pipeline, self.step

    def _make_known(self, pipelines: Sequence[str]) -> None:
        """Make the rows that are locked, in a transaction of their own.

        If one that made such a row were undone, those who wait for the row would end in a deadlock.
        """
        assert not self.changed and not self._locked  # nothing is undone but what is done again
        self._statements.execute("ROLLBACK")
        self._statements.execute(
            "INSERT INTO pipeline_tokens (pipeline_name, token, touched)"
            f" VALUES {', '.join(['(%s, 0, 0)'] * len(pipelines))} ON DUPLICATE KEY UPDATE touched = touched",
            *pipelines,
        )
        self._statements.execute("START TRANSACTION")

    def unfinished(self, pipeline: str) -> Iterable[Run]:
        self.lock(pipeline)
        return self._pages(
            f"SELECT * FROM {TABLE} {UNFINISHED_FIRST} WHERE pipeline_name = ? AND is_unfinished = 1"
            f" ORDER BY {SPAN}, run_number, drive_id",
            pipeline,
        )

    def windows(self, pipeline: str, unfinished: bool) -> list[Window]:
        index, more = (UNFINISHED_FIRST, " AND is_unfinished = 1") if unfinished else (WINDOWS_ALONE, "")
        sql = f"SELECT DISTINCT {SPAN} FROM {TABLE} {index} WHERE pipeline_name = ?{more} ORDER BY 1, 2"
        return [window_of(row) for row in self._ask(sql, pipeline)]

    def lift_token(self, pipeline: str, floor: int) -> None:
        self.lock(pipeline)
        self._change(
            "UPDATE pipeline_tokens SET token = GREATEST(token, ?) WHERE pipeline_name = ?", floor, pipeline
        )

    def _pages(self, query: str, *values: Any) -> Iterator[Run]:
        """The runs of a query, read as far as the caller goes; nobody else changes them meanwhile."""
        done = 0
        for size in accumulate(repeat(GROWTH), mul, initial=FIRST_PAGE):
            page = self._ask(f"{query} LIMIT ? OFFSET ?", *values, size, done)
            yield from map(run_of, page)
            done += len(page)
            if len(page) < size:
                return


def spoken(sql: str) -> str:
    """A statement of ours with the placeholders of the driver; no text in one holds either."""
    return sql.replace("?", "%s")
