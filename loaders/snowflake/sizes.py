"""Values that are larger than Snowflake keeps, found in a chunk's file before it is put (F-14)."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from loaders.snowflake.types import BINARY, TEXT, snow_type
from state.errors import ContractError
from state.model import Chunk

MIB = 1024 * 1024
MOST = {False: 16 * MIB, True: 128 * MIB}
"""Bytes of a text, or of a JSON value, without and with `target_system.large_values`; binary has half of it."""


def declared(kind: str, *, large: bool) -> str:
    """A type as a column is declared; without a length Snowflake gives it the smaller one."""
    if not large or kind not in (TEXT, BINARY):
        return kind
    return f"{kind}({MOST[large] if kind == TEXT else MOST[large] // 2})"


def require_sizes(file: pq.ParquetFile, chunk: Chunk, *, large: bool) -> None:
    """Raises `ContractError` that names column, file, row and size for a value that is too large.

    A value is no larger than all of its column in its row group, which the footer tells: the values themselves are
    looked at only where that is more than one of them may have.
    """
    row = 0
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        for place, field in enumerate(file.schema_arrow):
            column, most = group.column(place), MOST[large]
            if column.physical_type != "BYTE_ARRAY":
                continue
            if snow_type(field.name, field.type) == BINARY:
                most //= 2
            if column.total_uncompressed_size > most:
                values = file.read_row_group(number, columns=[field.name]).column(0)
                require_values(values, most, f"column {field.name} of the file {chunk.name}", row)
        row += group.num_rows


def require_values(values: pa.ChunkedArray, most: int, where: str, row: int) -> None:
    """Raises `ContractError` for the largest of `values`, the first of which is in `row`, if it is of more than
    `most` bytes."""
    sizes = pc.binary_length(values.cast(plain(values.type)))
    largest = pc.max(sizes).as_py()
    if largest is not None and largest > most:
        at = row + pc.index(sizes, largest).as_py()
        raise ContractError(
            f"a value of {where}, in its row {at}, has {largest} bytes; Snowflake keeps {most} of one value",
            hint="Shorten it in the source, leave the column out (source_system.columns), or, up to 128 MiB, set"
            " target_system.large_values.",
            code="value_size",
        )


def plain(kind: pa.DataType) -> pa.DataType:
    """The type with the same values whose lengths can be told."""
    if pa.types.is_dictionary(kind):
        return plain(kind.value_type)
    if kind in (pa.string_view(), pa.string()):
        return pa.large_string()
    return pa.large_binary() if kind in (pa.binary_view(), pa.binary()) else kind
