"""Values of a page, one by one and plainly: the reference of the fast way, and its way for unusual values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from math import inf
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa

from connectors.mysql.columns import Column, Kind
from connectors.mysql.pages import Page, malformed
from connectors.policies import BadValue

Value = Any
"""What `pyarrow.array` takes for the column's type."""

_NULL: Final = 0xFB
_LENGTH_BYTES: Final = {0xFC: 2, 0xFD: 3, 0xFE: 8}
DAY_MICROS: Final = 86_400_000_000

TOO_LARGE: Final = {pa.float64(): inf, pa.float32(): (2 - 2**-24) * 2.0**127}
"""What is rounded to infinity."""

_WHOLE = re.compile(rb"(-?)(\d+)(?:\.0+)?")
_EXACT = re.compile(rb"(-?)(\d+)(?:\.(\d+))?")
_FLOAT = re.compile(rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_DATE = re.compile(rb"(\d{4})-(\d\d)-(\d\d)")
_DATETIME = re.compile(rb"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?")
_TIME = re.compile(rb"(-?)(\d{2,3}):(\d\d):(\d\d)(?:\.(\d{1,6}))?")


class Bad(NamedTuple):
    """What is wrong with a value that its column cannot hold."""

    reason: str


Cell = Callable[[bytes], Value | Bad]
"""A value as it came → as its column holds it. No NULL comes here."""


@dataclass(frozen=True)
class Decoded:
    """The rows of a page under the contract's schema, and those values that their columns cannot hold.

    A bad value is NULL in the batch, or text in a column that says so. `bad` is in the order of the columns; the
    page is kept only where there are some.
    """

    batch: pa.RecordBatch
    bad: Sequence[BadValue]
    page: Page | None
    columns: Sequence[Column]

    def text(self, row: int) -> str:
        """The row as it came, as JSON text: every value text, or bytes in hexadecimal digits behind `0x`."""
        assert self.page is not None
        values = row_values(self.page, row, len(self.columns))
        shown = {c.name: _shown(c, raw) for c, raw in zip(self.columns, values, strict=True)}
        return json.dumps(shown, ensure_ascii=False)


class Rows:
    """Decodes pages row by row, as `decode.Decoder` does column by column, with the same result."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.schema = pa.schema([column.field for column in columns])
        self._cells = [cell(column) for column in columns]

    def decode(self, page: Page) -> Decoded:
        """Raises pymysql's OperationalError, number 2027, for rows that are not as the protocol has them."""
        rows = [row_values(page, row, len(self.columns)) for row in range(len(page))]
        arrays, bad = [], []
        for number, (column, read) in enumerate(zip(self.columns, self._cells, strict=True)):
            values, wrong = settled(column, read, [row[number] for row in rows])
            arrays.append(pa.array(values, column.type))
            bad += [BadValue(row, column.name, text, reason) for row, text, reason in wrong]
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        return Decoded(batch, bad, page if bad else None, self.columns)


def settled(
    column: Column, read: Cell, raws: Sequence[bytes | None]
) -> tuple[list[Value], list[tuple[int, str, str]]]:
    """The column's values, and place, text and reason of each that is bad."""
    values: list[Value] = []
    wrong = []
    for place, raw in enumerate(raws):
        value = None if raw is None else read(raw)
        if isinstance(value, Bad):
            assert raw is not None
            text = readable(raw)
            wrong.append((place, text, value.reason))
            value = text if column.as_text else None
        elif raw is not None and column.as_text:
            value = readable(raw)
        values.append(value)
    return values, wrong


def row_values(page: Page, row: int, columns: int) -> list[bytes | None]:
    """The values of one row as they came. Raises as `Rows.decode`."""
    data = bytes(memoryview(page.data)[page.starts[row] : page.ends[row]])
    return list(_values(data, columns))


def _values(data: bytes, columns: int) -> Iterator[bytes | None]:
    at = 0
    for _ in range(columns):
        first = data[at] if at < len(data) else 0xFF
        width = _LENGTH_BYTES.get(first, 0)
        if first == 0xFF or at + 1 + width > len(data):
            raise malformed("a row ends early")
        begin = at + 1 + width
        length = int.from_bytes(data[at + 1 : begin], "little") if width else 0 if first == _NULL else first
        at = begin + length
        if at > len(data):
            raise malformed("a value ends behind its row")
        yield None if first == _NULL else data[begin:at]
    if at != len(data):
        raise malformed("a row has more than its columns")


def cell(column: Column) -> Cell:
    """How one value of the column is read."""
    type_ = column.checked
    if column.kind is Kind.INTEGER:
        return _integer(type_)
    if column.kind is Kind.DECIMAL:
        return _decimal(type_)
    if column.kind is Kind.FLOAT:
        return _float(type_)
    if column.kind is Kind.DATETIME:
        return _datetime(type_)
    if column.kind is Kind.TIME:
        return _microseconds if pa.types.is_int64(type_) else _time_of_day
    return _PLAIN[column.kind]


def _integer(type_: pa.DataType) -> Cell:
    signed = pa.types.is_signed_integer(type_)
    lowest = -(1 << type_.bit_width - 1) if signed else 0
    highest = (1 << type_.bit_width - signed) - 1

    def read(raw: bytes) -> int | Bad:
        found = _WHOLE.fullmatch(raw)
        if not found:
            return Bad("no whole number")
        digits = found[2].lstrip(b"0") or b"0"
        number = int(found[1] + digits[:20])  # none of more digits fits
        if number < lowest or (found[1] and len(digits) > 20):
            return Bad(f"below {lowest}")
        return Bad(f"above {highest}") if number > highest or len(digits) > 20 else number

    return read


def _decimal(type_: pa.DataType) -> Cell:
    before, scale = type_.precision - type_.scale, type_.scale

    def read(raw: bytes) -> Decimal | Bad:
        found = _EXACT.fullmatch(raw)
        if not found:
            return Bad("no decimal number")
        whole, fraction = found[2].lstrip(b"0"), (found[3] or b"").rstrip(b"0")
        if len(whole) > before:
            return Bad(f"more than {before} digits before the point")
        if len(fraction) > scale:
            return Bad(f"more than {scale} digits behind the point")
        digits = int(whole + fraction.ljust(scale, b"0") or b"0")
        return Decimal(f"{-digits if found[1] else digits}E-{scale}")

    return read


def _float(type_: pa.DataType) -> Cell:
    def read(raw: bytes) -> float | Bad:
        if not _FLOAT.fullmatch(raw):
            return Bad("no number")
        number = float(raw)
        return Bad(f"beyond what a {type_} holds") if abs(number) >= TOO_LARGE[type_] else number

    return read


def _boolean(raw: bytes) -> bool | Bad:
    found = _WHOLE.fullmatch(raw)
    number = found[1] + found[2].lstrip(b"0") if found else raw
    return number == b"1" if number in (b"", b"-", b"1") and found else Bad("neither 0 nor 1")


def _date(raw: bytes) -> date | Bad:
    found = _DATE.fullmatch(raw)
    return _day(*found.groups()) if found else Bad("no date")


def _day(year: bytes, month: bytes, day: bytes) -> date | Bad:
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return Bad("no such day")


def _datetime(type_: pa.DataType) -> Cell:
    zone = UTC if type_.tz else None

    def read(raw: bytes) -> datetime | Bad:
        found = _DATETIME.fullmatch(raw)
        if not found:
            return Bad("no date and time")
        day = _day(found[1], found[2], found[3])
        if isinstance(day, Bad):
            return day
        try:
            at = time(int(found[4]), int(found[5]), int(found[6]), _micros(found[7]), tzinfo=zone)
        except ValueError:
            return Bad("no such time")
        return datetime.combine(day, at)

    return read


def _micros(fraction: bytes | None) -> int:
    return int((fraction or b"").ljust(6, b"0"))


def _microseconds(raw: bytes) -> int | Bad:
    found = _TIME.fullmatch(raw)
    if not found or found[3] > b"59" or found[4] > b"59":
        return Bad("no time")
    seconds = int(found[2]) * 3_600 + int(found[3]) * 60 + int(found[4])
    micros = seconds * 1_000_000 + _micros(found[5])
    return -micros if found[1] else micros


def _time_of_day(raw: bytes) -> time | Bad:
    micros = _microseconds(raw)
    if isinstance(micros, Bad):
        return micros
    if not 0 <= micros < DAY_MICROS:
        return Bad("no time of a day")
    return (datetime.min + timedelta(microseconds=micros)).time()


def _text(raw: bytes) -> str | Bad:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return Bad("no UTF-8")


def _json(raw: bytes) -> str | Bad:
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Bad("no JSON")
    return raw.decode()


_PLAIN: Mapping[Kind, Cell] = {
    Kind.BOOLEAN: _boolean,
    Kind.DATE: _date,
    Kind.TEXT: _text,
    Kind.JSON: _json,
    Kind.BYTES: bytes,
}


def readable(raw: bytes) -> str:
    """A value for an eye; what is no UTF-8 is shown in hexadecimal digits behind `\\x`."""
    return raw.decode("utf-8", "backslashreplace")


def _shown(column: Column, raw: bytes | None) -> str | None:
    if raw is None:
        return None
    return "0x" + raw.hex().upper() if column.kind is Kind.BYTES else readable(raw)
