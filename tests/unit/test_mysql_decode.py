"""Columns of a page at once and its rows one by one give the same to the last bit (M-9…M-15, issue 6)."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymysql.err import OperationalError

from connectors.mysql.columns import Column, Kind
from connectors.mysql.decode import Decoder
from connectors.mysql.pages import Packets
from connectors.mysql.rows import Rows
from tests.unit.mysql_script import EOF, LONGEST, OK_END, answer, bits, pages, row, value

INT64, NAIVE, INSTANT = pa.int64(), pa.timestamp("us"), pa.timestamp("us", "UTC")
TYPES = [
    *(
        (Kind.INTEGER, type_)
        for type_ in (pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32())
    ),
    (Kind.INTEGER, INT64),
    *((Kind.DECIMAL, pa.decimal128(*size)) for size in ((20, 0), (5, 0), (19, 0), (38, 0), (10, 2), (18, 18))),
    *((Kind.DECIMAL, pa.decimal128(*size)) for size in ((18, 9), (19, 2), (38, 37), (38, 10), (1, 1))),
    (Kind.FLOAT, pa.float32()),
    (Kind.FLOAT, pa.float64()),
    (Kind.BOOLEAN, pa.bool_()),
    (Kind.DATE, pa.date32()),
    (Kind.DATETIME, NAIVE),
    (Kind.DATETIME, INSTANT),
    (Kind.TIME, pa.time64("us")),
    (Kind.TIME, INT64),
    (Kind.TEXT, pa.string()),
    (Kind.JSON, pa.string()),
    (Kind.BYTES, pa.binary()),
]
COLUMNS = [Column("c", "c", kind, type_, "c", kind is Kind.JSON) for kind, type_ in TYPES]
COLUMNS += [
    Column("c", "c", kind, pa.string(), "c", as_text=type_) for kind, type_ in TYPES if kind is not Kind.BYTES
]

NUMBERS = [
    sign + str(2**bits + off)
    for bits in (7, 8, 15, 16, 31, 32, 63, 64)
    for off in (-1, 0, 1)
    for sign in ("", "-")
]
NUMBERS += [
    sign + "9" * digits + rest
    for digits in (1, 2, 8, 9, 16, 17, 19, 20, 21, 28, 36, 38, 39)
    for sign in ("", "-")
    for rest in ("", ".0", ".00", ".99", ".25" + "0" * 35, "." + "9" * 9, "." + "9" * 18, "." + "9" * 37)
]
NUMBERS += [
    "",
    "0",
    "-0",
    "00",
    "2",
    "+1",
    " 1",
    "1 ",
    "-",
    ".",
    "1.",
    ".5",
    "-.5",
    "1e5",
    "1.5E-7",
    "1e400",
    "-1e400",
    "1.2.3",
    "1-2",
    "--1",
    "1.23e-400",
    "5e-324",
    "2e-324",
    "1.7976931348623157e308",
    "0.1",
    "-0.00",
    "0.30000000000000004",
    "000000000000000000000000000000000000000000001.50",
    "inf",
    "nan",
    "0x10",
    "1_0",
    "１",
    "16777217",
    "3.4028236e38",
]
DAYS = [
    "2024-02-29",
    "2023-02-29",
    "0000-00-00",
    "2024-02-00",
    "2024-00-10",
    "0000-01-01",
    "0000-12-31",
    "0001-01-01",
    "9999-12-31",
    "1582-10-10",
    "1969-12-31",
    "1970-01-01",
    "2024-13-01",
    "2024-12-32",
    "2024-99-99",
    "2024-1-01",
    "2024/01/01",
    "202a-01-01",
    "2024-01-0a",
    "2024-01-011",
    "99999-01-01",
    "1900-02-29",
    "2000-02-29",
]
CLOCKS = [
    "00:00:00",
    "23:59:59",
    "24:00:00",
    "12:60:00",
    "12:00:60",
    "12:00:00.",
    "12:00:00.5",
    "12:00:00.123456",
    "23:59:59.999999",
    "12:00:00.1234567",
    "12:00:00.a",
    "12-00:00",
    "12:00:0",
    "99:99:99",
    "1a:00:00",
    "12:00:00,5",
    "-00:00:00",
    "-00:00:00.5",
    ":00:00:00",
    "00:00:00:",
    "12:34:56.",
    "112:34:56.5",
    "-12:34:56.123456",
    "a12:34:56",
    "-00:00:01",
    "838:59:59",
    "-838:59:59.999999",
    "1:00:00",
    "0838:00:00",
]
TIMES = [f"{day}{gap}{clock}" for day in DAYS for clock in CLOCKS for gap in (" ", "T")]
TEXTS = [
    "é",
    "😀",
    "a" * 300,
    "\x00",
    "null",
    '[1, {"a": null}]',
    '{"a": 1e400}',
    "[1,]",
    '"\\ud800"',
    "[" * 3000,
    "12345678",
    "x" * 70_000,
]
BYTES = [b"\xff", b"ok\xc3", b"\xed\xa0\x80", b"\xfb", b"\xf0\x9f\x98", b'"\xff"', b"\xfe\x00\x00\x02\x00"]
EDGES = sorted({text.encode() for text in (*NUMBERS, *DAYS, *CLOCKS, *TIMES, *TEXTS)} | set(BYTES))


def both(columns: list[Column], page):
    """What the fast way gives; it is what the plain way gives."""
    found, plain = Decoder(columns).decode(page), Rows(columns).decode(page)
    assert bits(found) == bits(plain)
    return found


def paged(columns: int, rows: list[bytes], steps=(), **how):
    return list(pages(Packets(**how), answer([f"c{i}" for i in range(columns)], rows), steps))


@pytest.mark.parametrize("column", COLUMNS, ids=lambda c: f"{c.kind.value}-{c.type}-{c.as_text}")
def test_every_edge_is_the_same_value_in_every_type_alone_and_among_others(column):
    """Alone: a page of it and a NULL. Among others: all edges in a page, so that unusual rows leave the rest."""
    for raw in (*EDGES[::15], *BYTES):
        [page] = paged(1, [row(raw), row(None)])
        both([column], page)
    [page] = paged(1, [row(raw) for raw in EDGES for _ in range(2)], page_bytes=1 << 24)
    both([column], page)
    assert len(page) == 2 * len(EDGES)


usual = st.one_of(
    st.sampled_from(EDGES),
    st.binary(max_size=12),
    st.integers(-(2**65), 2**65).map(lambda n: str(n).encode()),
    st.decimals(allow_nan=False, allow_infinity=False, places=2).map(lambda n: f"{n:f}".encode()),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda n: repr(n).encode()),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda n: repr(n).encode()),
    st.dates().map(lambda d: d.isoformat().encode()),
    st.datetimes().map(lambda d: d.isoformat(" ").encode()),
    st.times().map(lambda t: t.isoformat().encode()),
    st.text(max_size=20).map(lambda t: t.encode("utf-8", "surrogatepass")),
)
cell = st.tuples(st.none() | usual, st.sampled_from([1, 1, 1, 2, 3, 8])).map(lambda found: value(*found))


@st.composite
def results(draw):
    """Columns, rows for them, and how they come: sizes of a page and of what a socket gives."""
    columns = draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=6))
    columns = [Column(f"c{i}", f"c{i}", c.kind, c.type, "", c.json, c.as_text) for i, c in enumerate(columns)]
    rows = draw(st.lists(st.lists(cell, min_size=len(columns), max_size=len(columns)).map(b"".join), max_size=20))
    steps = draw(st.lists(st.integers(1, 300), max_size=4))
    how = {"page_bytes": draw(st.integers(1, 4_000)), "page_rows": draw(st.integers(1, 8))}
    return columns, rows, steps, how


@given(results(), st.booleans())
@settings(max_examples=200)
def test_whatever_comes_is_the_same_both_ways(result, ends_with_ok):
    columns, rows, steps, how = result
    if ends_with_ok:  # then a short row does not begin like its end, a server sees to that
        rows = [row for row in rows if row[0] != 0xFE]
    names = [column.source for column in columns]
    packets = Packets(ends_with_ok=ends_with_ok, **how)
    found = list(pages(packets, answer(names, rows, OK_END if ends_with_ok else EOF), steps))
    assert packets.is_ended and packets.names == names
    came = [bytes(page.data[a:b]) for page in found for a, b in zip(page.starts, page.ends, strict=True)]
    assert came == rows
    for page in found:
        both(columns, page)


@given(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=3), st.lists(st.binary(max_size=30), max_size=5))
def test_rows_that_are_none_are_an_error_both_ways_or_the_same(columns, rows):
    [page] = paged(len(columns), [b"\x01" + row for row in rows])  # no end, no error
    outcomes = []
    for way in (Decoder(columns), Rows(columns)):
        try:
            outcomes.append(bits(way.decode(page)))
        except OperationalError as error:
            outcomes.append([error.args[0]])
    assert outcomes[0] == outcomes[1]


def test_a_value_of_16_mb_and_more_is_whole():
    """Its row takes several packets, and 8 bytes for a length; others are around it."""
    long = random.Random(6).randbytes(LONGEST + 100)
    columns = [Column("a", "a", Kind.INTEGER, pa.int32(), "a"), Column("b", "b", Kind.BYTES, pa.binary(), "b")]
    values = [
        (b"1", b"x"),
        (b"2", long),
        (b"3", long[: LONGEST - 9 - 2]),
        (b"4", long[: LONGEST - 9 - 3]),
        (b"5", None),
    ]
    found = paged(2, [row(*pair) for pair in values])
    got = [
        (n, raw) for page in found for n, raw in zip(*both(columns, page).batch.to_pydict().values(), strict=True)
    ]
    assert got == [(int(number), raw) for number, raw in values]
