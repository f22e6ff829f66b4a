"""44 awkward JSON values × mapped types, and what must come of each. Written by hand: this is the oracle.

A cell is the exact value; or `Refused`: an error that names document, field and value (NULL and counted where the
policy says so); or `Touched(value)`: loaded in another shape than the document had it, and counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Touched:
    """The value that is loaded although the document had it in another shape."""

    value: Any


class Refused:
    """The column cannot hold the value."""


X = Refused()
NONE = Touched(None)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


FIELDS = {"i": "integer", "l": "long", "d": "double", "k": "keyword", "t": "date", "b": "boolean"}
"""Field → its mapped type, in the order of the cells below. The date has the default format."""

LONE = r'"\ud83d"'
"""Half of a surrogate pair: JSON, but no text."""

MAX, OVER, MIN = "9223372036854775807", "9223372036854775808", "-9223372036854775808"
E308, TINY, EXACT = "1.7976931348623157e308", "4.9e-324", "0.30000000000000004"
BIG = "123456789012345678"
ODD = "9007199254740993"  # 2^53 + 1
TEN = at("2013-01-01T10:00:00")
MILLIS = 1_700_000_000_000
THEN = at("2023-11-14T22:13:20")


def epoch(text: str) -> datetime:
    return at(f"1970-01-01T00:00:{text}")


TABLE: dict[str, tuple[Any, ...]] = {
    # JSON value: (integer, long, double, keyword, date, boolean)
    "1": (1, 1, 1.0, "1", epoch("00.001"), X),
    "1.0": (1, 1, 1.0, "1.0", epoch("00.001"), X),
    "1.5": (X, X, 1.5, "1.5", epoch("00.001500"), X),
    '"7"': (7, 7, 7.0, "7", epoch("00.007"), X),
    "[1,2]": (X, X, X, X, X, X),
    "[1]": (Touched(1), Touched(1), Touched(1.0), Touched("1"), Touched(epoch("00.001")), X),
    "[]": (NONE, NONE, NONE, NONE, NONE, NONE),
    "null": (None, None, None, None, None, None),
    "3000000000": (X, 3_000_000_000, 3e9, "3000000000", at("1970-02-04T17:20:00"), X),
    "true": (X, X, X, "true", X, True),
    "false": (X, X, X, "false", X, False),
    '"true"': (X, X, X, "true", X, True),
    '{"a":1}': (X, X, X, X, X, X),
    "1e3": (1000, 1000, 1000.0, "1e3", X, X),
    MAX: (X, 9223372036854775807, X, MAX, X, X),
    OVER: (X, X, 2.0**63, OVER, X, X),
    MIN: (X, -9223372036854775808, -(2.0**63), MIN, X, X),
    "0.1": (X, X, 0.1, "0.1", epoch("00.000100"), X),
    "1e400": (X, X, X, "1e400", X, X),
    "-0.0": (0, 0, -0.0, "-0.0", epoch("00"), X),
    E308: (X, X, 1.7976931348623157e308, E308, X, X),
    TINY: (X, X, 5e-324, TINY, X, X),  # the double nearest to it, which JSON writers write so
    EXACT: (X, X, 0.30000000000000004, EXACT, X, X),
    BIG: (X, 123456789012345678, X, BIG, X, X),
    '"1.5"': (X, X, 1.5, "1.5", epoch("00.001500"), X),
    "5e-1": (X, X, 0.5, "5e-1", X, X),
    ODD: (X, 9007199254740993, X, ODD, X, X),
    r'"a\u00e9\n\"x"': (X, X, X, 'a\u00e9\n"x', X, X),
    r'"\ud83d\ude00"': (X, X, X, "\U0001f600", X, X),
    LONE: (X, X, X, X, X, X),
    '""': (NONE, NONE, NONE, "", X, False),
    "5": (5, 5, 5.0, "5", epoch("00.005"), X),
    '["a"]': (X, X, X, Touched("a"), X, X),
    r'"a\u0000b"': (X, X, X, "a\x00b", X, X),
    '"2013-01-01T10:00:00Z"': (X, X, X, "2013-01-01T10:00:00Z", TEN, X),
    '"2013-01-01T10:00:00.123Z"': (X, X, X, "2013-01-01T10:00:00.123Z", at("2013-01-01T10:00:00.123"), X),
    '"2013-01-01T10:00:00.123456789Z"': (X, X, X, "2013-01-01T10:00:00.123456789Z", X, X),
    '"2013-01-01"': (X, X, X, "2013-01-01", at("2013-01-01T00:00:00"), X),
    "1700000000000": (X, MILLIS, 1.7e12, "1700000000000", THEN, X),
    '"1700000000000"': (X, MILLIS, 1.7e12, "1700000000000", THEN, X),
    '"2013-01-01T10:00:00+02:00"': (X, X, X, "2013-01-01T10:00:00+02:00", at("2013-01-01T08:00:00"), X),
    '"2013-01-01T10:00:00"': (X, X, X, "2013-01-01T10:00:00", TEN, X),
    '"0001-01-01T00:00:00Z"': (X, X, X, "0001-01-01T00:00:00Z", at("0001-01-01T00:00:00"), X),
    '"2013/01/01"': (X, X, X, "2013/01/01", X, X),
}
