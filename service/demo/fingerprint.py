"""What a table holds, in three figures that do not depend on the order of its rows.

It shares no code with the way the rows took, so that it can judge it.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

BYTES = 16
"""Width of the hash of a row, and of the sum."""
SEPARATOR, NULL = "\x1f", "\x00"
"""Neither occurs in the data, so that no two different rows look alike."""


class Fingerprint(msgspec.Struct, frozen=True):
    """`checksum`: hex digits of the sum of all row hashes, so that a row that is there twice counts twice."""

    rows: int
    keys: int
    checksum: str


def fingerprint(table: pa.Table, key: str) -> Fingerprint:
    """Over all columns of `table` in their order; timestamps count as microseconds, numbers as digits."""
    columns = [as_text(column) for column in table.columns]
    rows = pc.binary_join_element_wise(*columns, SEPARATOR, null_handling="replace", null_replacement=NULL)
    total = 0
    for chunk in rows.chunks:
        for row in chunk.to_pylist():
            total += int.from_bytes(blake2b(row.encode(), digest_size=BYTES).digest())
    keys = pc.count_distinct(table[key], mode="only_valid").as_py()
    return Fingerprint(table.num_rows, keys, f"{total % (1 << 8 * BYTES):0{2 * BYTES}x}")


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
    return column.cast(pa.string())
