"""A search index to Parquet: this reader beside a raw drain and beside what one writes first, in one run.

    python bench/extract.py [documents] [rounds]

Each way is a process of its own against one real Elasticsearch, so that CPU seconds and peak memory are its own.
`drain` decodes nothing: what the server and the wire cost anybody. `rows` is the client library's own scan with
rows made into tables. The ways take turns; the table has the median of the rounds and the ratio to `drain`.
"""

from __future__ import annotations

from service.memory import give_back

give_back()  # first, as in service.__main__

import asyncio  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Awaitable, Callable  # noqa: E402
from datetime import UTC, datetime  # noqa: E402
from pathlib import Path  # noqa: E402

import aiohttp  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from elasticsearch import AsyncElasticsearch  # noqa: E402
from elasticsearch.helpers import async_scan  # noqa: E402

from bench.measuring import Measured, measured, show, tell  # noqa: E402
from connectors.elasticsearch.connector import ElasticsearchConnector  # noqa: E402
from connectors.elasticsearch.settings import ElasticsearchSettings  # noqa: E402
from loaders.parquet import ChunkLimits, ChunkWriter  # noqa: E402
from loaders.spool import Spool  # noqa: E402
from service.parallel import each  # noqa: E402
from state.model import Window  # noqa: E402
from tests.e2e.flights import indexed  # noqa: E402
from tests.servers.search import ES8, SearchServer  # noqa: E402

YEAR = Window(datetime(2013, 1, 1, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC))
ROWS_PER_PART = 500_000
BATCH = 50_000
PAGE = 10_000


async def drain(url: str, index: str, _folder: Path) -> int:
    """Pages as bytes, nothing decoded but the position of the next one."""
    rows, after = 0, None
    async with aiohttp.ClientSession(
        url, headers={"accept-encoding": "identity"}, read_bufsize=1 << 20
    ) as session:
        async with session.post(f"/{index}/_pit?keep_alive=1m") as answer:
            pit = {"id": (await answer.json())["id"]}
        while True:
            body = {"size": PAGE, "sort": [{"_shard_doc": "asc"}], "track_total_hits": False, "pit": pit}
            async with session.post("/_search", json=body | ({"search_after": after} if after else {})) as answer:
                page = await answer.read()
            if not (hits := page.count(b'"sort":[')):
                return rows
            rows += hits
            at = page.rindex(b'"sort":[') + len(b'"sort":')
            after = json.loads(page[at : page.index(b"]", at) + 1])


async def rows(url: str, index: str, folder: Path) -> int:
    """The library's scan; dicts become tables, tables become one file."""
    count, batch, writer = 0, [], None

    def write() -> None:
        nonlocal writer, batch
        table = pa.Table.from_pylist(batch, schema=writer.schema if writer else None)
        writer = writer or pq.ParquetWriter(folder / "rows.parquet", table.schema, compression="zstd")
        writer.write_table(table)
        batch = []

    async with AsyncElasticsearch(url) as client:
        async for hit in async_scan(client, index=index, size=1000):
            batch.append(hit["_source"])
            count += 1
            if len(batch) == BATCH:
                write()
    if batch:
        write()
    if writer:
        writer.close()
    return count


async def sluiceway(url: str, index: str, folder: Path) -> int:
    """Parts counted in their snapshot, exact columns, chunks synced and hashed."""
    settings = ElasticsearchSettings(type="elasticsearch", endpoint=url, index=index, cursor="time_hour")
    connector, spool = ElasticsearchConnector(settings), Spool(folder, 4 << 30)
    spool.open()
    contract, total = await connector.contract(), 0

    async def delivered(_chunk: object, _path: Path) -> None:
        return None

    async def part(span: Window) -> None:
        nonlocal total
        limits = ChunkLimits(bytes=128 << 20, rows=1_000_000)
        prefix = f"bench-{span.start:%m%d%H%M}"
        async with (
            connector.open(span) as snapshot,
            ChunkWriter(spool, contract, prefix, snapshot.read_at, limits=limits, deliver=delivered) as writer,
        ):
            async for batch in snapshot.batches():
                await writer.write(batch)
            chunks = await writer.finish()
            assert sum(chunk.rows for chunk in chunks) == snapshot.count
            total += snapshot.count

    await each(await connector.plan(YEAR, ROWS_PER_PART), 2, part)
    await connector.aclose()
    spool.close()
    return total


WAYS: dict[str, Callable[[str, str, Path], Awaitable[int]]] = {
    "drain": drain,
    "rows": rows,
    "sluiceway": sluiceway,
}


def one(way: str, url: str, index: str) -> None:
    """Body of the measured process."""
    with tempfile.TemporaryDirectory() as folder:
        tell(lambda: asyncio.run(WAYS[way](url, index, Path(folder))))


def main() -> None:
    """Index once, then let the ways take turns."""
    count, rounds = (int(text) for text in (sys.argv[1:] + ["336000", "3"][len(sys.argv) - 1 :]))
    server = SearchServer(ES8).start()
    try:
        index = indexed(server.client, count, shards=4)

        def turn(way: str) -> Measured:
            return measured([sys.executable, "-m", "bench.extract", way, server.url, index], count)

        print(f"{count:,} documents of 18 fields in 4 shards of {ES8}, {rounds} rounds")
        turn("drain")  # warms the server
        found: dict[str, list[Measured]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way, times in found.items():
                times.append(turn(way))
        show(found, "drain")
    finally:
        server.stop()


if __name__ == "__main__":
    one(*sys.argv[1:]) if len(sys.argv) > 1 and sys.argv[1] in WAYS else main()
