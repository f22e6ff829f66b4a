"""What the drive table writes into Snowflake, statement by statement. No DDL: it would end a transaction."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from state.answers import KEPT_STEPS
from state.drive import Event
from state.errors import TransientError, UnknownOutcome
from state.model import Run, RunStatus
from state.snowflake.drive_queue import CHANGED
from state.snowflake.drive_rows import (
    COLUMNS,
    IDENTITY,
    VARIANTS,
    Seen,
    Tables,
    duplicate,
    identity,
    identity_sql,
    insert_json,
    insert_sql,
    update_sql,
)
from state.snowflake.session import Session

PROGRESS = ("pipeline_status", "phase_failed", "updated_at", *sorted(VARIANTS))
"""Columns that a holder writes; the lease is not among them: renewals move it meanwhile."""
GIVEN_UP = ("owner", "lease_expires_at", "next_attempt_at", "quarantined_at", "strikes")
"""Columns that a holder writes as well when it lets the run go."""
CHANGEABLE = tuple(column for column in COLUMNS if column not in IDENTITY)

HELD = "token = ? AND pipeline_status = 'RUNNING'"


async def hold(session: Session, tables: Tables, run: Run, token: int, key: str) -> int:
    """One UPDATE of a run that is held with `token`; 0 if it is not held any more. `key` names this write."""
    sql, values = held_sql(tables, run, key, HELD)
    return _once(run, await session.count(sql, *values, token))


async def hold_again(session: Session, tables: Tables, run: Run, token: int, key: str) -> int:
    """The same write after its answer was lost: 1 as well where it has happened."""
    sql, values = held_sql(tables, run, key, f"(({HELD}) OR last_write = ?)")
    return _once(run, await session.count(sql, *values, token, key))


def held_sql(tables: Tables, run: Run, key: str, condition: str) -> tuple[str, tuple[Any, ...]]:
    """The UPDATE of a holder, and its values up to those of `condition`."""
    columns = PROGRESS if run.status is RunStatus.RUNNING else PROGRESS + GIVEN_UP
    sql, given = update_sql(tables, run, columns, f"{identity_sql()} AND {condition}")
    return sql, (*given, key, *identity(run.id))


async def make_known(session: Session, tables: Tables, pipeline: str) -> None:
    """The row of a pipeline that is new; one holder of the drive's own row at a time, so it is made once.

    Who looks afterwards sees whether it is there: nothing of a step has happened yet. Raises `TransientError`.
    """
    mark = secrets.randbits(62)
    try:
        await session.rows("BEGIN TRANSACTION")
        await _locked(session, tables, mark)
        await session.count(
            f"MERGE INTO {tables.tokens} AS t USING (SELECT ? AS pipeline_name"
            f" WHERE EXISTS (SELECT 1 FROM {tables.drive} WHERE touched = ?)) AS n"
            " ON t.pipeline_name = n.pipeline_name WHEN NOT MATCHED THEN"
            " INSERT (pipeline_name, token, steps, recent_steps) VALUES (n.pipeline_name, 0, 0, '')",
            pipeline,
            mark,
        )
        await session.rows("COMMIT")
    except UnknownOutcome as lost:
        raise TransientError(lost.message, hint="It is tried again by itself.", code=CHANGED) from lost


async def _locked(session: Session, tables: Tables, mark: int) -> None:
    """The drive's own row is locked, and bears `mark` for as long as the transaction is ours.

    If Snowflake gave it up behind our back, the row is as it was, and what asks for the mark writes nothing.
    """
    await session.count(f"UPDATE {tables.drive} SET touched = ?", mark)


async def write(session: Session, tables: Tables, seen: Seen, key: str) -> None:
    """What a step changed, in one transaction, if nothing changed since it looked; `key` names it.

    Raises `TransientError` if something did, or if Snowflake gave the transaction up; nothing is stored then.
    """
    await session.rows("BEGIN TRANSACTION")
    if not await _all_written(session, tables, seen, key):
        await session.rows("ROLLBACK")
        raise TransientError(
            f"another process changed runs of {seen.pipeline} at the same time",
            hint="It is tried again by itself.",
            code=CHANGED,
        )
    await session.rows("COMMIT")
    if not await _committed(session, tables, seen, key):
        raise TransientError(
            f"Snowflake gave up the transaction of a step of {seen.pipeline} before it was committed",
            hint="It is tried again by itself.",
            code=CHANGED,
        )


async def _committed(session: Session, tables: Tables, seen: Seen, key: str) -> bool:
    """COMMIT also succeeds where Snowflake gave the transaction up before, and then commits nothing."""
    sql = f"SELECT COUNT(*) FROM {tables.tokens} WHERE pipeline_name = ? AND CONTAINS(recent_steps, ?)"
    try:
        return await session.count(sql, seen.pipeline, key) > 0
    except TransientError as error:
        raise UnknownOutcome(f"what became of COMMIT is not known: {error.message}", code="commit") from error


async def _all_written(session: Session, tables: Tables, seen: Seen, key: str) -> bool:
    """False if the pipeline's row or that of a run is not what the look saw.

    The pipeline's row comes first: its lock makes the steps of a pipeline wait for each other. What follows is
    written only where that row bears the step's name: a transaction that Snowflake gave up behind our back writes
    nothing, even if its later statements should commit by themselves.
    """
    if not await _counted(session, tables, seen, key):
        return False
    under_way = f"EXISTS (SELECT 1 FROM {tables.tokens} WHERE pipeline_name = ? AND CONTAINS(recent_steps, ?))"
    step = seen.pipeline, key
    for run in seen.old:
        sql, values = update_sql(tables, run, CHANGEABLE, f"{identity_sql()} AND revision = ? AND {under_way}")
        touched = await session.count(sql, *values, "", *identity(run.id), seen.revisions[run.id], *step)
        if not _once(run, touched):
            return False
    for rows, count in insert_json(seen.new):
        if await session.count(f"{insert_sql(tables)} WHERE {under_way}", rows, *step) != count:
            return False
    for event in seen.actions:
        await _record(session, tables, event, key, f" WHERE {under_way}", *step)
    return True


async def _counted(session: Session, tables: Tables, seen: Seen, key: str) -> bool:
    """The step is counted, and named, if no other came between."""
    touched = await session.count(
        f"UPDATE {tables.tokens} SET token = ?, steps = steps + 1,"
        f" recent_steps = LEFT(CONCAT(?, recent_steps), {KEPT_STEPS * len(key)})"
        " WHERE pipeline_name = ? AND steps = ?",
        seen.token(seen.pipeline),
        key,
        seen.pipeline,
        seen.steps,
    )
    if touched > 1:
        raise duplicate(f"{seen.pipeline} is in pipeline_tokens {touched} times")
    return touched == 1


async def was_written(session: Session, tables: Tables, pipeline: str, key: str) -> bool:
    """True if the step `key` was committed. Waits for the lock that the step holds while it is under way."""
    sql = f"UPDATE {tables.tokens} SET steps = steps WHERE pipeline_name = ? AND CONTAINS(recent_steps, ?)"
    return await session.count(sql, pipeline, key) > 0


async def record(session: Session, tables: Tables, event: Event, key: str) -> None:
    """Add an operator's action."""
    await _record(session, tables, event, key, "")


async def record_once(session: Session, tables: Tables, event: Event, key: str) -> None:
    """The same after its answer was lost: added unless it is there."""
    condition = f" WHERE NOT EXISTS (SELECT 1 FROM {tables.events} WHERE event_key = ?)"
    await _record(session, tables, event, key, condition, key)


async def _record(session: Session, tables: Tables, event: Event, key: str, condition: str, *values: str) -> None:
    await session.count(
        f"INSERT INTO {tables.events}"
        " (happened_at, actor, action, pipeline_name, subject, details, event_key)"
        f" SELECT ?, ?, ?, ?, ?, PARSE_JSON(?), ?{condition}",
        event.at,
        event.actor,
        event.action,
        event.pipeline,
        event.subject,
        msgspec.json.encode(event.details).decode(),
        key,
        *values,
    )


def _once(run: Run, touched: int) -> int:
    """0 or 1. Raises `DuplicateWindow` where a run's row was there more than once."""
    if touched > 1:
        raise duplicate(f"{run.name} is in the drive table {touched} times")
    return touched
