"""Parquet files: columns from the footers, rows by row groups.

Rows are counted by the cursor column itself. Row groups are passed over by their statistics only when rows are
read, so statistics that lie make a part whose rows are fewer than its count, and not a loss.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq

from connectors.cursor import bounds, counts_of, held
from connectors.files.arrow_types import column_type
from connectors.files.declared import refuse_text
from connectors.files.fitting import Aside
from connectors.files.formats import is_excluded, no_cursors
from connectors.files.listing import SourceFile
from connectors.files.settings import FilesSettings
from state.errors import ContractError
from state.model import Window

BATCH_ROWS = 8192
BATCH_BYTES = 4 * 1024 * 1024
"""A piece is as many rows as are encoded in these bytes on average, and `BATCH_ROWS` at most."""
LOCAL = pyarrow.fs.LocalFileSystem()
CURSOR_ROWS = 131_072
PAGE_BUFFER = 256 * 1024
"""Bytes read ahead of each column: a row group is never held whole."""


class ParquetFormat:
    """`Format` of Parquet files."""

    def __init__(self, settings: FilesSettings) -> None:
        self._settings = settings

    def columns(self, file: SourceFile) -> pa.Schema:
        with opened(file) as there:
            found = [field for field in there.schema_arrow if not is_excluded(self._settings, field.name)]
        if twice := [name for name, times in Counter(field.name for field in found).items() if times > 1]:
            refuse_text(file, "schema", f"column '{twice[0]}' is there twice")
        return pa.schema([self._column(field, file) for field in found])

    def cursors(self, file: SourceFile) -> Iterator[pa.Array]:
        cursor = self._settings.cursor
        with opened(file) as there:
            if cursor is None:
                yield no_cursors(there.metadata.num_rows)
                return
            for batch in there.iter_batches(CURSOR_ROWS, columns=[cursor], use_threads=False):
                yield batch.column(cursor)

    def rows(
        self,
        file: SourceFile,
        schema: pa.Schema,
        span: Window | None,
        aside: Aside,  # noqa: ARG002 - its values always fit
    ) -> Iterator[pa.RecordBatch]:
        cursor = self._settings.cursor
        groups = None if cursor is None or span is None else row_groups(file, cursor, span)
        with opened(file) as there:
            for group in range(there.num_row_groups) if groups is None else groups:
                size = rows_per_batch(there.metadata.row_group(group))
                pieces = there.iter_batches(size, row_groups=[group], columns=schema.names, use_threads=False)
                for piece in pieces:
                    yield fitted(_of_span(piece, cursor, span), schema)

    def _column(self, field: pa.Field, file: SourceFile) -> pa.Field:
        type_ = column_type(field.type)
        if type_ is None:
            raise ContractError(
                f"column '{field.name}' of {file.path} is {field.type}, which no target holds",
                hint=f"Write it as text or as columns of its own, or add '{field.name}' to source_system.exclude.",
                code="column_type",
            )
        if field.name == self._settings.cursor and pa.types.is_timestamp(type_):
            type_ = pa.timestamp(type_.unit, "UTC")
        return pa.field(field.name, type_)


def opened(file: SourceFile) -> pq.ParquetFile:
    """The file, to be closed by the caller."""
    return pq.ParquetFile(file.path, buffer_size=PAGE_BUFFER, pre_buffer=False)


def row_groups(file: SourceFile, cursor: str, span: Window) -> list[int]:
    """Numbers of the row groups that may hold rows of `span`, by their statistics."""
    fragment = ds.ParquetFileFormat().make_fragment(file.path, filesystem=LOCAL)
    field = fragment.physical_schema.field(cursor)
    first, beyond = (pa.scalar(bound, pa.int64()) for bound in bounds(field.type, span))
    if pa.types.is_date32(field.type):
        first, beyond = first.cast(pa.int32()), beyond.cast(pa.int32())
    may_hold = (ds.field(cursor) >= first.cast(field.type)) & (ds.field(cursor) < beyond.cast(field.type))
    return [group.id for group in fragment.subset(filter=may_hold).row_groups]


def rows_per_batch(group: pq.RowGroupMetaData) -> int:
    """Rows that are about `BATCH_BYTES` together, as they are encoded."""
    per_row = group.total_byte_size // max(1, group.num_rows)
    return int(max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, per_row))))


def _of_span(batch: pa.RecordBatch, cursor: str | None, span: Window | None) -> pa.RecordBatch:
    if cursor is None or span is None:
        return batch
    column = batch.column(cursor)
    return batch.filter(held(column.type, counts_of(column), span))


def fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The columns of `schema`, by name and in its types."""
    columns = [_cast(batch.column(field.name), field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(column: pa.Array, type_: pa.DataType) -> pa.Array:
    return column if column.type == type_ else column.cast(type_)
