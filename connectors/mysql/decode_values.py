"""The usual values of a column at once. Whatever looks otherwise is told, and left to the plain way of `rows`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connectors.mysql.columns import Column, Kind
from connectors.mysql.decode_cells import Cells, Flags, Words
from connectors.mysql.decode_digits import LONGEST, ending
from connectors.mysql.decode_times import dates, datetimes, times
from connectors.mysql.rows import DAY_MICROS, TOO_LARGE

Read = Callable[[Cells], tuple[pa.Array, Flags | None]]
"""The column, and in which rows it is not to be trusted (None: in none); what it holds there is of its type."""

_MINUS, _POINT = ord("-"), ord(".")
_SHORT: Final = 18
"""Digits of a decimal that is a whole number of 64 bits."""
_ONES: Final = np.uint64(2**64 - 1)
_NUMERIC: Final = np.zeros(256, np.bool_)
_NUMERIC[list(b"0123456789-.eE")] = True


def reader(column: Column) -> Read:
    """How the column is read; the same for each page."""
    type_ = column.checked
    if column.kind is Kind.INTEGER:
        return _integers(type_)
    if column.kind is Kind.DECIMAL:
        return _decimals(type_)
    if column.kind is Kind.FLOAT:
        return _floats(type_)
    if column.kind is Kind.DATETIME:
        return _moments(type_)
    if column.kind is Kind.TIME:
        return _times(type_)
    return {
        Kind.BOOLEAN: _booleans,
        Kind.DATE: _dates,
        Kind.TEXT: texts,
        Kind.JSON: _unseen,
        Kind.BYTES: lambda cells: (blobs(cells), None),
    }[column.kind]


def blobs(cells: Cells) -> pa.Array:
    """The bytes as they came: of the page, seen as values and what lies between them, every other one is taken."""
    rows = cells.frame.rows
    bounds = np.empty(2 * rows, np.int32)
    bounds[0::2] = cells.begin
    bounds[1::2] = cells.end
    both = pa.Array.from_buffers(pa.binary(), 2 * rows - 1, [None, pa.py_buffer(bounds), cells.frame.buffer])
    taken = both.take(cells.frame.every_other)
    if cells.null is None:
        return taken
    return pa.Array.from_buffers(pa.binary(), rows, [cells.validity(), *taken.buffers()[1:]])


def texts(cells: Cells) -> tuple[pa.Array, Flags | None]:
    """The values as text."""
    found = blobs(cells)
    try:
        return found.cast(pa.string()), None
    except pa.ArrowInvalid:
        return pa.nulls(len(found), pa.string()), _all(cells)


def _integers(type_: pa.DataType) -> Read:
    dtype = np.dtype(str(type_))
    lowest, highest = np.uint64(-int(np.iinfo(dtype).min)), np.uint64(np.iinfo(dtype).max)

    def read(cells: Cells) -> tuple[pa.Array, Flags | None]:
        number, minus, odd = _whole(cells)
        odd |= number > np.where(minus, lowest, highest)
        values = number.astype(dtype)
        return _array(type_, np.where(minus, 0 - values, values), cells), _odd(odd, cells)

    return read


def _booleans(cells: Cells) -> tuple[pa.Array, Flags | None]:
    number, minus, odd = _whole(cells)
    odd |= number > np.where(minus, np.uint64(0), np.uint64(1))
    bits = pa.py_buffer(np.packbits(number == 1, bitorder="little"))
    found = pa.Array.from_buffers(pa.bool_(), cells.frame.rows, [cells.validity(), bits])
    return found, _odd(odd, cells)


def _decimals(type_: pa.DataType) -> Read:
    """Short ones as whole numbers of their last place; long ones are Arrow's to read where their form is usual."""
    if type_.scale == 0 and type_.precision <= LONGEST:
        return _whole_decimals(type_)
    return _short_decimals(type_) if type_.precision <= _SHORT else _long_decimals(type_)


def _whole_decimals(type_: pa.DataType) -> Read:
    highest = np.uint64(min(10**type_.precision, 2**64) - 1)

    def read(cells: Cells) -> tuple[pa.Array, Flags | None]:
        number, minus, odd = _whole(cells)
        odd |= number > highest
        return _wide(type_, number, minus, cells), _odd(odd, cells)

    return read


