"""Every type of MariaDB, its edges, and what must come of each. Written by hand: this is the oracle (M-9…M-14).

A column has a declaration, and pairs of an SQL literal and the value that must arrive. `REFUSED` stands for one
that its column cannot hold: an error, or what the declared policy says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa


class Refused:
    """The column cannot hold the value."""


REFUSED = Refused()


@dataclass(frozen=True)
class Told:
    """`pairs`: what is written and what arrives. `type`: the column's in the contract. `override`: in `types`."""

    declaration: str
    type: pa.DataType
    pairs: Sequence[tuple[str, Any]]
    override: str = ""


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def utc(text: str) -> datetime:
    return at(text).replace(tzinfo=UTC)


def whole(declaration: str, type_: pa.DataType, least: int, most: int) -> Told:
    return Told(declaration, type_, [(str(least), least), (str(most), most), ("0", 0), ("NULL", None)])


TEXT = "Zoë \U0001f600 \\N NULL \t'\"` 漢字"
DECIMAL_65 = "12345678901234567890123456789012345.123456789012345678901234567890"
NINES = "9" * 38
NAIVE, INSTANT = pa.timestamp("us"), pa.timestamp("us", "UTC")
POINT = bytes.fromhex("0101000000000000000000f03f0000000000000040")
"""WKB of POINT(1 2), little-endian."""

