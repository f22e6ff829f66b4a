"""Every document once, by each way of paging that the connector may choose (E-1, E-4, E-7, E-8, E-9).

All documents have one timestamp, so only the order inside a snapshot tells them apart; pages and shards are many.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from osmem_server import OsmemServer

from state.errors import ConfigurationError
from tests.integration.source import DAY, PROPERTIES, events, read, reader
from tests.servers.client import Client
from tests.servers.farm import releases
from tests.servers.proxy import FaultProxy, Request, answer, page
from tests.servers.search import OS2

SHARDS = 3
AT_ONCE = timedelta(0)
OPENSEARCH = [release for release in releases() if release.is_opensearch]
BY_SHARD_DOC = [release for release in releases() if release != OS2]


@pytest.fixture(scope="module")
def in_memory() -> Iterator[Client]:
    """osmem-server: an imitation, which sorts by `_shard_doc` and ignores the shard preference."""
    with OsmemServer.start() as imitation:
        client = Client(imitation.url)
        yield client
        client.close()
    imitation.process.stdout.close()


def names_shard_doc(request: Request) -> bool:
    return "_shard_doc" in str((request.body or {}).get("sort"))


def opens_snapshot(request: Request) -> bool:
    return request.method == "POST" and request.path.endswith(("/_pit", "/_search/point_in_time"))


def refuse_shard_doc(proxy: FaultProxy) -> None:
    """As OpenSearch 2 does: the per-shard way is all that is left."""
    cause = {"type": "query_shard_exception", "reason": "No mapping found for [_shard_doc] in order to sort on"}
    error = {"type": "search_phase_execution_exception", "reason": "all shards failed", "root_cause": [cause]}
    proxy.on(names_shard_doc, answer(400, {"error": error, "status": 400}), times=math.inf)


def filled(client: Client, count: int) -> str:
    index = client.new_index(PROPERTIES, shards=SHARDS)
    client.put(index, events(count, AT_ONCE))
    return index


def preferences(proxy: FaultProxy) -> set[str]:
    return {request.query.get("preference", "") for request in proxy.seen(opens_snapshot)}


async def test_1001_documents_of_one_instant_in_pages_of_37_come_once_each_e8(server):
    index = filled(server.client, 1001)
    with FaultProxy(server.url) as proxy:
        async with reader(proxy.url, index, page_rows=37) as source:
            got = await read(source)
    assert sorted(got.ids) == sorted(events(1001))
    assert got.count == 1001
    assert len(proxy.seen(page)) > 1001 // 37


@pytest.mark.parametrize("server", OPENSEARCH, indirect=True, ids=str)
async def test_where_shard_doc_is_not_known_each_shard_has_a_snapshot_of_its_own_e8(server):
    """OpenSearch 2 refuses it itself; a newer one is made to."""
    index = filled(server.client, 1001)
    with FaultProxy(server.url) as proxy:
        refuse_shard_doc(proxy)
        async with reader(proxy.url, index, page_rows=37) as source:
            got = await read(source)
    assert sorted(got.ids) == sorted(events(1001))
    assert {f"_shards:{number}" for number in range(SHARDS)} <= preferences(proxy)


@pytest.mark.parametrize("server", BY_SHARD_DOC, indirect=True, ids=str)
async def test_where_shard_doc_is_known_one_snapshot_is_enough_and_its_order_is_shard_doc_e1_e7(server):
    index = filled(server.client, 200)
    with FaultProxy(server.url) as proxy:
        async with reader(proxy.url, index, page_rows=37) as source:
            got = await read(source)
    assert sorted(got.ids) == sorted(events(200))
    assert all(names_shard_doc(request) for request in proxy.seen(page))
    assert preferences(proxy) == {""}
    assert len(proxy.seen(opens_snapshot)) == 1


@pytest.mark.parametrize("server", BY_SHARD_DOC, indirect=True, ids=str)
@pytest.mark.parametrize("slices", [2, SHARDS + 1])
async def test_slices_of_one_snapshot_hold_each_document_once_e7(server, slices):
    index = filled(server.client, 1001)
    with FaultProxy(server.url) as proxy:
        async with reader(proxy.url, index, page_rows=37, slices=slices) as source:
            got = await read(source)
    assert sorted(got.ids) == sorted(events(1001))
    assert got.count == 1001
    pages = [request.body["slice"] for request in proxy.seen(page)]
    assert {cut["id"] for cut in pages} == set(range(min(slices, SHARDS)))
    assert {cut["max"] for cut in pages} == {min(slices, SHARDS)}
    assert len(proxy.seen(opens_snapshot)) == 1


async def test_10000_documents_of_one_instant_over_page_edges_all_come_row21_e8(server):
    index = filled(server.client, 10_000)
    async with reader(server.url, index, page_rows=999) as source:
        got = await read(source)
        assert await source.count(DAY) == 10_000
    assert sorted(got.ids) == sorted(events(10_000))


async def test_scroll_is_never_used_row20_e9(server):
    index = filled(server.client, 200)
    with FaultProxy(server.url) as proxy:
        async with reader(proxy.url, index, page_rows=37) as source:
            await source.check()
            await source.plan(DAY, 50)
            await read(source)
    assert proxy.seen(page)
    assert not [request for request in proxy.requests if "scroll" in request.path or "scroll" in request.query]


async def test_a_server_that_ignores_the_shard_preference_is_not_paged_by_shard_e8(in_memory):
    """Each shard would return everything: the probe counts, and refuses that way with the reason."""
    index = filled(in_memory, 300)
    with FaultProxy(in_memory.url) as proxy:
        refuse_shard_doc(proxy)
        async with reader(proxy.url, index) as source:
            with pytest.raises(ConfigurationError, match="shard"):
                await read(source)


async def test_the_same_server_is_paged_by_shard_doc(in_memory):
    index = filled(in_memory, 300)
    async with reader(in_memory.url, index, page_rows=37) as source:
        got = await read(source)
    assert sorted(got.ids) == sorted(events(300))


async def test_several_indices_of_one_instant_come_once_each_e8(server):
    """OpenSearch 3 numbers `_shard_doc` anew in each index."""
    prefix = f"several{uuid4().hex[:8]}"
    for name in ("a", "b"):
        index = server.client.new_index(PROPERTIES, shards=SHARDS, name=f"{prefix}-{name}")
        server.client.put(index, {f"{name}{key}": document for key, document in events(500, AT_ONCE).items()})
    async with reader(server.url, f"{prefix}-*", page_rows=37) as source:
        got = await read(source)
    assert sorted(got.ids) == sorted(f"{name}{key}" for name in ("a", "b") for key in events(500))


async def test_pages_are_bounded_by_bytes_too_e12(server):
    """Documents of 20 KB and pages of 100 KB: a first page to learn from, then a few documents at a time."""
    index = server.client.new_index(
        {**PROPERTIES, "text": {"type": "keyword", "index": False, "doc_values": False}}
    )
    documents = {name: {**document, "text": "x" * 20_000} for name, document in events(250).items()}
    server.client.put(index, documents)
    with FaultProxy(server.url) as proxy:
        async with reader(proxy.url, index, page_bytes=100_000) as source:
            got = await read(source)
    assert sorted(got.ids) == sorted(documents)
    sizes = [request.body["size"] for request in proxy.seen(page)]
    assert max(sizes[2:]) <= 5
