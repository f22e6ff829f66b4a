"""Rows into a fresh stage table of one attempt: from exactly the manifest's files, or from a user's own table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from loaders.base import Copied
from loaders.chunk_file import READ_AT_FIELD
from loaders.columns import FILE as FILE_NAME
from loaders.columns import ROW as ROW_NUMBER
from loaders.snowflake.files import StageFiles
from loaders.snowflake.names import FILE, ROW, R
from loaders.snowflake.rows import INSTANT, bounds_of, in_window_of, instant
from loaders.snowflake.schema import Wanted, look, wanted
from loaders.snowflake.settings import NameRule
from loaders.snowflake.sizes import declared
from loaders.snowflake.types import TEXT, VARIANT, WHOLE, ZONED, widens
from loaders.snowflake.work import Work
from state.contract import QUARANTINED, READ_AT, Contract
from state.errors import ConfigurationError, ContractError, RestartAttempt
from state.model import Attempt, Chunk, Manifest, Window
from state.snowflake.names import Name, quoted, text

STAGE_OWN = {READ_AT.upper(): ZONED, FILE_NAME.upper(): TEXT, ROW_NUMBER.upper(): WHOLE}
"""Columns that a stage table has beside the source's."""

MOST_FILES = 1_000
"""Files that one COPY may name."""

FILE_FORMAT = (
    "FILE_FORMAT = (TYPE = PARQUET USE_VECTORIZED_SCANNER = TRUE USE_LOGICAL_TYPE = TRUE BINARY_AS_TEXT = FALSE"
    " REPLACE_INVALID_CHARACTERS = FALSE NULL_IF = ())"
)
"""Fixed (F-8): text is never taken for NULL, and no value is replaced by another."""


async def copy(work: Work, files: StageFiles, attempt: Attempt, manifest: Manifest, contract: Contract) -> Copied:
    """Load exactly the manifest's files, at least one; see `loaders.base.Loader.copy`."""
    want = wanted(contract.schema, work.settings.names)
    files.require(await files.under(work.session, attempt.run), manifest.files)
    for chunk in manifest.chunks:
        require_schema(files, manifest, contract, chunk)
    table = await fresh(work, work.names.stage_of(attempt), want)
    loaded = await load_all(work, table, want, manifest.chunks)
    set_aside = {}
    if manifest.side_chunks:
        side = wanted(QUARANTINED, NameRule.UPPER)
        beside = await fresh(work, work.names.side_of(table), side)
        set_aside = await load_all(work, beside, side, manifest.side_chunks)
    return Copied(table.last, loaded, set_aside)


async def load_all(work: Work, table: Name, want: Sequence[Wanted], chunks: Sequence[Chunk]) -> dict[str, int]:
    """As many COPYs as it takes; returns the rows loaded from each file."""
    loaded: dict[str, int] = {}
    for first in range(0, len(chunks), MOST_FILES):
        loaded |= await load(work, table, want, chunks[first : first + MOST_FILES])
    return loaded


def require_schema(files: StageFiles, manifest: Manifest, contract: Contract, chunk: Chunk) -> None:
    """The file has the contract's columns, in its types. A column that is named and missing would be NULL in every
    row, without an error (F-9)."""
    put = files.known.get(chunk.name)
    if put is None:
        same = manifest.schema_digest == contract.digest
    else:
        same = shapes(put.columns) == shapes(contract.schema.append(READ_AT_FIELD))
    if not same:
        raise RestartAttempt(
            f"the staged file {chunk.name} was written for other columns than the source has now",
            hint="The window is read again.",
            code="stage_file_columns",
        )


