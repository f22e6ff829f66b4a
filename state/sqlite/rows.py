"""`state.transactional.Rows` over a SQLite connection, inside a transaction that the caller opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from state.columns import Row, run_of
from state.model import Run, Window
from state.sql_rows import ORDER, SPAN, TABLE, SqlRows, window_of

UNFINISHED = "superseded_by = 0 AND pipeline_status NOT IN ('COMPLETED', 'SKIPPED')"


class SqliteRows(SqlRows):
    """The rows of one connection, for each of its transactions."""

    by_name = "INDEXED BY runs_by_id"

    def __init__(
        self, connection: sqlite3.Connection, drive_id: str, clock: Callable[[], datetime] | None = None
    ) -> None:
        super().__init__(drive_id, clock)
        self._sql = connection

    def _ask(self, sql: str, *values: Any) -> Sequence[Row]:
        return self._sql.execute(sql, values).fetchall()

    def _change(self, sql: str, *values: Any) -> int:
        return self._sql.execute(sql, values).rowcount

    def _database_now(self) -> datetime:
        """Exact to the millisecond."""
        (text,) = self._sql.execute("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')").fetchone()
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    def lock(self, *pipelines: str) -> None:
        """Nothing to do: a step has the whole file to itself."""

    def unfinished(self, pipeline: str) -> Iterable[Run]:
        # fetched row by row on purpose: a claim reads as far as the first run that is due
        rows = self._sql.execute(
            f"SELECT * FROM {TABLE} WHERE pipeline_name = ? AND {UNFINISHED} {ORDER}", (pipeline,)
        )
        return (run_of(row) for row in rows)

    def windows(self, pipeline: str, unfinished: bool) -> list[Window]:
        wanted = UNFINISHED if unfinished else "TRUE"
        sql = f"SELECT DISTINCT {SPAN} FROM {TABLE} WHERE pipeline_name = ? AND {wanted} ORDER BY 1, 2"
        return [window_of(row) for row in self._ask(sql, pipeline)]

    def lift_token(self, pipeline: str, floor: int) -> None:
        self._change(
            "INSERT INTO pipeline_tokens (pipeline_name, token) VALUES (?, ?)"
            " ON CONFLICT (pipeline_name) DO UPDATE SET token = max(token, excluded.token)",
            pipeline,
            floor,
        )
