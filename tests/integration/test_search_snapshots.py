"""What a snapshot holds in the server is given back: on success, on failure, on cancellation (E-5)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from state.errors import SluicewayError
from state.model import SnapshotKind
from tests.integration.source import DAY, HOUR, PROPERTIES, events, read, reader
from tests.servers.proxy import FaultProxy, answer, page, stall
from tests.servers.snapshots import close_snapshot, none_left_open, open_snapshot, open_snapshots


@pytest.fixture(scope="module")
def index(server) -> str:
    name = server.client.new_index(PROPERTIES, shards=2)
    server.client.put(name, events(300))
    return name


@pytest.fixture(autouse=True)
def given_back(server) -> Iterator[None]:
    """What every test of this module shows."""
    with none_left_open(server):
        yield


async def test_a_snapshot_is_open_while_it_is_read_and_given_back_after_it_e5(server, index):
    before = open_snapshots(server)
    async with reader(server.url, index, page_rows=37) as source:
        await source.contract()
        async with source.open(DAY) as snapshot, aclosing(snapshot.batches()) as batches:
            await anext(batches)
            assert open_snapshots(server) > before
            assert snapshot.kind is SnapshotKind.PIT
            rest = [batch async for batch in batches]
        assert rest


async def test_a_snapshot_that_is_left_in_the_middle_is_given_back_e5(server, index):
    async with reader(server.url, index, page_rows=37) as source:
        await source.contract()
        async with source.open(DAY) as snapshot, aclosing(snapshot.batches()) as batches:
            await anext(batches)


async def test_a_snapshot_whose_page_failed_is_given_back_e5(server, index):
    with FaultProxy(server.url) as proxy:
        proxy.on(page, answer(503), nth=3, times=math.inf)
        async with reader(proxy.url, index, page_rows=37) as source:
            with pytest.raises(SluicewayError):
                await read(source)
        assert len(proxy.seen(page)) >= 3


async def test_a_snapshot_whose_reader_was_cancelled_is_given_back_e5(server, index):
    before = open_snapshots(server)
    with FaultProxy(server.url) as proxy:
        proxy.on(page, stall, nth=3)
        async with reader(proxy.url, index, page_rows=37) as source:
            task = asyncio.create_task(read(source))
            await asyncio.to_thread(proxy.wait, page, 3)
            assert open_snapshots(server) > before
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_parts_that_are_read_at_the_same_time_are_complete_and_given_back_e5_e7(server, index):
    with FaultProxy(server.url) as proxy:
        async with reader(proxy.url, index, page_rows=20) as source:
            parts = await source.plan(DAY, 60)
            assert len(parts) > 3
            await source.contract()
            got = await asyncio.gather(*(read(source, part) for part in parts))
    assert sorted(name for one in got for name in one.ids) == sorted(events(300))
    assert (
        len({request.body["pit"]["id"] for request in proxy.seen(page)}) <= 2
    )  # one of its own per shard at most


async def test_the_snapshot_does_not_see_what_is_written_after_it(server):
    index = server.client.new_index(PROPERTIES, shards=2)
    server.client.put(index, events(60))
    async with reader(server.url, index, page_rows=37) as source:
        await source.contract()
        async with source.open(HOUR) as snapshot, aclosing(snapshot.batches()) as batches:
            rows = (await anext(batches)).num_rows
            server.client.put(index, {"late": {"at": "2025-11-15T00:30:00Z", "n": 1}})
            rows += sum([batch.num_rows async for batch in batches])
            assert rows == snapshot.count == 60
        assert await source.count(HOUR) == 61


async def test_a_closed_reader_may_be_closed_again(server, index):
    async with reader(server.url, index) as source:
        await read(source)
        await source.aclose()


def test_the_servers_own_figures_tell_an_open_snapshot_from_none(server, index):
    """The measure of this module, held against a snapshot that a test opened itself."""
    before = open_snapshots(server)
    snapshot = open_snapshot(server, index)
    assert open_snapshots(server) > before
    close_snapshot(server, snapshot)
    assert open_snapshots(server) == before
