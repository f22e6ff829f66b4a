"""`plan` cuts by the server's own counts: the parts tile the range, and their counts add up."""

from __future__ import annotations

from datetime import timedelta

import pytest

from state.model import Window
from tests.integration.source import DAY, PROPERTIES, T0, iso, read, reader, tiles


@pytest.fixture(scope="module")
def lumpy(server) -> str:
    """600 documents: a burst of 250 in one instant, 50 in one second, 300 over the day; and 7 that lie outside."""
    index = server.client.new_index(PROPERTIES, shards=2)
    noon = T0 + timedelta(hours=12)
    documents = {
        **{f"burst{n}": {"at": iso(noon), "n": n} for n in range(250)},
        **{f"second{n}": {"at": iso(noon + timedelta(hours=2, milliseconds=17 * n)), "n": n} for n in range(50)},
        **{f"day{n}": {"at": iso(T0 + n * timedelta(seconds=287)), "n": n} for n in range(300)},
        **{f"before{n}": {"at": iso(T0 - (n + 1) * timedelta(milliseconds=1)), "n": n} for n in range(4)},
        **{f"after{n}": {"at": iso(DAY.end + n * timedelta(milliseconds=1)), "n": n} for n in range(3)},
        **{f"undated{n}": {"n": n} for n in range(2)},
    }
    server.client.put(index, documents)
    return index


@pytest.mark.parametrize("rows_per_part", [1, 37, 100, 599, 600, 10_000])
async def test_parts_tile_the_range_and_their_counts_add_up(server, lumpy, rows_per_part):
    async with reader(server.url, lumpy) as source:
        parts = await source.plan(DAY, rows_per_part)
        counts = [await source.count(part) for part in parts[:400]]
        assert tiles(DAY, parts)
        assert await source.count(DAY) == 600
        if len(parts) <= 400:
            assert sum(counts) == 600


async def test_no_part_is_much_larger_than_asked_but_an_instant_that_cannot_be_divided(server, lumpy):
    async with reader(server.url, lumpy) as source:
        parts = await source.plan(DAY, 100)
        larger = [(part, rows) for part in parts if (rows := await source.count(part)) > 100]
    [(part, rows)] = larger
    assert rows >= 250
    assert part.width <= timedelta(minutes=30)


async def test_each_document_of_the_range_is_in_exactly_one_part(server, lumpy):
    async with reader(server.url, lumpy, page_rows=50) as source:
        got = [await read(source, part) for part in await source.plan(DAY, 100)]
    names = [name for one in got for name in one.ids]
    assert len(names) == len(set(names)) == 600
    assert not [name for name in names if name.startswith(("before", "after", "undated"))]
    assert all(one.count == len(one.rows) for one in got)


async def test_an_empty_range_is_one_part_without_rows(server, lumpy):
    empty = Window(T0 + timedelta(days=10), T0 + timedelta(days=11))
    async with reader(server.url, lumpy) as source:
        assert list(await source.plan(empty, 100)) == [empty]
        got = await read(source, empty)
    assert (got.rows, got.count) == ([], 0)


async def test_a_query_of_the_operator_counts_and_reads_the_same_rows(server, lumpy):
    where = {"range": {"n": {"gte": 100}}}
    async with reader(server.url, lumpy, where=where) as source:
        parts = await source.plan(DAY, 60)
        counts = [await source.count(part) for part in parts]
        got = await read(source)
    assert sum(counts) == got.count == len(got.rows) == 150 + 200
    assert min(row["n"] for row in got.rows) == 100


async def test_the_bounds_of_a_range_are_exact_to_the_microsecond(server):
    """Half open, in the fineness of date_nanos."""
    index = server.client.new_index({"at": {"type": "date_nanos"}, "n": {"type": "long"}})
    at = {
        "a": "00:00:01.000000999",
        "b": "00:00:01.000001000",
        "c": "00:00:01.000001999",
        "d": "00:00:01.000002000",
    }
    server.client.put(index, {name: {"at": f"2025-11-15T{time}Z", "n": 1} for name, time in at.items()})
    span = Window(T0 + timedelta(seconds=1, microseconds=1), T0 + timedelta(seconds=1, microseconds=2))
    async with reader(server.url, index) as source:
        got = await read(source, span)
        assert await source.count(span) == 2
    assert sorted(got.ids) == ["b", "c"]


async def test_the_clock_is_the_servers_own(server):
    index = server.client.new_index(PROPERTIES)
    async with reader(server.url, index) as source:
        now = await source.now()
    [told] = server.client.call("GET", "/_nodes/stats/os")["nodes"].values()
    assert abs(now.timestamp() * 1000 - told["timestamp"]) < 60_000
    assert now.utcoffset() == timedelta(0)
