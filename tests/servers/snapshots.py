"""Points in time by the server's own interface, for tests that look at them or take them away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers.search import SearchServer


@contextmanager
def none_left_open(server: SearchServer) -> Iterator[None]:
    """Fails if more snapshots are open at the end than at the start; an earlier test may have lost some."""
    before = open_snapshots(server)
    yield
    assert open_snapshots(server) == before, "a snapshot was left open in the server"


def open_snapshots(server: SearchServer) -> int:
    """Snapshots that are open in the server now; on Elasticsearch each counts once per shard.

    OpenSearch's figures never go down for those of an index that was deleted, but it has a list of them.
    """
    if server.release.is_opensearch:
        return len(server.client.call("GET", "/_search/point_in_time/_all")["pits"])
    stats = server.client.call("GET", "/_nodes/stats/indices/search")["nodes"].values()
    return sum(node["indices"]["search"]["open_contexts"] for node in stats)


def open_snapshot(server: SearchServer, index: str) -> str:
    if server.release.is_opensearch:
        return server.client.call("POST", f"/{index}/_search/point_in_time?keep_alive=1m")["pit_id"]
    return server.client.call("POST", f"/{index}/_pit?keep_alive=1m")["id"]


def close_snapshot(server: SearchServer, snapshot: str) -> None:
    if server.release.is_opensearch:
        server.client.call("DELETE", "/_search/point_in_time", {"pit_id": [snapshot]})
    else:
        server.client.call("DELETE", "/_pit", {"id": snapshot})
