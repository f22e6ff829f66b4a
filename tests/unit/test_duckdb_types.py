"""Arrow's values through a stage file, the stage table and the target: exactly, or refused by name."""

from __future__ import annotations

import decimal
from datetime import UTC, date, datetime, time

import duckdb
import pyarrow as pa
import pytest

from loaders.duckdb import types
from loaders.duckdb.types import as_json, duck_type, widens
from state.contract import Contract
from state.errors import ConfigurationError, ContractError
from tests.contract.loader_desk import APPEND, SCHEMA, START, attempt, desk, table
from tests.contract.loader_worlds import DuckDBPlace

D = decimal.Decimal

EXACT = [
    (pa.bool_(), "BOOLEAN", True, "true"),
    (pa.int8(), "TINYINT", -128, "-128"),
    (pa.int64(), "BIGINT", -(2**63), "-9223372036854775808"),
    (pa.uint8(), "UTINYINT", 255, "255"),
    (pa.uint64(), "UBIGINT", 2**64 - 1, "18446744073709551615"),
    (pa.float16(), "FLOAT", 1.5, "1.5"),
    (pa.float64(), "DOUBLE", 41.123456789012345, "41.123456789012344"),
    (pa.float64(), "DOUBLE", float("-inf"), "-inf"),
    (pa.string(), "VARCHAR", "ä\u0000'\"\\N", "ä\u0000'\"\\N"),
    (pa.large_string(), "VARCHAR", "", ""),
    (pa.dictionary(pa.int32(), pa.string()), "VARCHAR", "x", "x"),
    (pa.binary(), "BLOB", b"\x00\xff", "\\x00\\xFF"),
    (pa.binary(2), "BLOB", b"ab", "ab"),
    (pa.date32(), "DATE", date(1, 1, 1), "0001-01-01"),
    (pa.date64(), "DATE", date(9999, 12, 31), "9999-12-31"),
    (pa.time32("ms"), "TIME", time(1, 2, 3, 4000), "01:02:03.004"),
    (pa.time64("us"), "TIME", time(23, 59, 59, 999999), "23:59:59.999999"),
    (pa.timestamp("s"), "TIMESTAMP", datetime(1970, 1, 1), "1970-01-01 00:00:00"),
    (pa.timestamp("us"), "TIMESTAMP", datetime(1, 1, 1, 0, 0, 0, 1), "0001-01-01 00:00:00.000001"),
    (
        pa.timestamp("us", "UTC"),
        "TIMESTAMP WITH TIME ZONE",
        datetime(9999, 12, 31, tzinfo=UTC),
        "9999-12-31 00:00:00+00",
    ),
    (
        pa.timestamp("ms", "Europe/Berlin"),
        "TIMESTAMP WITH TIME ZONE",
        datetime(2025, 7, 1, tzinfo=UTC),
        "2025-07-01 00:00:00+00",
    ),
    (pa.decimal128(38, 10), "DECIMAL(38,10)", D("-1234567890123456789012345678.0123456789"), None),
    (pa.decimal128(5, 2), "DECIMAL(5,2)", D("999.99"), "999.99"),
    (pa.list_(pa.int64()), "BIGINT[]", [1, None, 3], "[1, NULL, 3]"),
    (pa.struct([("a b", pa.int8())]), 'STRUCT("a b" TINYINT)', {"a b": 1}, "{'a b': 1}"),
    (pa.map_(pa.string(), pa.int64()), "MAP(VARCHAR, BIGINT)", [("k", 1)], "{k=1}"),
]


async def through(kind: pa.DataType, value, *, nanoseconds: int | None = None, **settings):
    """The column's type and value in the target, as DuckDB's own text."""
    schema = SCHEMA.append(pa.field("x", kind))
    source = table(schema.remove(4), {"id": "a", "version": 1}, {"id": "b", "version": 1})
    values = pa.array([value, None], kind) if nanoseconds is None else pa.array([nanoseconds, None], kind)
    source = source.append_column(schema.field(4), values)
    async with desk(DuckDBPlace) as d:
        await d.load(d.loader(**settings), attempt(), source, contract=Contract(schema, "at", ("id",)))
        found = d.place.query("SELECT typeof(x) AS kind, CAST(x AS VARCHAR) AS x FROM events ORDER BY id")
    assert found[1]["x"] is None
    return found[0]["kind"], found[0]["x"]


@pytest.mark.parametrize(("kind", "duck", "value", "shown"), EXACT, ids=[str(row[0]) for row in EXACT])
async def test_a_value_comes_through_exactly(kind, duck, value, shown):
    found = await through(kind, value)
    assert found == (duck, str(value) if shown is None else shown)


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
async def test_nanoseconds_are_kept(zone):
    """Also before 1970, and with a zone: the instant in UTC."""
    for nanoseconds, shown in (
        (1_577_836_800_123_456_789, "2020-01-01 00:00:00.123456789"),
        (-1, "1969-12-31 23:59:59.999999999"),
    ):
        found = await through(pa.timestamp("ns", zone), None, nanoseconds=nanoseconds)
        assert found == ("TIMESTAMP_NS", shown)


