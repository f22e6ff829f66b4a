"""The contract of a source on real search servers: the same clauses that the twin and the files keep."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pytest

from connectors.base import Connector
from tests.contract.connector import CLAUSES, Maker
from tests.contract.connector_whole import WITHOUT_CURSOR
from tests.integration.source import reader
from tests.servers.search import SearchServer

PROPERTIES = {
    "id": {"type": "keyword"},
    "at": {"type": "date_nanos"},
    "n": {"type": "long"},
    "note": {"type": "text", "index": False},
}
"""The columns of the contract's rows; `date_nanos`, for a `date` is indexed by milliseconds only."""


@dataclass
class SearchWorld:
    """An index with three shards, read in pages of seven."""

    server: SearchServer
    index: str
    connector: Connector

    async def add(self, rows: pa.Table) -> None:
        documents = {row["id"]: json.dumps(row, default=datetime.isoformat) for row in rows.to_pylist()}
        self.server.client.put(self.index, documents)

    async def lose(self) -> None:
        self.server.client.call("DELETE", f"/{self.index}")

    async def held(self) -> Sequence[str]:
        stats = self.server.client.call("GET", f"/{self.index}/_stats/search")["_all"]["total"]["search"]
        name = "point_in_time_current" if self.server.release.is_opensearch else "open_contexts"
        return ["a point in time"] * stats[name]


def search(server: SearchServer) -> Maker:
    """Worlds of indices of their own on this server."""

    @asynccontextmanager
    async def make(
        rows: pa.Table, cursor: str | None = "at", key: Sequence[str] = ("id",)
    ) -> AsyncIterator[SearchWorld]:
        index = server.client.new_index(PROPERTIES, shards=3)
        async with reader(server.url, index, cursor=cursor, key=list(key), page_rows=7) as connector:
            world = SearchWorld(server, index, connector)
            if rows.num_rows:
                await world.add(rows)
            yield world

    return make


@pytest.mark.parametrize("clause", CLAUSES | WITHOUT_CURSOR)
async def test_search_servers_keep_the_contract(server, clause):
    await (CLAUSES | WITHOUT_CURSOR)[clause](search(server))
