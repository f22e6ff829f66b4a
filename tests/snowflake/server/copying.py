"""COPY INTO a table from a stage: Parquet, CSV and JSON; load metadata; what becomes of each file.

The rows go in with one statement for each file. Whoever handles transactions before this handler makes the whole
statement one: nothing stays of a COPY that fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import duckdb

from tests.snowflake.server import catalog, names, reading, stages, storage, vendor, wire
from tests.snowflake.server.model import Answer, Column, Name, SnowflakeError, Statement
from tests.snowflake.server.names import literal, quoted

FLAGS = re.IGNORECASE | re.DOTALL
COPY = re.compile(
    rf"COPY\s+INTO\s+(?P<table>{names.NAME})\s*(?:\((?P<columns>[^()]*)\)\s*)?FROM\s*"
    rf"(?:(?P<stage>{stages.STAGE})|\(\s*(?P<query>SELECT\s.*?)\s+FROM\s+(?P<from>{stages.STAGE})"
    rf"(?:\s*\((?P<given>[^()]*)\))?(?:\s+(?:AS\s+)?(?P<alias>{names.PART}))?\s*\))\s*(?P<options>.*)",
    FLAGS,
)
MOST_FILES = 1000
REMEMBERED = timedelta(days=64)
RESULT = (
    "file",
    "status",
    "rows_parsed",
    "rows_loaded",
    "error_limit",
    "errors_seen",
    "first_error",
    "first_error_line",
    "first_error_character",
    "first_error_column_name",
)
NUMBERS = {"rows_parsed", "rows_loaded", "error_limit", "errors_seen", "first_error_line", "first_error_character"}
KNOWN = {
    "FILES",
    "PATTERN",
    "FILE_FORMAT",
    "ON_ERROR",
    "FORCE",
    "PURGE",
    "MATCH_BY_COLUMN_NAME",
    "INCLUDE_METADATA",
    "RETURN_FAILED_ONLY",
    "TRUNCATECOLUMNS",
    "ENFORCE_LENGTH",
    "LOAD_UNCERTAIN_FILES",
    "SIZE_LIMIT",
    "LOAD_MODE",
}


@dataclass(frozen=True)
class Copy:
    """One COPY: from where, into what, how."""

    statement: Statement
    name: Name
    at: Name
    table_id: str
    columns: list[str] | None
    stage: stages.Stage
    prefix: str
    query: str | None
    alias: str | None
    options: dict[str, Any]

    @property
    def on_error(self) -> str:
        return str(self.options.get("ON_ERROR", "ABORT_STATEMENT")).upper()

    @property
    def base(self) -> str:
        return self.prefix if not self.prefix or self.prefix.endswith("/") else f"{self.prefix}/"


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    path: str
    status: str
    parsed: int
    loaded: int
    limit: int | None = 1
    errors: int = 0
    first_error: str | None = None
    first_line: int | None = None
    first_column: str | None = None


def handle(statement: Statement, proceed: Callable[[Statement], Answer]) -> Answer:
    """The handler of this module."""
    if statement.words(2) != "COPY INTO":
        return proceed(statement)
    found = COPY.fullmatch(statement.bare)
    if found is None:
        raise catalog.refuse(f"this COPY: {statement.bare[:200]}")
    try:
        return run(wanted(statement, found))
    except duckdb.Error as error:
        raise vendor.explained(error) from error


def wanted(statement: Statement, found: re.Match[str]) -> Copy:
    session, name = statement.session, names.resolve(statement.session, found["table"])
    at = catalog.require(session, name)
    stage, prefix = stages.at(statement, found["stage"] or found["from"])
    options = {**names.options(found["given"] or ""), **names.options(found["options"])}
    if unknown := set(options) - KNOWN:
        raise SnowflakeError("001003", "42000", f"{vendor.COMPILATION}invalid parameter {sorted(unknown)[0]!r}")
    columns = [names.parts(one.strip())[0] for one in found["columns"].split(",")] if found["columns"] else None
    if found["query"] and str(options.get("MATCH_BY_COLUMN_NAME", "NONE")).upper() != "NONE":
        raise SnowflakeError(
            "001065",
            "42601",
            f"{vendor.COMPILATION}MATCH_BY_COLUMN_NAME is not allowed with a COPY transformation",
        )
    table_id = catalog.noted(session, at).get("id", str(name))
    return Copy(statement, name, at, table_id, columns, stage, prefix, found["query"], found["alias"], options)


def run(copy: Copy) -> Answer:
    files, outcomes = chosen(copy), []
    reader = reading.reader(copy)
    for path in files:
        file = copy.stage.folder / path
        etag = storage.md5(file)
        if not copy.options.get("FORCE") and was_loaded(copy, path, etag):
            if copy.options.get("FILES"):
                outcomes.append(Outcome(path, "LOAD_SKIPPED", 0, 0, None, 1, "File was loaded before."))
            continue
        outcome = loaded(copy, reader, path)
        outcomes.append(outcome)
        if outcome.loaded or outcome.status == "LOADED":
            remember(copy, outcome, etag)
    if copy.options.get("PURGE"):
        for one in outcomes:
            (copy.stage.folder / one.path).unlink(missing_ok=True)
    return answer(copy, outcomes)


def chosen(copy: Copy) -> list[str]:
    """The files: those that FILES names, else what lies under the path and fits PATTERN. Raises 091016."""
    listed = copy.options.get("FILES")
    if listed is None:
        pattern = copy.options.get("PATTERN")
        return [
            one
            for one in copy.stage.files(copy.prefix)
            if not pattern or re.fullmatch(pattern, copy.stage.told(one))
        ]
    if len(listed) > MOST_FILES:
        raise SnowflakeError(
            "001007",
            "22023",
            f"{vendor.COMPILATION}FILES names {len(listed)} files, and the maximum is {MOST_FILES}",
        )
    paths = [f"{copy.base}{name}" for name in dict.fromkeys(listed)]
    for path in paths:
        if not (copy.stage.folder / path).is_file():
            if copy.on_error != "ABORT_STATEMENT":
                continue
            raise stages.missing_file(copy.stage, path)
    return [path for path in paths if (copy.stage.folder / path).is_file()]


def loads_of(copy: Copy) -> str:
    database = copy.name.database
    return f"{quoted(database)}.sw.loads"


def was_loaded(copy: Copy, path: str, etag: str) -> bool:
    """Whether the table knows this file, with these bytes, from the last 64 days."""
    since = copy.statement.now - REMEMBERED
    found = copy.statement.session.duck.execute(
        f"SELECT 1 FROM {loads_of(copy)} WHERE table_id = ? AND file = ? AND etag = ? AND loaded_at > ?",
        [copy.table_id, f"{copy.stage.id}/{path}", etag, since],
    )
    return found.fetchone() is not None


def remember(copy: Copy, outcome: Outcome, etag: str) -> None:
    copy.statement.session.duck.execute(
        f"INSERT INTO {loads_of(copy)} VALUES (?, ?, ?, ?, ?, ?)",
        [
            copy.table_id,
            f"{copy.stage.id}/{outcome.path}",
            etag,
            outcome.loaded,
            outcome.status,
            copy.statement.now,
        ],
    )


def loaded(copy: Copy, reader: reading.Reader, path: str) -> Outcome:
    """Bring one file in. Raises the first error unless ON_ERROR says otherwise."""
    duck, source = copy.statement.session.duck, reader.source(path)
    columns = ", ".join(quoted(one.name) for one in source.targets)
    into = f"INSERT INTO {copy.at.duck} ({columns})"
    if copy.on_error == "ABORT_STATEMENT":
        rows = duck.execute(f"{into} {source.select()}").fetchone()[0]
        return Outcome(path, "LOADED", source.parsed(duck), rows)
    bad = source.bad()
    parsed, errors = duck.execute(f"SELECT count(*), count(*) FILTER ({bad}) FROM ({source.values})").fetchone()
    first = first_error(duck, source, bad) if errors else {}
    if skips(copy.on_error, parsed, errors):
        limit = error_limit(copy.on_error, parsed)
        return replace(Outcome(path, "LOAD_FAILED", parsed, 0, limit, errors), **first)
    rows = duck.execute(f"{into} {source.select(f'NOT ({bad})')}").fetchone()[0]
    status = "PARTIALLY_LOADED" if errors else "LOADED"
    return replace(Outcome(path, status, parsed, rows, error_limit(copy.on_error, parsed), errors), **first)


def skips(on_error: str, parsed: int, errors: int) -> bool:
    """Whether SKIP_FILE, SKIP_FILE_n or 'SKIP_FILE_n%' leaves the whole file out."""
    return on_error.startswith("SKIP_FILE") and errors >= error_limit(on_error, parsed)


def error_limit(on_error: str, parsed: int) -> int:
    found = re.fullmatch(r"SKIP_FILE_(\d+)(%)?", on_error)
    if found is None:
        return 1 if on_error == "SKIP_FILE" else parsed
    return max(1, parsed * int(found[1]) // 100) if found[2] else int(found[1])


def first_error(duck: Any, source: reading.Source, bad: str) -> dict[str, Any]:
    tells = ", ".join(f"CASE WHEN {source.bad_column(one)} THEN {literal(one.name)} END" for one in source.targets)
    row = duck.execute(
        f"SELECT sw_row, coalesce({tells}) FROM (SELECT *, row_number() OVER () AS sw_row FROM ({source.values}))"
        f" WHERE {bad} LIMIT 1"
    ).fetchone()
    words = f"Failed to cast variant value to the type of column {row[1]}"
    return {"first_error": words, "first_line": row[0], "first_column": f'"{row[1]}"'}


def answer(copy: Copy, outcomes: list[Outcome]) -> Answer:
    """One row for each file, or one that says that there was none."""
    if not outcomes:
        return Answer([Column("status")], [("Copy executed with 0 files processed.",)], wire.COPY)
    rows = [
        (
            copy.stage.told(one.path),
            one.status,
            one.parsed,
            one.loaded,
            one.limit,
            one.errors,
            one.first_error,
            one.first_line,
            None,
            one.first_column,
        )
        for one in outcomes
        if not copy.options.get("RETURN_FAILED_ONLY") or one.errors
    ]
    columns = [Column(name, "fixed", 38, 0) if name in NUMBERS else Column(name) for name in RESULT]
    return Answer(columns, rows, wire.COPY, {"inserted": sum(one.loaded for one in outcomes)})
