"""Digits of many values at once: eight bytes in a machine word, all words together.

A word holds eight characters, the first in its lowest byte. Taking the characters that are expected away leaves
the digits' own values, 0 to 9, and nothing where a sign stood; a bit is left where something else stood.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from connectors.mysql.decode_cells import Cells, Flags, Numbers, Words

_ZEROS: Final = np.uint64(0x3030303030303030)
_LAST: Final = np.array([0, *(((1 << 8 * n) - 1) << (64 - 8 * n) for n in range(1, 9))], np.uint64)
"""The last n bytes of a word."""
_CARRY: Final = np.uint64(0x7676767676767676)
"""Added to a digit it leaves the highest bit of a byte free, added to anything above it does not."""
_HIGH: Final = np.uint64(0x8080808080808080)
_TEN, _HUNDRED, _TEN_THOUSAND = (np.uint64(1 + (10**n << 8 * n)) for n in (1, 2, 4))
_PAIRS, _FOURS = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
_8, _16, _32, _255 = np.uint64(8), np.uint64(16), np.uint64(32), np.uint64(255)
_E8, _E16 = np.uint64(10**8), np.uint64(10**16)
_MOST, _MOST_REST = np.uint64((2**64 - 1) // 10**16), np.uint64((2**64 - 1) % 10**16)
LONGEST: Final = 20
"""Digits of the largest number of 64 bits."""


def strange(values: Words) -> Words:
    """Not 0 where a byte is no digit's value."""
    return ((values + _CARRY) | values) & _HIGH


def pairs(values: Words) -> Words:
    """In each byte, the number of two digits that begins there."""
    return (values * _TEN) >> _8


def pair(found: Words, place: int) -> Words:
    """The number of two digits that begins at byte `place`, 6 at most."""
    return (found >> np.uint64(8 * place)) & _255


def eight(values: Words) -> Words:
    """The number of eight digits."""
    values = pairs(values) & _PAIRS
    values = ((values * _HUNDRED) >> _16) & _FOURS
    return (values * _TEN_THOUSAND) >> _32


def ending(cells: Cells, end: Numbers, count: Numbers) -> tuple[Words, Flags]:
    """The numbers of the `count` digits before `end`, and which are none of at least one digit and 64 bits."""
    wide = int(count.max(initial=0))
    odd = (count < 1) | (count > LONGEST)
    number, wrong = _word(cells, end, count, 0)
    if wide > 8:
        more, also = _word(cells, end, count, 8)
        number += more * _E8
        wrong |= also
    if wide > 16:
        top, also = _word(cells, end, np.minimum(count, LONGEST), 16)
        odd |= (top > _MOST) | ((top == _MOST) & (number > _MOST_REST))
        number += top * _E16
        wrong |= also
    odd |= wrong != 0
    return number, odd


def _word(cells: Cells, end: Numbers, count: Numbers, skipped: int) -> tuple[Words, Words]:
    """The number of at most eight digits that end `skipped` bytes before `end`."""
    values = (cells.word(end - (8 + skipped)) ^ _ZEROS) & _LAST.take(count - skipped, mode="clip")
    return eight(values), strange(values)
