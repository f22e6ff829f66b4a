"""A search index to Parquet: this reader beside a raw drain and beside what one writes first, in one run.

    python -m bench.extract [documents] [rounds] [rows per part]

Each way is a process of its own against one real Elasticsearch, so that CPU seconds and peak memory are its own.
`drain` makes the same requests as `sluiceway`, as many at a time, and decodes nothing: what the server and the
wire cost anybody. `async_scan` is the client library's own helper with its default size; its dicts become tables
of 50,000 rows. The ways take turns; the tables have the medians of the rounds and ratios to `drain`, and what the
other processes used meanwhile, which is the server if nothing else is at work.
"""

from __future__ import annotations

from service.memory import give_back

give_back()  # first, as in service.__main__

import asyncio  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402
from contextlib import aclosing  # noqa: E402
from datetime import UTC, datetime  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import aiohttp  # noqa: E402
import msgspec  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from elasticsearch import AsyncElasticsearch  # noqa: E402
from elasticsearch.helpers import async_scan  # noqa: E402

from bench.decode import flights  # noqa: E402
from bench.measuring import Measured, markdown, tell, with_lag  # noqa: E402
from connectors.elasticsearch.connector import ElasticsearchConnector  # noqa: E402
from connectors.elasticsearch.settings import ElasticsearchSettings  # noqa: E402
from loaders.parquet import ChunkLimits, ChunkWriter  # noqa: E402
from loaders.spool import Spool  # noqa: E402
from service.memory import settle  # noqa: E402
from service.parallel import each  # noqa: E402
from state.model import Window  # noqa: E402
from tests.e2e.flights import BULK, PROPERTIES  # noqa: E402
from tests.servers.client import Client  # noqa: E402
from tests.servers.search import ES8, SearchServer  # noqa: E402

YEARS = Window(datetime(2013, 1, 1, tzinfo=UTC), datetime(2015, 1, 1, tzinfo=UTC))
"""The last flights of 2013 left on 1 January in UTC."""
DOCUMENTS = 3 * 336_776
SHARDS = 4
PARTS_AT_ONCE = 2
BATCH = 50_000
PAGE = 10_000
MARK = b'"sort":['


class Cores(msgspec.Struct):
    """What the machine did meanwhile: `busy` from 0 to 1; `others`: CPU seconds of all other processes."""

    busy: float
    others: float


def settings_of(url: str, index: str) -> ElasticsearchSettings:
    return ElasticsearchSettings(type="elasticsearch", endpoint=url, index=index, cursor="time_hour")


async def drain(url: str, index: str, _folder: Path, rows_per_part: int) -> int:
    """Pages as bytes, nothing decoded but the position of the next one: the same parts and slices."""
    async with aclosing(ElasticsearchConnector(settings_of(url, index))) as connector:
        parts = await connector.plan(YEARS, rows_per_part)
    rows, slices = 0, settings_of(url, index).slices
    plain = {"accept-encoding": "identity"}
    async with aiohttp.ClientSession(url, headers=plain, read_bufsize=1 << 20) as session:
        async with session.post(f"/{index}/_pit?keep_alive=1m") as answer:
            pit = {"id": (await answer.json())["id"]}

        async def part(span: Window) -> None:
            nonlocal rows
            bounds = {"gte": span.start.isoformat(), "lt": span.end.isoformat()}
            query = {"bool": {"filter": [{"range": {"time_hour": bounds}}]}}
            body = {"size": PAGE, "sort": [{"_shard_doc": "asc"}], "track_total_hits": False, "pit": pit}
            cut = [{"slice": {"id": number, "max": slices}} for number in range(slices)]
            drained = await asyncio.gather(*(_drained(session, body | {"query": query} | one) for one in cut))
            rows += sum(drained)

        await each(parts, PARTS_AT_ONCE, part)
    return rows


async def _drained(session: aiohttp.ClientSession, body: dict[str, object]) -> int:
    """The hits of one slice, page after page."""
    rows, after = 0, None
    while True:
        async with session.post("/_search", json=body | ({"search_after": after} if after else {})) as answer:
            page = await answer.read()
        if not (hits := page.count(MARK)):
            return rows
        rows += hits
        at = page.rindex(MARK) + len(MARK) - 1
        after = json.loads(page[at : page.index(b"]", at) + 1])


async def scan(url: str, index: str, folder: Path, _rows_per_part: int) -> int:
    """The library's scan; dicts become tables, tables become one file."""
    count, batch, writer = 0, [], None

    def write() -> None:
        nonlocal writer, batch
        table = pa.Table.from_pylist(batch, schema=writer.schema if writer else None)
        writer = writer or pq.ParquetWriter(folder / "rows.parquet", table.schema, compression="zstd")
        writer.write_table(table)
        batch = []

    async with AsyncElasticsearch(url) as client:
        async for hit in async_scan(client, index=index):
            batch.append(hit["_source"])
            count += 1
            if len(batch) == BATCH:
                write()
    if batch:
        write()
    if writer:
        writer.close()
    return count


