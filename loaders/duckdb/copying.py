"""Rows into a fresh stage table of one attempt: from exactly the manifest's files, or from a user's own table."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from loaders.aside import SIDE
from loaders.base import Copied
from loaders.chunk_file import READ_AT_FIELD
from loaders.columns import FILE, ROW
from loaders.duckdb.files import StageFiles, columns_told
from loaders.duckdb.names import Table, quoted, text
from loaders.duckdb.plan import in_window_of
from loaders.duckdb.schema import Wanted, columns, wanted
from loaders.duckdb.types import JSON, TEXT, TIMES, ZONED, widens
from loaders.duckdb.work import Work
from state.contract import ASIDE, READ_AT, Contract
from state.errors import ConfigurationError, ContractError, RestartAttempt
from state.model import Attempt, Chunk, Manifest, Window

STAGE_OWN = {READ_AT: ZONED, FILE: TEXT, ROW: "BIGINT"}
"""Columns that a stage table has beside the source's."""
MADE = "sluiceway stage, made "
"""What the comment on a stage table begins with; then comes the instant."""


def copy(work: Work, files: StageFiles, attempt: Attempt, manifest: Manifest, contract: Contract) -> Copied:
    """Load exactly the manifest's files; see `loaders.base.Loader.copy`."""
    want = wanted(work.session, contract.schema)
    paths = [(chunk, files.require(chunk)) for chunk in manifest.chunks]
    for chunk, path in paths:
        require_schema(work, contract, chunk, path)
    side = [(chunk, files.require(chunk)) for chunk in manifest.side_chunks]
    for chunk, path in side:
        require_schema(work, ASIDE, chunk, path)
    table = fresh(work, attempt, want)
    aside = wanted(work.session, ASIDE.schema)
    beside = fresh(work, attempt, aside, SIDE) if side else table
    with work.port("loader.copy.begin"):
        work.session.rows("BEGIN")
    loaded = {chunk.name: load(work, table, want, chunk, path) for chunk, path in paths}
    set_aside = {chunk.name: load(work, beside, aside, chunk, path) for chunk, path in side}
    require_finite(work, table, want)
    with work.port("loader.copy.commit"):
        work.session.rows("COMMIT")
    return Copied(table.name, loaded, set_aside)


def require_schema(work: Work, contract: Contract, chunk: Chunk, path: Path) -> None:
    """The file has the contract's columns, in its types; columns are never matched by guessing."""
    told = columns_told(path)
    expected = [(c.name, c.type) for c in wanted(work.session, contract.schema.append(READ_AT_FIELD))]
    if [(c.name, c.type) for c in wanted(work.session, told)] != expected:
        raise RestartAttempt(
            f"the staged file {chunk.name} was written for other columns than the source has now",
            hint="The window is read again.",
            code="stage_file_columns",
        )


def fresh(work: Work, attempt: Attempt, want: Sequence[Wanted], ending: str = "") -> Table:
    """An empty stage table of this attempt, whatever was there."""
    table = work.names.stage_of(attempt)
    table = table.beside(table.name + ending)
    kinds = [f"{quoted(column.name)} {column.type}" for column in want]
    kinds += [f"{quoted(name)} {kind} NOT NULL" for name, kind in STAGE_OWN.items()]
    at = work.session.at(table)
    with work.port("loader.copy.create"):
        work.session.rows(f"CREATE SCHEMA IF NOT EXISTS {quoted(work.session.catalog)}.{quoted(table.schema)}")
        work.session.rows(f"CREATE OR REPLACE TABLE {at} ({', '.join(kinds)})")
        work.session.rows(f"COMMENT ON TABLE {at} IS {text(MADE + datetime.now(UTC).isoformat())}")
    return table


def load(work: Work, table: Table, want: Sequence[Wanted], chunk: Chunk, path: Path) -> int:
    """One file; returns the rows that DuckDB says it loaded."""
    names = ", ".join(quoted(name) for name in [*(column.name for column in want), *STAGE_OWN])
    values = ", ".join(f"CAST({quoted(column.name)} AS {column.type})" for column in want)
    source = f"read_parquet({text(glob.escape(str(path)))}, file_row_number = true)"
    with work.port("loader.copy.load"):
        rows = work.session.count(
            f"INSERT INTO {work.session.at(table)} ({names})"
            f" SELECT {values}, {quoted(READ_AT)}, ?, file_row_number FROM {source}",
            chunk.name,
        )
    if rows != chunk.rows:
        raise RestartAttempt(
            f"the staged file {chunk.name} gave {rows} rows, the manifest names {chunk.rows}",
            hint="Its part is read again.",
            code="stage_file_rows",
        )
    return rows


def require_finite(work: Work, table: Table, want: Sequence[Wanted]) -> None:
    """DuckDB takes the first and the last instant of a type for infinity: another value, and no error."""
    times = [column for column in want if column.type in TIMES]
    if not times:
        return
    counts = ", ".join(f"count(*) FILTER (isinf({quoted(column.name)}))" for column in times)
    [found] = work.session.rows(f"SELECT {counts} FROM {work.session.at(table)}")
    for column, count in zip(times, found, strict=True):
        if count:
            raise ContractError(
                f"{count} values of column {column.name} lie at the very edge of {column.type}, which DuckDB takes"
                " for infinity",
                hint="Mend them in the source, or read the column as text.",
                code="time_range",
            )


def adopt(work: Work, attempt: Attempt, contract: Contract, span: Window, read_at: datetime) -> Copied:
    """Take a user's own rows of a span; see `loaders.base.Loader.adopt`."""
    source, want = work.names.stage, wanted(work.session, contract.schema)
    have = columns(work.session, source)
    missing = [column.name for column in want if column.name.lower() not in have]
    if missing:
        what = f"has no column {', '.join(missing)}" if have else "does not exist"
        raise ConfigurationError(
            f"the stage table {source}, which your function fills, {what}",
            hint="Bring every column of the source there, in the table that stage_system.table names.",
            code="user_stage",
            path="stage_system.table",
        )
    for column in want:
        require_type(source, have[column.name.lower()].type, column)
    cursor = work.rules.cursor
    bounds = () if cursor is None else (span.start, span.end)
    table = fresh(work, attempt, want)
    names = [*(quoted(column.name) for column in want), *(quoted(name) for name in STAGE_OWN)]
    values = [f"CAST({quoted(column.name)} AS {column.type})" for column in want]
    with work.port("loader.adopt.load"):
        rows = work.session.count(
            f"INSERT INTO {work.session.at(table)} ({', '.join(names)})"
            f" SELECT {', '.join(values)}, ?, ?, row_number() OVER () - 1 FROM {work.session.at(source)}"
            f" WHERE {in_window_of(have, cursor)}",
            read_at,
            str(source),
            *bounds,
        )
    return Copied(table.name, {str(source): rows})


def require_type(source: Table, have: str, column: Wanted) -> None:
    """A user's column must hold what the contract says: a cast that rounds would be seen by nobody."""
    if not widens(column.type, have) and not (have == JSON and column.json):
        raise ContractError(
            f"column {column.name} of the stage table {source} is {have}, the source declares {column.type}",
            hint=f"Let your function bring it as {column.type}.",
            code="user_stage_type",
        )
