"""Dates and times of many values at once, as `decode_digits` does numbers."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from connectors.mysql.decode_cells import Cells, Flags, Numbers, Words
from connectors.mysql.decode_digits import ending, pair, pairs, strange

_MONTH_BEGINS: Final = (
    np.arange("0000-01", "10000-02", dtype="datetime64[M]").astype("datetime64[D]").astype(np.int64)
)
"""Day, counted from 1970, on which each month begins, from January of the year 0 on."""
_MONTH_DAYS: Final = np.diff(_MONTH_BEGINS).astype(np.uint64)
_MONTH_DAYS[:12] = 0  # a calendar has no year 0

_DATE, _DAY, _CLOCK = (
    np.uint64(int.from_bytes(text, "little")) for text in (b"0000-00-", b"00 00:00", b"00:00:00")
)
"""What stays of a usual value when these are taken away are the values of its digits."""
_DATE_SIGNS, _SIGNS, _NO_SIGNS = np.uint64(0xFF0000FF00000000), np.uint64(0x0000FF0000FF0000), np.uint64(0)
"""The places of signs in them."""
_TWO: Final = np.uint64(0xFFFF)
_1, _11, _12, _100 = np.uint64(1), np.uint64(11), np.uint64(12), np.uint64(100)
_DAY_MICROS, _HOUR_MICROS, _MINUTE_MICROS, _MICROS = 86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000
_POINT, _MINUS, _COLON, _ZERO = (ord(sign) for sign in ".-:0")
_SHORT, _DIGITS = 19, 6
"""Characters of a date and time without a fraction, and digits of that at most."""
_POWERS: Final = 10 ** np.arange(_DIGITS, -1, -1, dtype=np.int64)


def dates(cells: Cells) -> tuple[NDArray[np.int32], Flags]:
    """Days since 1970 of `2024-02-29`, and where something else stands, or no such day."""
    days, odd = _days(cells, (cells.word(cells.begin + 8) ^ _DAY) & _TWO, _NO_SIGNS)
    return days.astype(np.int32), odd | (cells.length != 10)


def datetimes(cells: Cells) -> tuple[Numbers, Flags]:
    """Microseconds since 1970 of `2024-02-29 23:59:59.999`, and where something else stands."""
    days, odd = _days(cells, cells.word(cells.begin + 8) ^ _DAY, _SIGNS)
    clock = cells.word(cells.begin + 11) ^ _CLOCK
    found = pairs(clock)
    hour, minute, second = (pair(found, place).view(np.int64) for place in (0, 3, 6))
    odd |= _unusual(clock, _SIGNS) | (hour > 23) | (minute > 59) | (second > 59)
    odd |= cells.length < _SHORT
    micros = days * _DAY_MICROS + hour * _HOUR_MICROS + minute * _MINUTE_MICROS + second * _MICROS
    fraction, wrong = _fractions(cells, cells.begin + _SHORT)
    return micros + fraction, odd | wrong


def times(cells: Cells) -> tuple[Numbers, Flags]:
    """Microseconds of `-838:59:59.999`, and where something else stands."""
    minus = cells.byte(cells.begin) == _MINUS
    begin = cells.begin + minus
    has_three = cells.byte(begin + 2) != _COLON
    hundreds = np.where(has_three, cells.byte(begin).astype(np.int64) - _ZERO, 0)
    begin = begin + has_three
    clock = cells.word(begin) ^ _CLOCK
    found = pairs(clock)
    hour, minute, second = (pair(found, place).view(np.int64) for place in (0, 3, 6))
    odd = _unusual(clock, _SIGNS) | (hundreds < 0) | (hundreds > 9) | (minute > 59) | (second > 59)
    micros = (100 * hundreds + hour) * _HOUR_MICROS + minute * _MINUTE_MICROS + second * _MICROS
    fraction, wrong = _fractions(cells, begin + 8)
    micros += fraction
    return np.where(minus, -micros, micros), odd | wrong | (cells.end < begin + 8)


def _days(cells: Cells, rest: Words, signs: np.uint64) -> tuple[Numbers, Flags]:
    """Days since 1970; `rest`: what follows the month, with `signs` in it."""
    month_and_year = cells.word(cells.begin) ^ _DATE
    found = pairs(month_and_year)
    month = pair(found, 5) - _1  # what is below 0 is very large
    day = pair(pairs(rest), 0) - _1
    number = ((pair(found, 0) * _100 + pair(found, 2)) * _12 + np.minimum(month, _11)).view(np.int64)
    odd = _unusual(month_and_year, _DATE_SIGNS) | _unusual(rest, signs) | (month > _11)
    odd |= day >= _MONTH_DAYS.take(number, mode="clip")
    return _MONTH_BEGINS.take(number, mode="clip") + day.view(np.int64), odd


def _unusual(values: Words, signs: np.uint64) -> Flags:
    """Where there is no digit, or another sign than the usual one at the places of `signs`."""
    found: Flags = (strange(values) | (values & signs)) != 0
    return found


def _fractions(cells: Cells, point: Numbers) -> tuple[Numbers, Flags]:
    """Microseconds behind the point, if there is one, and where they are none."""
    count = cells.end - point - 1
    has = count >= 0
    if not has.any():
        return np.zeros(len(has), np.int64), has
    number, odd = ending(cells, cells.end, count)
    odd |= (count > _DIGITS) | (cells.byte(point) != _POINT)
    return np.where(has, number.view(np.int64) * _POWERS.take(count, mode="clip"), 0), odd & has
