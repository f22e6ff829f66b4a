"""Where the values of a page lie, column by column for all rows at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connectors.mysql.pages import PADDING, Page, malformed

Numbers = NDArray[np.int64]
Words = NDArray[np.uint64]
Flags = NDArray[np.bool_]

_NULL: Final = 0xFB
_WIDTHS: Final = np.zeros(256, np.int64)
_WIDTHS[[0xFC, 0xFD, 0xFE]] = 2, 3, 8
_LENGTH_BITS: Final = np.zeros(256, np.uint64)
_LENGTH_BITS[[0xFC, 0xFD, 0xFE]] = 0xFFFF, 0xFFFFFF, 0xFFFFFFFFFFFFFFFF
_BEYOND: Final = np.uint64(1 << 40)
"""More than the bytes of any row."""


class Frame:
    """The bytes of a page as they are looked at."""

    def __init__(self, page: Page) -> None:
        self.rows = len(page)
        self.bytes: NDArray[np.uint8] = np.frombuffer(page.data, np.uint8)
        self.words: Words = np.ndarray((len(page.data) - 7,), "<u8", buffer=page.data, strides=(1,))
        """Eight bytes from each place on, the first byte in the lowest bits."""
        self.buffer = pa.py_buffer(page.data)

    @cached_property
    def every_other(self) -> pa.Array:
        """0, 2, 4… for each row; not by `pa.array`, which loads all of pandas where that is installed."""
        numbers = np.arange(0, 2 * self.rows, 2, dtype=np.int32)
        return pa.Array.from_buffers(pa.int32(), self.rows, [None, pa.py_buffer(numbers)])


@dataclass(frozen=True)
class Cells:
    """A column of a page: value of row i is `bytes[begin[i]:end[i]]`; that of a NULL is empty.

    `null`: which rows are NULL; None: none of them.
    """

    frame: Frame
    begin: Numbers
    length: Numbers
    end: Numbers
    null: Flags | None

    def byte(self, at: Numbers) -> NDArray[np.uint8]:
        """The bytes at these places."""
        return self.frame.bytes.take(at)

    def word(self, at: Numbers) -> Words:
        """Eight bytes from each of these places on; `PADDING` bytes before and behind a row may be asked for."""
        return self.frame.words[at]

    def validity(self) -> pa.Buffer | None:
        """Which rows are not NULL, as Arrow has it."""
        return None if self.null is None else pa.py_buffer(np.packbits(~self.null, bitorder="little"))

    def without(self, rows: Flags) -> Cells:
        """The same column with NULL in these rows."""
        null = rows if self.null is None else rows | self.null
        end = np.where(rows, self.begin, self.end)
        return Cells(self.frame, self.begin, end - self.begin, end, null)

    def raws(self, rows: Numbers) -> list[bytes | None]:
        """The values of these rows as they came."""
        places = zip(rows.tolist(), self.begin[rows].tolist(), self.end[rows].tolist(), strict=True)
        data = memoryview(self.frame.bytes.data)
        return [None if self.null is not None and self.null[row] else bytes(data[a:b]) for row, a, b in places]


def cells(page: Page, frame: Frame, columns: int) -> Iterator[Cells]:
    """The columns of a page. Raises OperationalError 2027 if rows are not as the protocol has them."""
    at = page.starts
    for _ in range(columns):
        first = frame.bytes.take(at)
        begin, length, null = at + 1, first.astype(np.int64), None
        if len(first) and first.max() >= _NULL:
            null = first == _NULL
            length[null] = 0
            null = null if null.any() else None
            _lengthen(frame, first, begin, length)
        end = begin + length
        if (end > page.ends).any():
            raise malformed("a value ends behind its row")
        yield Cells(frame, begin, length, end, null)
        at = end
    if (at != page.ends).any():
        raise malformed("a row has more than its columns")


def _lengthen(frame: Frame, first: NDArray[np.uint8], begin: Numbers, length: Numbers) -> None:
    """Correct the cells whose length takes more than one byte."""
    [rows] = np.nonzero(first > _NULL)
    if not len(rows):
        return
    kind = first[rows]
    at = begin[rows]
    lengths = np.minimum(frame.words[at] & _LENGTH_BITS[kind], _BEYOND).astype(np.int64)
    lengths[kind == 0xFF] = int(_BEYOND)  # no value begins so
    length[rows] = lengths
    begin[rows] = at + _WIDTHS[kind]


assert PADDING >= 32  # a row's end and the 24 bytes that a number's end is looked at with