def _short_decimals(type_: pa.DataType) -> Read:
    scale = type_.scale
    highest = np.uint64(10 ** (type_.precision - scale) - 1)

    def read(cells: Cells) -> tuple[pa.Array, Flags | None]:
        minus = cells.byte(cells.begin) == _MINUS
        point = cells.end - (scale + 1)
        whole, odd = ending(cells, point, cells.length - minus - (scale + 1))
        fraction, also = ending(cells, cells.end, np.full(cells.frame.rows, scale))
        odd |= also | (whole > highest) | (cells.byte(point) != _POINT)
        return _wide(type_, whole * np.uint64(10**scale) + fraction, minus, cells), _odd(odd, cells)

    return read


def _long_decimals(type_: pa.DataType) -> Read:
    scale, before = type_.scale, type_.precision - type_.scale
    letters = _NUMERIC.copy()
    letters[list(b"eE" if scale else b".eE")] = False

    behind = scale + 1 if scale else 0

    def read(cells: Cells) -> tuple[pa.Array, Flags | None]:
        whole = cells.length - (cells.byte(cells.begin) == _MINUS) - behind
        odd = (whole < 1) | (whole > before)  # Arrow lets some numbers of too many digits pass, as others
        if scale:
            odd |= cells.byte(cells.end - behind) != _POINT
        known = _odd(odd, cells)
        found, unknown = _cast(blobs(cells if known is None else cells.without(known)), type_, letters, cells)
        return found, known if unknown is None else unknown

    return read


def _floats(type_: pa.DataType) -> Read:
    dtype, too_large = np.dtype(f"f{type_.bit_width // 8}"), TOO_LARGE[type_]

    def read(cells: Cells) -> tuple[pa.Array, Flags | None]:
        found, odd = _cast(blobs(cells), pa.float64(), _NUMERIC, cells)
        if odd is not None:
            return pa.nulls(len(found), type_), odd
        values = np.frombuffer(found.buffers()[1], np.float64, len(found))
        with np.errstate(over="ignore"):  # there is anything where a NULL is
            return _array(type_, values.astype(dtype), cells), _odd(abs(values) >= too_large, cells)

    return read


def _cast(
    found: pa.Array, type_: pa.DataType, letters: NDArray[np.bool_], cells: Cells
) -> tuple[pa.Array, Flags | None]:
    """The numbers of these texts by Arrow, which reads more forms than are some here: those of `letters` only."""
    if letters.take(np.frombuffer(found.buffers()[2], np.uint8)).all():
        try:
            return found.cast(pa.string()).cast(type_), None
        except pa.ArrowInvalid:
            pass
    return pa.nulls(len(found), type_), _all(cells)


def _dates(cells: Cells) -> tuple[pa.Array, Flags | None]:
    days, odd = dates(cells)
    return _array(pa.date32(), days, cells), _odd(odd, cells)


def _moments(type_: pa.DataType) -> Read:
    def read(cells: Cells) -> tuple[pa.Array, Flags | None]:
        micros, odd = datetimes(cells)
        return _array(type_, micros, cells), _odd(odd, cells)

    return read


def _times(type_: pa.DataType) -> Read:
    is_of_day = not pa.types.is_integer(type_)

    def read(cells: Cells) -> tuple[pa.Array, Flags | None]:
        micros, odd = times(cells)
        if is_of_day:
            odd |= (micros < 0) | (micros >= DAY_MICROS)
        return _array(type_, micros, cells), _odd(odd, cells)

    return read


def _unseen(cells: Cells) -> tuple[pa.Array, Flags | None]:
    """Texts that are all left to the plain way."""
    return pa.nulls(cells.frame.rows, pa.string()), _all(cells)


def _whole(cells: Cells) -> tuple[Words, Flags, Flags]:
    """Whole numbers: their amounts, which have a minus, which are none."""
    minus = cells.byte(cells.begin) == _MINUS
    number, odd = ending(cells, cells.end, cells.length - minus)
    return number, minus, odd


def _wide(type_: pa.DataType, number: Words, minus: Flags, cells: Cells) -> pa.Array:
    """Whole numbers of 64 bits and a sign as 128 bits."""
    both = np.zeros((len(number), 2), np.uint64)
    both[:, 0] = np.where(minus, 0 - number, number)
    both[:, 1] = np.where(minus & (number != 0), _ONES, np.uint64(0))
    return _array(type_, both, cells)


def _array(type_: pa.DataType, values: NDArray[Any], cells: Cells) -> pa.Array:
    return pa.Array.from_buffers(type_, cells.frame.rows, [cells.validity(), pa.py_buffer(values)])


def _odd(odd: Flags, cells: Cells) -> Flags | None:
    """Those of `odd` that are not NULL; None if there are none."""
    if cells.null is not None:
        odd &= ~cells.null
    return odd if odd.any() else None


def _all(cells: Cells) -> Flags | None:
    return _odd(np.ones(cells.frame.rows, np.bool_), cells)
