"""INFORMATION_SCHEMA.QUERY_HISTORY and its kin, as far as one looks for what still runs, and how it ended.

Documented (sql-reference/functions/query_history): also statements that run; the newest RESULT_LIMIT (100) of
those that SESSION_ID, USER_NAME or WAREHOUSE_NAME choose. Here without the END_TIME_RANGE arguments. There is no
TRANSACTION_ID in it: only the view in ACCOUNT_USAGE has that column, up to 45 minutes later.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.snowflake.server import async_queries
from tests.snowflake.server.model import Answer, Run, Server, SnowflakeError, Statement

CALL = re.compile(
    r"\bTABLE\s*\(\s*(?:\"?\w+\"?\s*\.\s*)?INFORMATION_SCHEMA\s*\.\s*QUERY_HISTORY(_BY_SESSION|_BY_USER|_BY_WAREHOUSE)?"
    r"\s*\(([^()]*(?:\(\s*\)[^()]*)*)\)\s*\)",
    re.IGNORECASE,
)
ARGUMENT = re.compile(r"(\w+)\s*=>\s*('(?:[^']|'')*'|\w+(?:\s*\(\s*\))?)")
RESULT_LIMIT = 100
MOST = 10_000

COLUMNS = {
    "QUERY_ID": "VARCHAR",
    "QUERY_TEXT": "VARCHAR",
    "DATABASE_NAME": "VARCHAR",
    "SCHEMA_NAME": "VARCHAR",
    "SESSION_ID": "NUMBER(38,0)",
    "USER_NAME": "VARCHAR",
    "QUERY_TAG": "VARCHAR",
    "EXECUTION_STATUS": "VARCHAR",
    "ERROR_CODE": "VARCHAR",
    "ERROR_MESSAGE": "VARCHAR",
    "START_TIME": "TIMESTAMP_LTZ",
    "END_TIME": "TIMESTAMP_LTZ",
    "TOTAL_ELAPSED_TIME": "NUMBER(38,0)",
    "ROWS_PRODUCED": "NUMBER(38,0)",
}


def handle(statement: Statement, proceed: Callable[[Statement], Answer]) -> Answer:
    """A handler: the functions become what they would answer."""
    if not CALL.search(statement.text):
        return proceed(statement)
    return proceed(replace(statement, text=CALL.sub(lambda found: as_query(statement, found), statement.text)))


def as_query(statement: Statement, found: re.Match[str]) -> str:
    """The rows of one call as a query in brackets."""
    arguments = {name.upper(): value for name, value in ARGUMENT.findall(found[2])}
    limit = int(arguments.pop("RESULT_LIMIT", RESULT_LIMIT))
    arguments.pop("INCLUDE_CLIENT_GENERATED_STATEMENT", None)
    chosen = choice(statement, (found[1] or "").upper(), arguments)
    runs = [run for run in reversed(list(statement.server.history)) if chosen(run)][: min(limit, MOST)]
    names = ", ".join(f"column{n}::{kind} AS {name}" for n, (name, kind) in enumerate(COLUMNS.items(), 1))
    if not runs:
        names = ", ".join(f"NULL::{kind} AS {name}" for name, kind in COLUMNS.items())
        return f"(SELECT {names} WHERE FALSE)"
    rows = ", ".join(
        "(" + ", ".join(constant(value) for value in row(statement.server, run)) + ")" for run in runs
    )
    return f"(SELECT {names} FROM VALUES {rows})"


def choice(statement: Statement, by: str, arguments: dict[str, str]) -> Callable[[Run], bool]:
    """Which statements a function tells of: those of the session's user, by what the function asks."""
    session = statement.session
    known = {"_BY_SESSION": "SESSION_ID", "_BY_USER": "USER_NAME", "_BY_WAREHOUSE": "WAREHOUSE_NAME"}.get(by)
    if unknown := set(arguments) - {known}:
        raise SnowflakeError(
            "001003", "42000", f"the test server's QUERY_HISTORY{by} does not take {sorted(unknown)}"
        )
    given = arguments.get(known or "")
    if by == "_BY_SESSION":
        wanted = str(session.id) if given is None or "(" in given else given.strip("'")
        return lambda run: str(run.session) == wanted
    if by == "_BY_USER" and given is not None and "(" not in given:
        return lambda run: run.user == given.strip("'").upper() == session.user
    return lambda run: run.user == session.user


def row(server: Server, run: Run) -> list[Any]:
    """One statement in the order of `COLUMNS`."""
    elapsed = ((run.ended or server.now()) - run.started).total_seconds()
    return [
        run.query_id,
        run.text,
        run.database,
        run.schema,
        run.session,
        run.user,
        run.tag,
        execution_status(server, run),
        run.code,
        run.message,
        run.started.isoformat(" "),
        run.ended.isoformat(" ") if run.ended else None,
        int(elapsed * 1000),
        run.rows,
    ]


def execution_status(server: Server, run: Run) -> str:
    """RUNNING, BLOCKED, QUEUED, SUCCESS or FAILED_WITH_ERROR."""
    if not run.running:
        return "SUCCESS" if run.code is None else "FAILED_WITH_ERROR"
    submitted = async_queries.of(server).get(run.query_id)
    return "RUNNING" if submitted is None else async_queries.of(server).status_name(submitted)


def constant(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace("'", "''").replace("?", "\\x3f")
    return f"'{text}'"
