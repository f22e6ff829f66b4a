"""One Parquet file that rows go into, a row group at a time."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from state.contract import READ_AT

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
READ_AT_FIELD = pa.field(READ_AT, pa.timestamp("us", "UTC"), nullable=False)


class ChunkFile:
    """One open Parquet file. Its methods block; they run outside the event loop, one at a time."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.rows = 0
        self.bytes = 0
        self.min_cursor: datetime | None = None
        self.max_cursor: datetime | None = None
        self._schema = schema
        self._sink: Any = None
        self._writer: pq.ParquetWriter | None = None

    def append(self, batches: list[pa.RecordBatch], cursor: str | None, read_at: pa.Scalar) -> None:
        """Write rows as one row group."""
        if self._writer is None:
            self._open()
        table = pa.Table.from_batches(batches)
        table = table.append_column(READ_AT_FIELD, pa.repeat(read_at, table.num_rows))
        assert self._writer is not None
        self._writer.write_table(table, row_group_size=table.num_rows)
        self.rows += table.num_rows
        self.bytes = self._sink.tell()
        if cursor is not None:
            self._widen(table.column(cursor))

    def _open(self) -> None:
        os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        self._sink = pa.OSFile(str(self.path), "wb")
        self._writer = pq.ParquetWriter(
            self._sink,
            self._schema,
            compression="zstd",
            use_dictionary=[field.name for field in self._schema if is_text(field.type)],
            write_statistics=True,
        )

    def _widen(self, cursor: pa.ChunkedArray) -> None:
        bounds = [at for at in (self.min_cursor, self.max_cursor, *extremes(cursor)) if at is not None]
        self.min_cursor, self.max_cursor = min(bounds, default=None), max(bounds, default=None)

    def close(self) -> str:
        """Write the footer, sync, and return the SHA-256 of the file's bytes, in hex."""
        assert self._writer is not None
        self._writer.close()
        self._sink.close()
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
            return hashlib.file_digest(file, "sha256").hexdigest()

    def remove(self) -> None:
        """Throw the unfinished file away."""
        if self._writer is not None:
            self._writer.close()
            self._sink.close()
        self.path.unlink(missing_ok=True)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column may be written by a dictionary of its values: for numbers that takes a third of the time of
    writing, and zstd makes them as small without."""
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def extremes(column: pa.ChunkedArray) -> tuple[datetime, datetime] | tuple[()]:
    """First and last instant of a time column, cut to the microsecond; empty where there is none."""
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ms"))
    if not pa.types.is_timestamp(column.type):
        return ()
    low, high = (pc.min_max(column.cast(pa.int64()))[end].as_py() for end in ("min", "max"))
    if low is None:
        return ()
    try:
        return as_instant(low, column.type.unit), as_instant(high, column.type.unit)
    except OverflowError:  # beyond the years that a datetime has; the range is for people only
        return ()


PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def as_instant(count: int, unit: str) -> datetime:
    """`count` units since 1970 as a UTC instant. Raises OverflowError."""
    return EPOCH + timedelta(microseconds=count * 1_000_000 // PER_SECOND[unit])