TYPES: dict[str, Told] = {
    "tiny": whole("TINYINT", pa.int8(), -(2**7), 2**7 - 1),
    "tiny_u": whole("TINYINT UNSIGNED", pa.uint8(), 0, 2**8 - 1),
    "flag": Told("TINYINT(1)", pa.int8(), [("2", 2), ("1", 1), ("0", 0), ("-1", -1), ("NULL", None)]),
    "small": whole("SMALLINT", pa.int16(), -(2**15), 2**15 - 1),
    "small_u": whole("SMALLINT UNSIGNED", pa.uint16(), 0, 2**16 - 1),
    "medium": whole("MEDIUMINT", pa.int32(), -(2**23), 2**23 - 1),
    "medium_u": whole("MEDIUMINT UNSIGNED", pa.uint32(), 0, 2**24 - 1),
    "normal": whole("INT", pa.int32(), -(2**31), 2**31 - 1),
    "normal_u": whole("INT UNSIGNED", pa.uint32(), 0, 2**32 - 1),
    "filled": Told("INT(8) ZEROFILL", pa.uint32(), [("42", 42), ("0", 0), ("4294967295", 4294967295)]),
    "big": whole("BIGINT", pa.int64(), -(2**63), 2**63 - 1),
    "big_u": Told(
        "BIGINT UNSIGNED",
        pa.decimal128(20, 0),
        [("18446744073709551615", Decimal(2**64 - 1)), ("9223372036854775808", Decimal(2**63)), ("0", Decimal(0))],
    ),
    "money": Told(
        "DECIMAL(38,10)",
        pa.decimal128(38, 10),
        [
            ("9999999999999999999999999999.9999999999", Decimal("9999999999999999999999999999.9999999999")),
            ("-0.0000000001", Decimal("-0.0000000001")),
            ("NULL", None),
        ],
    ),
    "digits": Told(
        "DECIMAL(38,0)", pa.decimal128(38, 0), [(NINES, Decimal(NINES)), (f"-{NINES}", Decimal(f"-{NINES}"))]
    ),
    "fraction": Told(
        "DECIMAL(37,37)", pa.decimal128(37, 37), [("0." + "1" * 37, Decimal("0." + "1" * 37)), ("0", Decimal(0))]
    ),
    "wide": Told(
        "DECIMAL(65,30)", pa.string(), [(DECIMAL_65, DECIMAL_65), (f"-{DECIMAL_65}", f"-{DECIMAL_65}")], "string"
    ),
    "single": Told(
        "FLOAT",
        pa.float32(),
        [
            ("16777217", 16777216.0),
            ("0.1", 0.10000000149011612),
            ("1.17549435e-38", 1.1754943508222875e-38),
            ("-3.4028234e38", -3.4028234663852886e38),
            ("NULL", None),
        ],
    ),
    "double_": Told(
        "DOUBLE",
        pa.float64(),
        [
            ("0.1", 0.1),
            ("1.7976931348623157e308", 1.7976931348623157e308),
            ("2.2250738585072014e-308", 2.2250738585072014e-308),
            ("9007199254740993", 9007199254740992.0),
            ("-0.30000000000000004", -0.30000000000000004),
        ],
    ),
    "bits": Told("BIT(10)", pa.int64(), [("b'1111111111'", 1023), ("b'0'", 0), ("b'1'", 1), ("NULL", None)]),
    "bit1": Told("BIT(1)", pa.int64(), [("b'1'", 1), ("b'0'", 0)]),
    "bits64": Told(
        "BIT(64)", pa.decimal128(20, 0), [("18446744073709551615", Decimal(2**64 - 1)), ("0", Decimal(0))]
    ),
    "year_": Told("YEAR", pa.int16(), [("2155", 2155), ("1901", 1901), ("0000", 0), ("NULL", None)]),
    "day": Told(
        "DATE",
        pa.date32(),
        [
            ("'1000-01-01'", date(1000, 1, 1)),
            ("'9999-12-31'", date(9999, 12, 31)),
            ("'2024-02-29'", date(2024, 2, 29)),
            ("'0001-01-01'", date(1, 1, 1)),
            ("'0000-00-00'", REFUSED),
            ("'2024-02-00'", REFUSED),
            ("'2024-00-00'", REFUSED),
            ("'0000-01-01'", REFUSED),
            ("NULL", None),
        ],
    ),
    "local": Told(
        "DATETIME(6)",
        NAIVE,
        [
            ("'1000-01-01 00:00:00'", at("1000-01-01")),
            ("'9999-12-31 23:59:59.999999'", at("9999-12-31T23:59:59.999999")),
            ("'1969-12-31 23:59:59.000001'", at("1969-12-31T23:59:59.000001")),
            ("'0000-00-00 00:00:00'", REFUSED),
            ("'2024-02-00 10:00:00'", REFUSED),
            ("NULL", None),
        ],
    ),
    "local0": Told(
        "DATETIME", NAIVE, [("'2024-03-31 02:30:00'", at("2024-03-31T02:30:00")), ("'0000-00-00'", REFUSED)]
    ),
    "instant": Told(
        "TIMESTAMP(6) NULL",
        INSTANT,
        [
            ("'1970-01-01 00:00:01'", utc("1970-01-01T00:00:01")),
            ("'2038-01-19 03:14:07.999999'", utc("2038-01-19T03:14:07.999999")),
            ("'0000-00-00 00:00:00'", REFUSED),
            ("NULL", None),
        ],
    ),
    "clock": Told(
        "TIME(6)",
        pa.string(),
        [
            ("'-838:59:59.999999'", "-838:59:59.999999"),
            ("'838:59:59'", "838:59:59.000000"),
            ("'00:00:00.000001'", "00:00:00.000001"),
        ],
    ),
    "clock_us": Told(
        "TIME",
        pa.int64(),
        [
            ("'-838:59:59'", -3_020_399_000_000),
            ("'838:59:59'", 3_020_399_000_000),
            ("'-00:00:01'", -1_000_000),
            ("NULL", None),
        ],
        "int64",
    ),
    "clock_day": Told(
        "TIME",
        pa.time64("us"),
        [("'23:59:59'", at("1970-01-01T23:59:59").time()), ("'24:00:00'", REFUSED)],
        "time",
    ),
    "text": Told(
        "VARCHAR(100)",
        pa.string(),
        [
            ("'Zoë \U0001f600'", "Zoë \U0001f600"),
            ("''", ""),
            ("'\\\\N'", "\\N"),
            ("'NULL'", "NULL"),
            ("NULL", None),
        ],
    ),
    "fixed": Told("CHAR(10)", pa.string(), [("'a'", "a"), ("''", "")]),
    "latin": Told("VARCHAR(20) CHARACTER SET latin1", pa.string(), [("'Zoë'", "Zoë"), ("NULL", None)]),
    "long_": Told(
        "LONGTEXT",
        pa.string(),
        [("REPEAT('漢', 300)", "漢" * 300), ("REPEAT('x', 70000)", "x" * 70000), ("'a\\0b'", "a\0b")],
    ),
    "choice": Told(
        "ENUM('small','größe','')", pa.string(), [("'größe'", "größe"), ("0", ""), ("'small'", "small")]
    ),
    "set_": Told("SET('b','a','c')", pa.string(), [("'a,b'", "b,a"), ("''", ""), ("'c'", "c")]),
    "raw": Told("BINARY(4)", pa.binary(), [("x'00ff'", b"\x00\xff\x00\x00"), ("NULL", None)]),
    "raws": Told(
        "VARBINARY(300)", pa.binary(), [("x'00'", b"\0"), ("''", b""), ("REPEAT(x'fb', 260)", b"\xfb" * 260)]
    ),
    "blob_": Told(
        "LONGBLOB",
        pa.binary(),
        [("x'00fffefb0a0d'", bytes.fromhex("00fffefb0a0d")), ("REPEAT(x'00', 65536)", bytes(65536))],
    ),
    "doc": Told(
        "JSON", pa.string(), [("'{\"a\": 9007199254740993}'", '{"a": 9007199254740993}'), ("NULL", None)], "json"
    ),
    "place": Told("POINT", pa.binary(), [("POINT(1, 2)", POINT), ("NULL", None)]),
    "place_text": Told("POINT", pa.string(), [("POINT(1, 2)", "POINT(1 2)")], "string"),
    "address": Told(
        "INET6", pa.string(), [("'2001:db8::ff00:42:8329'", "2001:db8::ff00:42:8329"), ("NULL", None)]
    ),
    "guid": Told(
        "UUID", pa.string(), [("'123e4567-e89b-12d3-a456-426655440000'", "123e4567-e89b-12d3-a456-426655440000")]
    ),
    "yes": Told("TINYINT(1)", pa.bool_(), [("1", True), ("0", False), ("2", REFUSED), ("NULL", None)], "boolean"),
    "odd `n%me' \"": Told("INT", pa.int32(), [("7", 7), ("NULL", None)]),
}
"""Column → what it is. A column with fewer pairs than another is NULL in the rows beyond."""

ROWS = max(len(told.pairs) for told in TYPES.values())
