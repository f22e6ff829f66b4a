"""What columns hold, whoever read them: a SHA-256 of each column's values."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.compute as pc


def hashes(table: pa.Table, key: str) -> dict[str, str]:
    """Column → hash, rows in the order of `key`."""
    table = table.take(pc.sort_indices(table[key]))
    return {name: of_column(table[name]) for name in sorted(table.column_names)}


def of_column(column: pa.ChunkedArray) -> str:
    """Equal values hash equally, in whatever width, unit or zone they are held; NULL is no value."""
    array = wide(column.combine_chunks())
    digest = hashlib.sha256(str(array.type).encode())
    digest.update(pc.is_valid(array).cast(pa.int8()).to_numpy().tobytes())
    if pa.types.is_large_binary(array.type):
        array = array.fill_null(b"")
        digest.update(pc.binary_length(array).to_numpy().tobytes())
        digest.update(b"".join(array.to_pylist()))
    else:
        digest.update(array.fill_null(0).to_numpy().tobytes())
    return digest.hexdigest()


def wide(array: pa.Array) -> pa.Array:
    """As whole numbers, floating ones, or bytes; a decimal is its shortest text."""
    kind = array.type
    if pa.types.is_decimal(kind):
        text = array.cast(pa.string())
        array = pc.utf8_rtrim(pc.utf8_rtrim(text, "0"), ".") if kind.scale > 0 else text
    elif pa.types.is_timestamp(kind):
        return array.cast(pa.timestamp("us", kind.tz)).cast(pa.int64())
    elif pa.types.is_date(kind):
        return array.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())
    elif pa.types.is_time(kind) or pa.types.is_duration(kind):
        return array.cast(pa.time64("us") if pa.types.is_time(kind) else pa.duration("us")).cast(pa.int64())
    elif pa.types.is_floating(kind):
        return array.cast(pa.float64())
    elif pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return array.cast(pa.int64())
    return array.cast(pa.large_binary())