def shapes(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    """Names and types of columns, as a Parquet file tells them: it has no seconds and no dates in milliseconds."""
    return [(field.name, as_stored(field.type)) for field in schema]


def as_stored(kind: pa.DataType) -> pa.DataType:
    """The type that is read from a Parquet file where `kind` was written."""
    if pa.types.is_timestamp(kind) and kind.unit == "s":
        return pa.timestamp("ms", kind.tz)
    return {pa.time32("s"): pa.time32("ms"), pa.date64(): pa.date32()}.get(kind, kind)


async def fresh(work: Work, table: Name, want: Sequence[Wanted]) -> Name:
    """An empty stage table, whatever was there, with no memory of files that it once loaded."""
    columns = stage_columns(want, large=work.settings.large_values)
    with work.port("loader.copy.create"):
        await work.session.rows(f"CREATE OR REPLACE TRANSIENT TABLE {table.sql} ({columns})")
    return table


def stage_kinds(want: Sequence[Wanted]) -> dict[str, str]:
    """The columns of a stage table: name → type."""
    return {**{column.name: column.staged for column in want}, **STAGE_OWN}


def stage_columns(want: Sequence[Wanted], *, large: bool = False) -> str:
    """The columns of a stage table, for CREATE TABLE."""
    kinds = [f"{quoted(column.name)} {declared(column.staged, large=large)}" for column in want]
    kinds += [f"{quoted(name)} {kind} NOT NULL" for name, kind in STAGE_OWN.items()]
    return ", ".join(kinds)


async def load(work: Work, table: Name, want: Sequence[Wanted], chunks: Sequence[Chunk]) -> dict[str, int]:
    """One COPY; returns the rows that Snowflake says it loaded from each file. JSON comes as the text that it
    is."""
    columns = ", ".join([*(quoted(column.name) for column in want), R, FILE, ROW])
    values = [f"{path_of(column.source)}::{column.staged}" for column in want]
    values += [f"{path_of(READ_AT)}::{ZONED}", "METADATA$FILENAME", "METADATA$FILE_ROW_NUMBER"]
    named = ", ".join(text(chunk.name) for chunk in chunks)
    with work.port("loader.copy.load"):
        found = await work.session.records(
            f"COPY INTO {table.sql} ({columns}) FROM (SELECT {', '.join(values)} FROM {work.names.location()})"
            f" FILES = ({named}) {FILE_FORMAT} ON_ERROR = ABORT_STATEMENT",
            long=True,
        )
    told = {chunk_name(str(record.get("file")), chunks): record for record in found}
    for chunk in chunks:
        require_loaded(chunk, told.get(chunk.name))
    require_no_other(chunks, told)
    return {chunk.name: chunk.rows for chunk in chunks}


def chunk_name(file: str, chunks: Sequence[Chunk]) -> str:
    """The chunk that a file of the answer to COPY is: its name may begin with the stage's. Itself if it is
    none."""
    return next((chunk.name for chunk in chunks if f"/{file}".endswith(f"/{chunk.name}")), file)


def path_of(column: str) -> str:
    """A column of a Parquet file in a COPY."""
    return f"$1:{quoted(column)}"


def require_loaded(chunk: Chunk, told: dict[str, Any] | None) -> None:
    """Raises `RestartAttempt` unless every row of the file was loaded (F-6)."""
    if told is None:
        problem = "is not in the answer to COPY"
    elif told["status"] != "LOADED":
        problem = f"ended as {told['status']}"
    else:
        loaded, parsed, errors = (int(told[name] or 0) for name in ("rows_loaded", "rows_parsed", "errors_seen"))
        if loaded == parsed == chunk.rows and not errors:
            return
        problem = f"gave {loaded} rows of {parsed} with {errors} errors, the manifest names {chunk.rows}"
    raise RestartAttempt(
        f"the staged file {chunk.name} {problem}",
        hint="Its part is read again.",
        code="stage_file_rows",
    )


def require_no_other(chunks: Sequence[Chunk], told: dict[str, dict[str, Any]]) -> None:
    """Raises `RestartAttempt` if COPY loaded a file that nobody named."""
    others = sorted(set(told) - {chunk.name for chunk in chunks})
    if others:
        raise RestartAttempt(
            f"COPY loaded {', '.join(others[:3])} though the manifest does not name it",
            hint="The window is read again.",
            code="stage_file_other",
        )


async def adopt(work: Work, attempt: Attempt, contract: Contract, span: Window, read_at: datetime) -> Copied:
    """Take a user's own rows of a span; see `loaders.base.Loader.adopt`."""
    source, want = work.names.staged, wanted(contract.schema, work.settings.names)
    have = await look(work.session, source)
    columns = {} if have is None else have.columns
    missing = [column.source for column in want if column.name not in columns]
    if missing:
        what = f"has no column {', '.join(missing)}" if columns else "does not exist"
        raise ConfigurationError(
            f"the stage table {source}, which your function fills, {what}",
            hint="Bring every column of the source there, in the table that stage_system.table names.",
            code="user_stage",
            path="stage_system.table",
        )
    values = [adopted(source, columns[column.name], column) for column in want]
    table = await fresh(work, work.names.stage_of(attempt), want)
    names = [*(quoted(column.name) for column in want), R, FILE, ROW]
    cursor = work.rules.cursor
    ordered = cursor or want[0].name
    with work.port("loader.adopt.load"):
        rows = await work.session.count(
            f"INSERT INTO {table.sql} ({', '.join(names)})"
            f" SELECT {', '.join(values)}, {INSTANT}, ?, ROW_NUMBER() OVER (ORDER BY u.{quoted(ordered)})"
            f" FROM {source.sql} u WHERE {in_window_of(cursor, columns, 'u.')}",
            instant(read_at),
            str(source),
            *bounds_of(cursor, span),
            long=True,
        )
    return Copied(table.last, {str(source): rows})


def adopted(source: Name, have: str, column: Wanted) -> str:
    """A user's column as the stage table has it. It must hold what the contract says: a cast that rounds would be
    seen by nobody."""
    name = f"u.{quoted(column.name)}"
    if column.json and have in (VARIANT, TEXT):
        return f"TO_JSON({name})" if have == VARIANT else name
    if column.json or not widens(column.type, have):
        raise ContractError(
            f"column {column.source} of the stage table {source} is {have}, the source declares {column.type}",
            hint=f"Let your function bring it as {column.type}.",
            code="user_stage_type",
        )
    return f"CAST({name} AS {column.type})"
