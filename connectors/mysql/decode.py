"""Pages of rows → record batches under declared types, exactly.

A column is read for all rows of a page at once. A value that does not look as the server usually writes it, or
that may not fit, is told by the fast way and read again by the plain one (`rows`), for those rows only. Both give
the same, and the tests compare them bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.batches import WANTED_BYTES
from connectors.mysql.columns import Column
from connectors.mysql.decode_cells import Cells, Flags, Frame, cells
from connectors.mysql.decode_values import Read, reader, texts
from connectors.mysql.pages import Page
from connectors.mysql.rows import Cell, Decoded, cell, settled
from connectors.policies import BadValue

__all__ = ["Decoded", "Decoder", "Page"]

_ROWS_AT_LEAST = 256


class Decoder:
    """Decodes pages; thread-safe and deterministic. One for each SELECT."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.schema = pa.schema([column.field for column in columns])
        self._ways = [(column, reader(column), cell(column)) for column in columns]
        self.page_rows = max(_ROWS_AT_LEAST, WANTED_BYTES // sum(map(_width, self.schema.types)))
        """Rows of a page that make a batch of bounded bytes, even if all of them are NULL."""

    def decode(self, page: Page) -> Decoded:
        """Raises pymysql's OperationalError, number 2027, for rows that are not as the protocol has them."""
        if not len(page):
            return Decoded(pa.RecordBatch.from_pylist([], schema=self.schema), (), None, self.columns)
        found = cells(page, Frame(page), len(self.columns))
        arrays, bad = [], list[BadValue]()
        for (column, read, plain), values in zip(self._ways, found, strict=True):
            array, wrong = _column(column, read, plain, values)
            arrays.append(array)
            bad += wrong
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        return Decoded(batch, bad, page if bad else None, self.columns)


def _column(column: Column, read: Read, plain: Cell, values: Cells) -> tuple[pa.Array, Sequence[BadValue]]:
    """One column of a page, and its values that do not fit."""
    array, odd = read(values)
    if column.as_text:
        array, also = texts(values)
        odd = odd if also is None else also
    return (array, ()) if odd is None else _mended(column, plain, values, array, odd)


def _mended(
    column: Column, plain: Cell, values: Cells, array: pa.Array, odd: Flags
) -> tuple[pa.Array, Sequence[BadValue]]:
    """The column with its unusual values read one by one."""
    [rows] = np.nonzero(odd)
    found, wrong = settled(column, plain, values.raws(rows))
    bad = [BadValue(int(rows[place]), column.name, text, reason) for place, text, reason in wrong]
    return pc.replace_with_mask(array, pa.array(odd), pa.array(found, column.type)), bad


def _width(type_: pa.DataType) -> int:
    """Bytes of a value in a batch, beside those of a text."""
    return 8 if pa.types.is_string(type_) or pa.types.is_binary(type_) else max(1, type_.bit_width // 8)
