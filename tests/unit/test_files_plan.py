"""Where a span is cut: parts tile it, hold about what was asked for, and together give every row once."""

from __future__ import annotations

import itertools
import tempfile
from contextlib import aclosing
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.cutting import CELLS, FINER_CELLS, WIDTHS, cut, first_width, next_width
from connectors.files.connector import FilesConnector
from state.model import Window
from tests.contract.connector import rows_at
from tests.contract.connector_worlds import TYPES, WRITERS
from tests.unit import files
from tests.unit.files import MICROSECOND, START, read_with

UNITS = [timedelta(microseconds=1), timedelta(milliseconds=1), timedelta(seconds=1), timedelta(hours=1)]
since_start = st.builds(lambda n, unit: n * unit, st.integers(-40, 40), st.sampled_from(UNITS))
spans = st.tuples(since_start, since_start).filter(lambda edges: edges[0] < edges[1])


def window(edges: tuple[timedelta, timedelta]) -> Window:
    return Window(START + edges[0], START + edges[1])


@pytest.mark.parametrize("format_", WRITERS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    after=st.lists(since_start, max_size=60),
    edges=spans,
    rows_per_part=st.integers(1, 12),
    file_rows=st.integers(1, 30),
)
def test_all_parts_together_give_the_rows_of_the_span_once(format_, after, edges, rows_per_part, file_rows):
    span, rows = window(edges), rows_at(after)
    inside = [at for at in rows["at"].to_pylist() if span.start <= at < span.end]

    async def act(connector: FilesConnector):
        parts = await connector.plan(span, rows_per_part)
        return parts, [await read_with(connector, part) for part in parts], await connector.count(span)

    with tempfile.TemporaryDirectory() as folder:
        for start in range(0, max(1, rows.num_rows), file_rows):
            WRITERS[format_](rows.slice(start, file_rows), Path(folder) / f"{start:03d}.{format_}")
        types = {} if format_ == "parquet" else TYPES
        parts, tables, count = files.using(files.settings(f"{folder}/*", format=format_, types=types), act)
    assert (parts[0].start, parts[-1].end) == (span.start, span.end)
    assert all(a.end == b.start for a, b in itertools.pairwise(parts))
    read = pa.concat_tables(tables)
    ids = {row["id"]: row for row in rows.to_pylist() if span.start <= row["at"] < span.end}
    assert sorted(read["id"].to_pylist()) == sorted(ids)
    assert all(ids[row["id"]] == row for row in read.to_pylist())
    assert count == len(inside)
    for table in tables:
        assert table.num_rows <= rows_per_part or len(set(table["at"].to_pylist())) == 1
    assert len(parts) <= 2 * len(inside) // rows_per_part + 1


@pytest.mark.parametrize(
    "width", [timedelta(microseconds=1), timedelta(hours=1), timedelta(days=366), timedelta(days=36_500)]
)
def test_no_look_counts_too_many_cells(width):
    span = Window(START, START + width)
    cell = first_width(span)
    assert cell == WIDTHS[-1] or width / MICROSECOND <= cell * CELLS
    looks = 1
    while cell > 1:
        finer = next_width(cell)
        assert cell % finer == 0
        assert 1 < cell // finer <= FINER_CELLS
        cell, looks = finer, looks + 1
    assert looks <= 5


def test_a_span_is_cut_where_people_can_read_it():
    day = Window(START, START + timedelta(days=1))
    hours = {3_600_000_000 * hour: 10 for hour in range(24)}
    assert [(part.start.hour, rows) for part, rows in cut(day, hours, 60).items()] == [
        (0, 60),
        (6, 60),
        (12, 60),
        (18, 60),
    ]


def test_a_year_with_a_crowded_microsecond_is_cut_around_it(tmp_path):
    year = Window(datetime(2025, 1, 1, tzinfo=START.tzinfo), datetime(2026, 1, 1, tzinfo=START.tzinfo))
    days = [timedelta(days=n) for n in range(-1, 9)]
    rows = rows_at([*days, MICROSECOND, *[timedelta(0)] * 50])
    WRITERS["parquet"](rows, tmp_path / "a.parquet")

    async def act(connector: FilesConnector):
        return [(part, await connector.count(part)) for part in await connector.plan(year, 10)]

    found = files.using(files.settings(tmp_path), act)
    assert [count for _, count in found] == [1, 51, 9]
    assert found[1][0] == Window(START, START + MICROSECOND)


async def test_an_older_count_is_never_used_for_a_file_that_changed(tmp_path):
    path = tmp_path / "a.parquet"
    WRITERS["parquet"](rows_at([timedelta(0)]), path)
    span = Window(START, START + timedelta(hours=1))
    async with aclosing(FilesConnector(files.settings(tmp_path))) as connector:
        assert await connector.plan(span, 10) == [span]
        assert await connector.count(span) == 1
        WRITERS["parquet"](rows_at([timedelta(0)] * 7), path)
        assert await connector.count(span) == 7
