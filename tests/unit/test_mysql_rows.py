"""What each text of a server is as a value, and which are none: the plain way, by a table (M-9…M-15)."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pyarrow as pa
import pytest
from pymysql.err import OperationalError

from connectors.mysql.columns import Column, Kind
from connectors.mysql.decode import Decoder
from connectors.mysql.rows import Rows
from connectors.policies import BadValue
from tests.unit.mysql_script import page, row

NAIVE, INSTANT = pa.timestamp("us"), pa.timestamp("us", "UTC")
LONG = "12345678901234567890123456789012345678"
DAY = "no such day"


def of(kind: Kind, type_: pa.DataType, **more) -> Column:
    return Column("c", "c", kind, type_, "`c`", **more)


GOOD = [
    (Kind.INTEGER, pa.int8(), "-128", -128),
    (Kind.INTEGER, pa.uint8(), "255", 255),
    (Kind.INTEGER, pa.int16(), "0000", 0),
    (Kind.INTEGER, pa.int32(), "0000000042", 42),
    (Kind.INTEGER, pa.int64(), "-9223372036854775808", -(2**63)),
    (Kind.INTEGER, pa.int64(), "9223372036854775807.000", 2**63 - 1),
    (Kind.DECIMAL, pa.decimal128(20, 0), "18446744073709551615", Decimal(2**64 - 1)),
    (Kind.DECIMAL, pa.decimal128(10, 2), "-0.05", Decimal("-0.05")),
    (Kind.DECIMAL, pa.decimal128(10, 2), "7", Decimal("7.00")),
    (Kind.DECIMAL, pa.decimal128(10, 2), "0000001.5000", Decimal("1.50")),
    (Kind.DECIMAL, pa.decimal128(38, 0), f"-{LONG}", Decimal(f"-{LONG}")),
    (Kind.DECIMAL, pa.decimal128(38, 37), f"-{LONG[0]}.{LONG[1:]}", Decimal(f"-{LONG[0]}.{LONG[1:]}")),
    (Kind.FLOAT, pa.float64(), "1.7976931348623157e308", 1.7976931348623157e308),
    (Kind.FLOAT, pa.float64(), "5e-324", 5e-324),
    (Kind.FLOAT, pa.float32(), "0.10000000149011612", 0.10000000149011612),
    (Kind.BOOLEAN, pa.bool_(), "1", True),
    (Kind.BOOLEAN, pa.bool_(), "0", False),
    (Kind.BOOLEAN, pa.bool_(), "001", True),
    (Kind.DATE, pa.date32(), "0001-01-01", date.min),
    (Kind.DATE, pa.date32(), "2024-02-29", date(2024, 2, 29)),
    (Kind.DATE, pa.date32(), "9999-12-31", date.max),
    (Kind.DATETIME, NAIVE, "1000-01-01 00:00:00", datetime(1000, 1, 1)),
    (Kind.DATETIME, NAIVE, "9999-12-31 23:59:59.999999", datetime.max),
    (Kind.DATETIME, NAIVE, "1969-12-31 23:59:59.5", datetime(1969, 12, 31, 23, 59, 59, 500_000)),
    (Kind.DATETIME, INSTANT, "2038-01-19 03:14:07.123", datetime(2038, 1, 19, 3, 14, 7, 123_000, UTC)),
    (Kind.TIME, pa.time64("us"), "23:59:59.999999", time.max),
    (Kind.TIME, pa.int64(), "-838:59:59.999999", -3_020_399_999_999),
    (Kind.TIME, pa.int64(), "00:00:01", 1_000_000),
    (Kind.TEXT, pa.string(), "", ""),
    (Kind.TEXT, pa.string(), "-838:59:59", "-838:59:59"),
    (Kind.TEXT, pa.string(), "naïve 😀 \x00", "naïve 😀 \x00"),
    (Kind.JSON, pa.string(), '{"a": 1.10, "a": [null]}', '{"a": 1.10, "a": [null]}'),
    (Kind.BYTES, pa.binary(), b"\x00\xff", b"\x00\xff"),
    (Kind.BYTES, pa.binary(), b"", b""),
]
BAD = [
    (Kind.INTEGER, pa.int8(), "128", "above 127"),
    (Kind.INTEGER, pa.int8(), "-129", "below -128"),
    (Kind.INTEGER, pa.uint8(), "-1", "below 0"),
    (Kind.INTEGER, pa.int64(), "9223372036854775808", "above 9223372036854775807"),
    (Kind.INTEGER, pa.int64(), "-" + "9" * 5_000, "below -9223372036854775808"),
    (Kind.INTEGER, pa.int64(), "1.5", "no whole number"),
    (Kind.INTEGER, pa.int64(), "", "no whole number"),
    (Kind.INTEGER, pa.int64(), " 1", "no whole number"),
    (Kind.DECIMAL, pa.decimal128(4, 2), "100", "more than 2 digits before the point"),
    (Kind.DECIMAL, pa.decimal128(4, 2), "1.001", "more than 2 digits behind the point"),
    (Kind.DECIMAL, pa.decimal128(38, 0), f"{LONG}9", "more than 38 digits before the point"),
    (Kind.DECIMAL, pa.decimal128(4, 2), "1e1", "no decimal number"),
    (Kind.FLOAT, pa.float64(), "1e309", "beyond what a double holds"),
    (Kind.FLOAT, pa.float32(), "1e39", "beyond what a float holds"),
    (Kind.FLOAT, pa.float64(), "nan", "no number"),
    (Kind.BOOLEAN, pa.bool_(), "2", "neither 0 nor 1"),
    (Kind.BOOLEAN, pa.bool_(), "-1", "neither 0 nor 1"),
    (Kind.DATE, pa.date32(), "0000-00-00", DAY),
    (Kind.DATE, pa.date32(), "2024-02-00", DAY),
    (Kind.DATE, pa.date32(), "0000-06-01", DAY),
    (Kind.DATE, pa.date32(), "2023-02-29", DAY),
    (Kind.DATE, pa.date32(), "2024-1-1", "no date"),
    (Kind.DATETIME, NAIVE, "0000-00-00 00:00:00", DAY),
    (Kind.DATETIME, NAIVE, "2024-00-10 00:00:00.000000", DAY),
    (Kind.DATETIME, INSTANT, "0000-00-00 00:00:00.000", DAY),
    (Kind.DATETIME, NAIVE, "2024-01-01 24:00:00", "no such time"),
    (Kind.DATETIME, NAIVE, "2024-01-01", "no date and time"),
    (Kind.TIME, pa.time64("us"), "24:00:00", "no time of a day"),
    (Kind.TIME, pa.time64("us"), "-00:00:01", "no time of a day"),
    (Kind.TIME, pa.int64(), "12:60:00", "no time"),
    (Kind.TEXT, pa.string(), b"caf\xe9", "no UTF-8"),
    (Kind.JSON, pa.string(), "{'a': 1}", "no JSON"),
    (Kind.JSON, pa.string(), "", "no JSON"),
    (Kind.JSON, pa.string(), b'"caf\xe9"', "no JSON"),
]


def raw(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


@pytest.mark.parametrize("way", [Rows, Decoder])
@pytest.mark.parametrize(("kind", "type_", "text", "value"), GOOD, ids=lambda one: str(one)[:40])
def test_a_value_is_what_its_text_says_exactly(kind, type_, text, value, way):
    found = way([of(kind, type_)]).decode(page(row(None), row(raw(text))))
    assert found.batch.schema == pa.schema([pa.field("c", type_)])
    assert found.batch["c"].to_pylist() == [None, value] and not found.bad
    if kind is not Kind.BYTES:
        as_text = way([of(kind, pa.string(), as_text=type_)]).decode(page(row(raw(text))))
        assert as_text.batch["c"].to_pylist() == [text] and not as_text.bad


@pytest.mark.parametrize("way", [Rows, Decoder])
@pytest.mark.parametrize(("kind", "type_", "text", "reason"), BAD, ids=lambda one: str(one)[:40])
def test_a_text_that_is_no_value_is_null_or_kept_and_told(kind, type_, text, reason, way):
    """M-9: never silently changed. What is no UTF-8 is kept with the bytes in digits."""
    shown = raw(text).decode("utf-8", "backslashreplace")
    found = way([of(kind, type_)]).decode(page(row(None), row(raw(text)), row(None)))
    assert found.batch["c"].to_pylist() == [None] * 3
    assert list(found.bad) == [BadValue(1, "c", shown, reason)]
    kept = way([of(kind, pa.string(), as_text=type_)]).decode(page(row(None), row(raw(text))))
    assert kept.batch["c"].to_pylist() == [None, shown]
    assert list(kept.bad) == [BadValue(1, "c", shown, reason)]


def test_bad_values_come_in_the_order_of_columns_and_good_ones_around_them_stay():
    columns = [Column(name, name, Kind.DATE, pa.date32(), name) for name in "ab"]
    zero, good = b"0000-00-00", b"2024-01-02"
    for way in (Rows, Decoder):
        found = way(columns).decode(page(row(good, zero), row(zero, good), row(None, zero)))
        assert [(bad.row, bad.column) for bad in found.bad] == [(1, "a"), (0, "b"), (2, "b")]
        assert found.batch.to_pydict() == {
            "a": [date(2024, 1, 2), None, None],
            "b": [None, date(2024, 1, 2), None],
        }


def test_a_row_is_told_as_it_came():
    """As JSON text, for the quarantine: bytes in hexadecimal digits, what is no UTF-8 with its bytes in digits."""
    columns = [
        Column("n", "number", Kind.DECIMAL, pa.decimal128(5, 2), "n"),
        Column("d", "day", Kind.DATE, pa.date32(), "d"),
        Column("t", "text", Kind.TEXT, pa.string(), "t"),
        Column("b", "bytes", Kind.BYTES, pa.binary(), "b"),
    ]
    found = Decoder(columns).decode(
        page(row(b"1.50", b"0000-00-00", b"caf\xe9 \xf0\x9f\x98\x80", b"\x00\xab"), row(*[None] * 4))
    )
    assert json.loads(found.text(0)) == {
        "number": "1.50",
        "day": "0000-00-00",
        "text": "caf\\xe9 😀",
        "bytes": "0x00AB",
    }
    assert json.loads(found.text(1)) == dict.fromkeys(("number", "day", "text", "bytes"))


@pytest.mark.parametrize("way", [Rows, Decoder])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01a",
        b"\x01a\x01b\x00",
        b"\x01a\x02b",
        b"\x01a\xff",
        b"\x01a\xfc\x01",
        b"\x01a\xfc\x02\x00b",
        b"\x01a\xfe" + b"\xff" * 8,
    ],
    ids=str,
)
def test_a_row_that_is_none_is_an_error(way, data):
    with pytest.raises(OperationalError, match="2027"):
        way([of(Kind.TEXT, pa.string()), of(Kind.TEXT, pa.string())]).decode(page(b"\x01a\x01b", data))


def test_a_page_of_nulls_is_a_batch_of_bounded_bytes():
    """A NULL is a byte on the wire and sixteen in a column: such rows come in smaller pages."""
    narrow, wide = Decoder([of(Kind.TEXT, pa.string())]), Decoder([of(Kind.DECIMAL, pa.decimal128(38, 0))] * 1_000)
    assert wide.page_rows * 16_000 <= 8 * 1024 * 1024 < narrow.page_rows * 100
