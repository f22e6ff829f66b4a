"""A MySQL table to Parquet: this reader beside a raw drain and what others do, in one run.

    python -m bench.mysql [rounds] [rounds of rows]

Each way is a process of its own against one MariaDB, so that CPU seconds and peak memory are its own. `drain`
takes every byte from the socket and decodes nothing: what the server and the wire cost anybody. `rows` (aiomysql)
is ten times slower than the others and takes part in the first rounds only. `sluiceway 2` reads two parts side by
side, `sluiceway small` a sixteenth of the rows; `month` and `month 2` a twelfth, as one part and as two. Before
that, the columns of connectorx and ours are compared by hash.
"""

from __future__ import annotations

from service.memory import give_back

give_back()  # first, as in service.__main__

import asyncio  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Mapping  # noqa: E402
from datetime import datetime  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import pymysql  # noqa: E402
from pymysql.constants import COMMAND  # noqa: E402

from bench.measuring import Measured, markdown, measured, tell, with_lag  # noqa: E402
from bench.mysql_flights import FIRST, OURS, PEERS, ROWS, SPACING, USER, flying, peer  # noqa: E402
from connectors.mysql.connector import MysqlConnector  # noqa: E402
from connectors.mysql.settings import MysqlSettings  # noqa: E402
from loaders.parquet import ChunkLimits, ChunkWriter  # noqa: E402
from loaders.spool import Spool  # noqa: E402
from service.parallel import each  # noqa: E402
from state.contract import READ_AT  # noqa: E402
from state.model import Window  # noqa: E402
from tests.integration.column_hash import hashes  # noqa: E402

SMALL, MONTH = ROWS // 16, ROWS // 12
ROOM = 1 << 20
WAYS = {
    "drain": (ROWS, 0),
    "connectorx": (ROWS, 0),
    "dlt": (ROWS, 0),
    "rows": (ROWS, 0),
    "sluiceway": (ROWS, 1),
    "sluiceway 2": (ROWS, 2),
    "sluiceway small": (SMALL, 1),
    "sluiceway month": (MONTH, 1),
    "sluiceway month 2": (MONTH, 2),
}
"""Way → how many rows it reads, and in how many parts at a time where it is ours."""


def drain(place: Mapping[str, Any]) -> int:
    """The answer's bytes, up to the packet that ends it."""
    login = {name: place[name] for name in ("host", "port", "user", "database")}
    room, end = bytearray(ROOM), b""
    with pymysql.connect(**login, password=USER) as connection:
        sql = f"SELECT * FROM flights WHERE updated_at >= '{FIRST.start:%F}' AND updated_at < '{FIRST.end:%F}'"
        connection._execute_command(COMMAND.COM_QUERY, sql)
        view = memoryview(room)
        while not (end[-9:-6] == b"\x05\x00\x00" and end[-5:-4] == b"\xfe"):
            size = connection._sock.recv_into(view)
            end = (end + room[max(size - 9, 0) : size])[-9:]
        connection._rfile = None
    return ROWS


async def read(place: Mapping[str, Any], folder: Path, span: Window, parallel: int) -> int:
    """The worker's way up to the stage: parts counted in their snapshot, exact columns, chunks hashed."""
    settings = MysqlSettings.model_validate({"type": "mysql", "table": "flights", "cursor": "updated_at", **place})
    connector, spool = MysqlConnector(settings), Spool(folder, 4 << 30)
    spool.open()
    contract, total = await connector.contract(), 0

    async def delivered(_chunk: object, path: Path) -> None:
        await asyncio.to_thread(path.rename, path.with_suffix(".kept"))

    async def part(span: Window) -> None:
        nonlocal total
        limits = ChunkLimits(bytes=128 << 20, rows=1_000_000)
        async with (
            connector.open(span) as snapshot,
            ChunkWriter(
                spool, contract, f"{span.start:%m%d%H}", snapshot.read_at, limits=limits, deliver=delivered
            ) as writer,
        ):
            async for batch in snapshot.batches():
                await writer.write(batch)
            chunks = await writer.finish()
            assert sum(chunk.rows for chunk in chunks) == snapshot.count
            total += snapshot.count or 0

    middle = span.start + (span.end - span.start) / 2
    parts = [span] if parallel == 1 else [Window(span.start, middle), Window(middle, span.end)]
    await each(parts, parallel, part)
    await connector.aclose()
    spool.close()
    return total


def span_of(rows: int) -> Window:
    return FIRST if rows == ROWS else Window(FIRST.start, FIRST.start + rows * SPACING)


def one(place: Mapping[str, Any], folder: Path, rows: int, parallel: int) -> None:
    """Body of the measured process of ours, or of the drain."""
    if not parallel:
        tell(lambda: drain(place))
        return
    tell(lambda: asyncio.run(with_lag(read(place, folder, span_of(rows), parallel))))


def command(way: str, place: Mapping[str, Any], folder: Path) -> list[object]:
    rows, parallel = WAYS[way]
    if parallel or way == "drain":
        return [OURS.python(), "-m", "bench.mysql", "--one", json.dumps(place), folder, rows, parallel]
    return peer(way, place, "flights", FIRST, folder)


def turn(way: str, place: Mapping[str, Any]) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        return measured(command(way, place, Path(folder)), WAYS[way][0])


def require_equal(place: Mapping[str, Any]) -> None:
    """connectorx and ours give the same columns, by hash; with the twin tests/integration compares fewer rows."""
    found = {}
    for way in ("connectorx", "sluiceway"):
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            measured(command(way, place, folder), ROWS)
            files = [file for file in folder.iterdir() if file.suffix in (".parquet", ".kept")]
            table = pa.concat_tables([pq.read_table(file, partitioning=None) for file in files])
            found[way] = hashes(table.drop_columns([READ_AT] if READ_AT in table.column_names else []), "id")
    assert found["connectorx"] == found["sluiceway"], f"contents differ: {found}"
    print(f"{len(found['sluiceway'])} columns of {ROWS:,} rows are equal by SHA-256, connectorx's and ours")


def main() -> None:
    """Fill the server once, then let the ways take turns."""
    rounds, of_rows = (int(text) for text in (sys.argv[1:] + ["7", "3"][len(sys.argv) - 1 :]))
    PEERS.python()
    OURS.python()
    with flying() as (_server, place):
        turn("drain", place)  # warms the server
        require_equal(place)
        found: dict[str, list[Measured]] = {way: [] for way in WAYS}
        for number in range(rounds):
            for way, times in found.items():
                if way != "rows" or number < of_rows:
                    times.append(turn(way, place))
        print(f"{ROWS:,} rows of 22 columns, {rounds} rounds at {datetime.now():%F %H:%M}\n")
        markdown(found, ("drain", "connectorx"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(json.loads(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