@pytest.mark.parametrize(
    "kind", [pa.timestamp("ns"), pa.timestamp("us", "UTC"), pa.timestamp("us"), pa.date32()], ids=str
)
@pytest.mark.parametrize("sign", [1, -1])
async def test_what_duckdb_takes_for_infinity_is_refused_by_name(kind, sign):
    edge = sign * (2 ** (kind.bit_width - 1) - 1)
    with pytest.raises(ContractError, match=r"1 values of column x .* infinity"):
        await through(kind, None, nanoseconds=edge)
    _, shown = await through(kind, None, nanoseconds=edge - sign)
    assert "infinity" not in shown


@pytest.mark.parametrize(
    "kind",
    [pa.duration("us"), pa.null(), pa.decimal256(50, 1), pa.decimal128(5, -2), pa.list_(pa.duration("s"))],
)
async def test_what_duckdb_cannot_hold_is_refused_by_name(kind):
    contract = Contract(SCHEMA.append(pa.field("strange", kind)), "at", ("id",))
    async with desk(DuckDBPlace) as d:
        with pytest.raises(ContractError, match="strange") as caught:
            await d.loader().prepare(contract)
    assert caught.value.code == "column_type"


def test_where_duckdb_would_round_nanoseconds_with_a_zone_they_are_refused(monkeypatch):
    monkeypatch.setattr(types, "READS_ZONED_NANOSECONDS", False)
    with pytest.raises(ContractError, match="seen"):
        duck_type("seen", pa.timestamp("ns", "UTC"))
    assert duck_type("seen", pa.timestamp("ns")) == "TIMESTAMP_NS"
    assert duck_type("seen", pa.timestamp("us", "UTC")) == types.ZONED


async def test_append_needs_a_cursor_that_is_a_time():
    contract = Contract(SCHEMA.set(1, pa.field("at", pa.int64())), "at", ())
    async with desk(DuckDBPlace) as d:
        with pytest.raises(ConfigurationError, match="at is BIGINT"):
            await d.loader(**APPEND).prepare(contract)


CURSORS = [
    pa.timestamp("us"),
    pa.timestamp("ns"),
    pa.timestamp("ns", "UTC"),
    pa.timestamp("ms", "UTC"),
    pa.date32(),
]


@pytest.mark.parametrize("kind", CURSORS, ids=str)
async def test_append_replaces_by_a_cursor_of_any_time(kind):
    """The last nanosecond before the end belongs to the window, the end itself does not."""
    schema = SCHEMA.set(1, pa.field("at", kind))
    contract = Contract(schema, "at", ())
    edge = int(START.timestamp()) * 10**9
    instants = [edge, edge + 3600 * 10**9 - 1] if "ns" in str(kind) else [edge, edge]
    ats = pa.array(instants, pa.timestamp("ns")).cast(plain(kind)).cast(kind)
    source = pa.table([["a", "b"], ats, [1, 1], [1, 1]], schema=schema)
    async with desk(DuckDBPlace) as d:
        loader = d.loader(**APPEND)
        first = await d.stage(loader, attempt(1), source, contract=contract)
        await first.merge()
        assert (await first.counts()).target_rows == 2
        counts = (await d.load(loader, attempt(2, number=2), source.slice(1), contract=contract)).counts
        assert (counts.deleted, counts.inserted) == (2, 1)


def plain(kind: pa.DataType) -> pa.DataType:
    """`kind` without its zone, for a cast that keeps the instant."""
    return pa.timestamp(kind.unit) if pa.types.is_timestamp(kind) else kind


@pytest.mark.parametrize(
    ("have", "want", "holds"),
    [
        ("BIGINT", "INTEGER", True),
        ("BIGINT", "UINTEGER", True),
        ("BIGINT", "UBIGINT", False),
        ("UBIGINT", "INTEGER", False),
        ("HUGEINT", "UBIGINT", True),
        ("INTEGER", "BIGINT", False),
        ("DOUBLE", "FLOAT", True),
        ("DOUBLE", "INTEGER", True),
        ("DOUBLE", "BIGINT", False),
        ("FLOAT", "DOUBLE", False),
        ("DECIMAL(10,4)", "DECIMAL(8,2)", True),
        ("DECIMAL(10,4)", "DECIMAL(9,2)", False),
        ("DECIMAL(10,2)", "DECIMAL(9,3)", False),
        ("VARCHAR", "BIGINT", False),
        ("TIMESTAMP_NS", "TIMESTAMP", False),
    ],
)
def test_a_wider_type_holds_a_narrower_one(have, want, holds):
    assert widens(have, want) is holds


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        ("12345678901234567890123456789012345678::HUGEINT", "HUGEINT", "12345678901234567890123456789012345678"),
        ("41.1234567890::DECIMAL(20,10)", "DECIMAL(20,10)", "41.1234567890"),
        ("'NaN'::DOUBLE", "DOUBLE", '"nan"'),
        ("1.5::DOUBLE", "DOUBLE", "1.5"),
        ("TRUE", "BOOLEAN", "true"),
        ("'a\"b'", "VARCHAR", '"a\\"b"'),
        ("DATE '2025-01-01'", "DATE", '"2025-01-01"'),
        ("NULL::VARCHAR", "VARCHAR", None),
    ],
)
def test_a_value_as_json_keeps_its_digits(value, kind, text):
    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT {as_json(value, kind)}").fetchone() == (text,)


def test_a_type_names_the_column_inside_a_struct():
    with pytest.raises(ContractError, match=r"a\.b"):
        duck_type("a", pa.struct([("b", pa.duration("s"))]))
