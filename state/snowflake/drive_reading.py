"""What the drive table reads from Snowflake: the look that a step decides by, and plain questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from state.columns import SUMMARY
from state.model import RunId, RunStatus, Window
from state.snowflake.drive_clock import DriveClock
from state.snowflake.drive_rows import (
    COLUMNS,
    ORDER,
    OVERLAPS,
    UNFINISHED,
    VARIANTS,
    Seen,
    Tables,
    Wanted,
    missing,
    recreated,
    run_in,
    utc,
)
from state.snowflake.session import Session

Query = tuple[str, list[Any]]
"""A statement and its values."""


async def look(
    session: Session, tables: Tables, drive_id: str, clock: DriveClock, *, pipeline: str, wanted: Wanted
) -> Seen:
    """One statement, or two. Raises `ConfigurationError` if this is another drive table, `DuplicateWindow`."""
    rows = await session.rows(look_sql(tables, wanted), pipeline, pipeline, *wanted.values)
    if not rows:
        raise missing(tables.schema)
    read_at, found, token, steps = rows[0][:4]
    if found != drive_id:
        raise recreated(tables, drive_id, found)
    clock.told(utc(read_at))
    seen = Seen(drive_id, clock.now, pipeline)
    if steps is not None:
        seen.saw_token(int(token), int(steps))
    for row in rows:
        if row[4] is not None:
            seen.saw(run_in(row[5:]), int(row[4]))
    # afterwards: a run that is finished meanwhile is in both, and is told by its revision; it is never in neither
    finished = await session.rows(finished_sql(tables), pipeline) if wanted.finished else ()
    for start, end, number, drive, name in finished:
        seen.saw_finished(RunId(drive, pipeline, Window(utc(start), utc(end)), int(number)), name)
    seen.require_no_overlap()
    return seen


def look_sql(tables: Tables, wanted: Wanted) -> str:
    """One statement: clock, drive id, token row, and the wanted runs.

    Values: the pipeline twice, then those of `wanted`.
    """
    columns = ", ".join(
        f"d.{column}" if wanted.wide or column not in VARIANTS else f"NULL AS {column}" for column in COLUMNS
    )
    return (
        f"SELECT SYSDATE() AS read_at, s.id AS this_drive, t.token AS last_token, t.steps, d.revision, {columns}"
        f" FROM {tables.drive} AS s"
        f" LEFT JOIN {tables.tokens} AS t ON t.pipeline_name = ?"
        f" LEFT JOIN {tables.runs} AS d ON d.pipeline_name = ? AND ({wanted.where})"
    )


def finished_sql(tables: Tables) -> str:
    """The runs of a pipeline that are finished, or superseded: narrow, for there may be very many."""
    columns = (
        "d.query_window_start_timestamp, d.query_window_end_timestamp, d.run_number, d.drive_id, d.pipeline_id"
    )
    return f"SELECT {columns} FROM {tables.runs} AS d WHERE d.pipeline_name = ? AND NOT ({UNFINISHED})"


def runs(
    tables: Tables,
    pipeline: str | None,
    statuses: Sequence[RunStatus],
    within: Window | None,
    *,
    name: str | None,
    limit: int | None,
) -> Query:
    """The columns of `COLUMNS` of the runs that match."""
    wanted, values = ["TRUE"], list[Any]()
    if pipeline is not None:
        wanted.append("d.pipeline_name = ?")
        values.append(pipeline)
    if statuses:
        wanted.append(f"d.pipeline_status IN ({', '.join('?' * len(statuses))})")
        values += [status.value for status in statuses]
    if within is not None:
        wanted.append(OVERLAPS)
        values += [within.end, within.start]
    if name is not None:
        wanted.append("d.pipeline_id = ?")
        values.append(name)
    columns = ", ".join(f"d.{column}" for column in COLUMNS)
    sql = f"SELECT {columns} FROM {tables.runs} AS d WHERE {' AND '.join(wanted)} {ORDER}"
    return sql + ("" if limit is None else f" LIMIT {limit:d}"), values


def summaries(tables: Tables, pipeline: str, within: Window | None) -> Query:
    """What `summary_of_row` takes, of the runs that match."""
    columns = ", ".join(f"d.{column}" for column in SUMMARY)
    wanted, values = "d.pipeline_name = ?", list[Any]([pipeline])
    if within is not None:
        wanted, values = f"{wanted} AND {OVERLAPS}", [pipeline, within.end, within.start]
    return f"SELECT {columns}, d.receipt IS NOT NULL FROM {tables.runs} AS d WHERE {wanted} {ORDER}", values


def windows(tables: Tables, pipeline: str, unfinished: bool) -> Query:
    """Start and end of the windows of a pipeline, in order, each once."""
    sql = (
        "SELECT DISTINCT d.query_window_start_timestamp, d.query_window_end_timestamp"
        f" FROM {tables.runs} AS d"
        f" WHERE d.pipeline_name = ? AND {UNFINISHED if unfinished else 'TRUE'} ORDER BY 1, 2"
    )
    return sql, [pipeline]


def events(tables: Tables, pipeline: str, limit: int) -> Query:
    """What `event_of` takes, newest first."""
    sql = (
        "SELECT happened_at, actor, action, pipeline_name, subject, details"
        f" FROM {tables.events} WHERE pipeline_name = ? ORDER BY number DESC LIMIT {limit:d}"
    )
    return sql, [pipeline]