async def sluiceway(url: str, index: str, folder: Path, rows_per_part: int) -> int:
    """Parts counted in their snapshot, exact columns, chunks synced and hashed."""
    connector, spool = ElasticsearchConnector(settings_of(url, index)), Spool(folder, 4 << 30)
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

    await each(await connector.plan(YEARS, rows_per_part), PARTS_AT_ONCE, part)
    await connector.aclose()
    spool.close()
    return total


WAYS: dict[str, Callable[[str, str, Path, int], Coroutine[Any, Any, int]]] = {
    "drain": drain,
    "async_scan": scan,
    "sluiceway": sluiceway,
}


def one(way: str, url: str, index: str, rows_per_part: str) -> None:
    """Body of the measured process: a JSON line about the cores, and one about itself."""
    settle()
    with tempfile.TemporaryDirectory() as folder:
        tell(lambda: _beside_cores(lambda: with_lag(WAYS[way](url, index, Path(folder), int(rows_per_part)))))


def _beside_cores(work: Callable[[], Coroutine[Any, Any, tuple[int, float]]]) -> tuple[int, float]:
    (worked, passed), own = _cores(), time.process_time()
    found = asyncio.run(work())
    (worked_now, passed_now), own_now = _cores(), time.process_time()
    work_done = worked_now - worked
    print(json.dumps([work_done / (passed_now - passed), work_done - (own_now - own)]))
    return found


def _cores() -> tuple[float, float]:
    """CPU seconds of all cores since the machine started: with work, and all."""
    ticks = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    per_second = os.sysconf("SC_CLK_TCK")
    return (sum(ticks) - ticks[3] - ticks[4]) / per_second, sum(ticks) / per_second


def turn(way: str, url: str, index: str, rows_per_part: int, expected: int) -> tuple[Measured, Cores]:
    """One run of a way."""
    command = [sys.executable, "-m", "bench.extract", way, url, index, str(rows_per_part)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    found, cores = Measured(*json.loads(said[-1])), Cores(*json.loads(said[-2]))
    assert found.rows == expected, f"{way} gave {found.rows} of {expected}"
    return found, cores


def bulks(count: int) -> Iterator[str]:
    """The public flights, as often as it takes."""
    texts = [
        json.dumps({name: value for name, value in row.items() if value is not None}) for row in flights(count)
    ]
    lines = [f'{{"index":{{}}}}\n{text}\n' for text in texts]
    for start in range(0, count, BULK):
        yield "".join(lines[row % len(lines)] for row in range(start, min(start + BULK, count)))


def indexed(client: Client, count: int) -> str:
    """A new index of so many flights."""
    index = client.new_index(PROPERTIES, shards=SHARDS, name="flights")
    with ThreadPoolExecutor(1) as sender:  # one is made while one is sent
        sent = [sender.submit(client._bulk, index, body) for body in bulks(count)]
        for each_sent in sent:
            each_sent.result()
    client.refresh(index)
    return index


def show_cores(found: Mapping[str, Sequence[Cores]]) -> None:
    """The rest of the table: medians."""
    print("| way | cores busy | CPU s of others |")
    print("|---|---|---|")
    for way, times in found.items():
        busy, others = (statistics.median(getattr(x, name) for x in times) for name in ("busy", "others"))
        print(f"| {way} | {100 * busy:.0f} % | {others:.2f} |")


def main() -> None:
    """Index once, then let the ways take turns."""
    usual = [str(DOCUMENTS), "7", "2000000"]
    count, rounds, rows_per_part = (int(text) for text in (sys.argv[1:] + usual[len(sys.argv) - 1 :]))
    server = SearchServer(ES8).start()
    try:
        index = indexed(server.client, count)
        print(f"{count:,} documents of {len(PROPERTIES)} fields in {SHARDS} shards of {ES8}, {rounds} rounds")
        turn("drain", server.url, index, rows_per_part, count)  # warms the server
        found: dict[str, list[Measured]] = {way: [] for way in WAYS}
        cores: dict[str, list[Cores]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way in WAYS:
                measured, beside = turn(way, server.url, index, rows_per_part, count)
                found[way].append(measured)
                cores[way].append(beside)
        markdown(found, ["drain"])
        show_cores(cores)
    finally:
        server.stop()


if __name__ == "__main__":
    one(*sys.argv[1:]) if len(sys.argv) > 1 and sys.argv[1] in WAYS else main()
