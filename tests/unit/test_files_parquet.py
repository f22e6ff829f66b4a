"""Parquet as a source: its own declaration, all files alike, counted by the cursor and read by row groups."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors import batches
from connectors.files import parquet
from connectors.files.connector import FilesConnector
from connectors.files.listing import SourceFile
from connectors.files.parquet import row_groups
from state.errors import ConfigurationError, ContractError
from state.model import Window
from tests.unit.files import DAY, MICROSECOND, START, contract, read, read_with, settings, using

UTC_MICROS = pa.timestamp("us", "UTC")


def rows(count: int, at: pa.DataType = UTC_MICROS, every: timedelta = timedelta(minutes=1), **columns) -> pa.Table:
    instants = pa.array([START + every * n for n in range(count)], UTC_MICROS)
    return pa.table({"at": instants.cast(at), "id": pa.array(range(count), pa.int64()), **columns})


def put(folder: Path, table: pa.Table, name: str = "a", **given):
    pq.write_table(table, folder / f"{name}.parquet", **given)
    return settings(folder / "*.parquet")


HELD = [
    (pa.bool_(), True, None),
    (pa.int8(), -128, None),
    (pa.uint64(), 2**64 - 1, None),
    (pa.float32(), 0.5, None),
    (pa.float64(), 0.1, None),
    (pa.decimal128(38, 2), Decimal("9" * 36 + ".25"), None),
    (pa.date32(), date(2025, 2, 28), None),
    (pa.date64(), date(2025, 2, 28), pa.date32()),
    (pa.time64("us"), datetime(2025, 1, 1, 1, 2, 3, 4).time(), None),
    (pa.string(), "ä", None),
    (pa.large_string(), "ä", pa.string()),
    (pa.dictionary(pa.int32(), pa.string()), "ä", pa.string()),
    (pa.binary(), b"\xff", None),
    (pa.large_binary(), b"\xff", pa.binary()),
    (pa.binary(2), b"\xff\x00", pa.binary()),
    (pa.float16(), 0.5, pa.float32()),
    (pa.list_(pa.int64()), [1, None], None),
    (pa.list_(pa.large_string(), 2), ["a", "b"], pa.list_(pa.string())),
    (pa.struct([("a", pa.int64()), ("b.c", pa.list_(pa.string()))]), {"a": 1, "b.c": ["x"]}, None),
    (pa.map_(pa.string(), pa.float64()), [("a", 0.1)], None),
    (pa.timestamp("ns"), datetime(2025, 1, 1, 1, 2, 3, 4), None),
    (pa.timestamp("ms", "Europe/Berlin"), START, pa.timestamp("ms", "UTC")),
]


@pytest.mark.parametrize(("type_", "value", "held"), HELD, ids=str)
def test_types_that_a_target_holds_are_kept_exactly(tmp_path, type_, value, held):
    given = put(tmp_path, rows(2, v=pa.array([value, None], type_)))
    table = read(given)
    assert table.schema.field("v").type == (held or type_)
    assert table["v"].to_pylist() == [value, None]


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (pa.list_(pa.null()), [None]),
        (pa.struct([("a", pa.duration("us"))]), {"a": timedelta(1)}),
        (pa.decimal256(50, 0), Decimal(1)),
        (pa.null(), None),
        (pa.duration("us"), timedelta(1)),
        (pa.map_(pa.string(), pa.decimal256(40, 0)), [("a", Decimal(1))]),
    ],
    ids=str,
)
def test_a_type_that_no_target_holds_is_refused_by_name_unless_excluded(tmp_path, type_, value):
    given = put(tmp_path, rows(1, odd=pa.array([value], type_)))
    with pytest.raises(ContractError, match=r"column 'odd' of .*a\.parquet is ") as caught:
        contract(given)
    assert "source_system.exclude" in caught.value.hint
    assert read(given.model_copy(update={"exclude": ("odd",)})).column_names == ["at", "id"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"n": pa.array([1])}, "b.parquet lacks column 'v', which .*a.parquet has"),
        ({"v": pa.array(["x"]), "n": pa.array([1])}, "b.parquet has column 'n', which .*a.parquet lacks"),
        ({"v": pa.array([1])}, "column 'v' is int64 in .*b.parquet and string in .*a.parquet"),
    ],
)
def test_files_that_differ_are_refused_by_file_and_column(tmp_path, other, words):
    given = put(tmp_path, rows(1, v=pa.array(["x"])))
    put(tmp_path, rows(1, **other), "b")
    with pytest.raises(ContractError, match=words):
        contract(given)


def test_a_file_that_came_after_the_contract_must_agree_too(tmp_path):
    given = put(tmp_path, rows(1))

    async def act(connector: FilesConnector):
        await connector.contract()
        put(tmp_path, rows(1, v=pa.array(["x"])), "b")
        await read_with(connector)

    with pytest.raises(ContractError, match=r"b\.parquet has column 'v'"):
        using(given, act)


def test_columns_are_read_by_name_in_the_order_of_the_first_file(tmp_path):
    given = put(tmp_path, rows(1))
    put(tmp_path, rows(1).select(["id", "at"]), "b")
    assert read(given).to_pylist() == rows(1).to_pylist() * 2


@pytest.mark.parametrize(
    "type_",
    [
        UTC_MICROS,
        pa.timestamp("us"),
        pa.timestamp("ms"),
        pa.timestamp("ns", "UTC"),
        pa.timestamp("s"),
        pa.timestamp("us", "America/New_York"),
        pa.date32(),
    ],
    ids=str,
)
def test_a_cursor_of_any_unit_is_compared_exactly(tmp_path, type_):
    """An instant without a zone is UTC; a date is its first instant."""
    every = timedelta(days=1) if type_ == pa.date32() else timedelta(seconds=1)
    given = put(tmp_path, rows(10, type_, every), row_group_size=3)
    assert read(given).num_rows == 10

    def ids(start, end):
        return read(given, Window(start, end))["id"].to_pylist()

    third, fifth = START + 3 * every, START + 5 * every
    assert ids(third, fifth) == [3, 4]
    assert ids(third + MICROSECOND, fifth + MICROSECOND) == [4, 5]
    assert ids(third - MICROSECOND, fifth - MICROSECOND) == [3, 4]
    assert ids(third, third + MICROSECOND) == [3]
    if pa.types.is_timestamp(type_):
        assert contract(given).schema.field("at").type.tz == "UTC"


def test_nanoseconds_between_two_microseconds_belong_to_the_earlier_also_before_1970(tmp_path):
    counts = [-1_001, -1_000, -999, -1, 0, 999, 1_000]
    table = pa.table(
        {"at": pa.array(counts, pa.int64()).cast(pa.timestamp("ns", "UTC")), "id": pa.array(range(7))}
    )
    given = put(tmp_path, table)
    epoch = datetime.fromtimestamp(0, START.tzinfo)
    spans = [Window(epoch + MICROSECOND * n, epoch + MICROSECOND * (n + 1)) for n in range(-2, 2)]
    assert [read(given, span)["id"].to_pylist() for span in spans] == [[0], [1, 2, 3], [4, 5], [6]]

    async def act(connector: FilesConnector):
        return await connector.plan(Window(epoch - 5 * MICROSECOND, epoch + 5 * MICROSECOND), 2)

    assert [part.start - epoch for part in using(given, act)][1:] == [-MICROSECOND, 0 * MICROSECOND, MICROSECOND]


def test_row_groups_that_hold_nothing_of_the_span_are_not_read(tmp_path):
    put(tmp_path, rows(100), row_group_size=10)
    file = SourceFile.at(str(tmp_path / "a.parquet"))
    assert row_groups(file, "at", Window(START + timedelta(minutes=35), START + timedelta(minutes=50))) == [3, 4]


def test_statistics_that_lie_make_a_part_with_too_few_rows_and_not_a_loss(tmp_path, monkeypatch):
    """The count comes from the values themselves, so the two disagree and the part is not taken."""
    given = put(tmp_path, rows(20), row_group_size=10)
    monkeypatch.setattr(parquet, "row_groups", lambda *_: [0])

    async def act(connector: FilesConnector):
        async with connector.open(DAY) as snapshot:
            return snapshot.count, sum([batch.num_rows async for batch in snapshot.batches()])

    assert using(given, act) == (20, 10)


def test_batches_are_bounded_where_values_repeat(tmp_path):
    """A dictionary makes a row group small on disk and large in memory."""
    given = put(tmp_path, rows(60_000, every=MICROSECOND, v=pa.array(["x" * 1_000] * 60_000)))

    async def act(connector: FilesConnector):
        async with connector.open(DAY) as snapshot:
            return [(batch.num_rows, batch.nbytes) async for batch in snapshot.batches()]

    sizes = using(given, act)
    assert sum(count for count, _ in sizes) == 60_000
    assert max(size for _, size in sizes) <= 2 * batches.WANTED_BYTES
    assert len(sizes) <= 61_000_000 // batches.WANTED_BYTES + 2


def test_many_thin_pieces_become_few_batches(tmp_path):
    given = put(tmp_path, rows(5_000), row_group_size=10)

    async def act(connector: FilesConnector):
        async with connector.open(DAY) as snapshot:
            return [batch.num_rows async for batch in snapshot.batches()]

    assert using(given, act) == [1440]


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"cursor": "nope"}, "source_system.cursor"),
        ({"cursor": "id"}, "source_system.cursor"),
        ({"key": ("nope",)}, "source_system.key"),
        ({"exclude": ("at",)}, "source_system.cursor"),
    ],
)
def test_a_column_that_is_configured_must_be_there_and_fit(tmp_path, given, path):
    with pytest.raises(ConfigurationError) as caught:
        contract(put(tmp_path, rows(1)).model_copy(update=given))
    assert caught.value.path == path
    assert caught.value.hint


def test_a_column_with_a_name_of_ours_is_refused(tmp_path):
    given = put(tmp_path, rows(1, _sluiceway_read_at=pa.array([1])))
    with pytest.raises(ConfigurationError, match="_sluiceway_read_at"):
        contract(given)
    assert read(given.model_copy(update={"exclude": ("_sluiceway_*",)})).num_rows == 1


def test_names_with_dots_are_names(tmp_path):
    table = rows(1, **{"a": pa.array(["x"]), "a.b": pa.array(["y"]), "at.x": pa.array([None], pa.string())})
    assert read(put(tmp_path, table)).to_pylist() == table.to_pylist()


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    table = pa.table([rows(1)["at"], pa.array([1]), pa.array([2])], names=["at", "v", "v"])
    with pytest.raises(ContractError, match="column 'v' is there twice"):
        contract(put(tmp_path, table))
