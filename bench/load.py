"""Staged Parquet to a merged table in Snowflake: this loader beside an expert's script and dlt, in one run.

    python bench/load.py [rounds] [years]

Each way is a process of its own against the Snowflake test server, in a fresh database each time, so that CPU
seconds and peak memory are the client's own; the server's work is the same engine for all, which is not
Snowflake's: read the client's columns, and the wall as what is added to it. `expert` is what one writes first,
PUT, COPY, MERGE with the synchronous connector and no checks; `dlt` (upsert) runs in an environment of its own.
"""

from __future__ import annotations

from service.memory import give_back

give_back()  # first, as in service.__main__

import asyncio  # noqa: E402
import hashlib  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from contextlib import aclosing  # noqa: E402
from datetime import UTC, datetime  # noqa: E402
from pathlib import Path  # noqa: E402

import pyarrow as pa  # noqa: E402
import pyarrow.compute as pc  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import snowflake.connector  # noqa: E402

from bench.measuring import Measured, measured, show, tell  # noqa: E402
from loaders.snowflake.loader import SnowflakeLoader  # noqa: E402
from loaders.snowflake.settings import SnowflakeStage, SnowflakeTarget  # noqa: E402
from service.demo.flights import CURSOR, KEY, read_flights  # noqa: E402
from state.contract import READ_AT, Contract  # noqa: E402
from state.model import Attempt, Chunk, Manifest, Part, RunId, Window, run_name  # noqa: E402
from state.snowflake.session import Account  # noqa: E402
from tests.contract.drive_snowflake import settings  # noqa: E402
from tests.servers.environments import Environment  # noqa: E402
from tests.snowflake.running import Place, SnowflakeServer  # noqa: E402

DLT = Environment("dlt", ("dlt[snowflake,parquet]==1.31.0", "snowflake-connector-python==5.2.0"))
SPAN = Window(datetime(2013, 1, 1, tzinfo=UTC), datetime(2033, 1, 1, tzinfo=UTC))
READ = datetime(2033, 1, 2, tzinfo=UTC)


def staged(folder: Path, years: int) -> int:
    """The flights of 2013, `years` times with keys of their own, one file each; returns the rows."""
    flights = read_flights()
    at = pa.field(READ_AT, pa.timestamp("us", "UTC"), nullable=False)
    for year in range(years):
        keys = pc.binary_join_element_wise(flights[KEY], pa.scalar(str(year)), "-")
        table = flights.set_column(0, KEY, keys)
        table = table.append_column(at, pa.array([READ] * table.num_rows, at.type))
        pq.write_table(table, folder / f"y{year}.parquet", compression="zstd")
    return flights.num_rows * years


def chunk_of(file: Path, run: RunId) -> Chunk:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    rows = pq.read_metadata(file).num_rows
    return Chunk(f"bench/{run.hash}/{file.name}", rows, file.stat().st_size, digest)


async def load(port: int, database: str, files: Sequence[Path]) -> int:
    """Fence, PUT with what was put compared, COPY with every file's rows compared, merge with all counts."""
    run = RunId("bench", "bench", SPAN, 1)
    attempt = Attempt(run, run_name("bench", SPAN, 1, scheduled=False), 1)
    schema = pq.read_schema(files[0])
    contract = Contract(pa.schema([field for field in schema if field.name != READ_AT]), CURSOR, (KEY,))
    chunks = tuple(chunk_of(file, run) for file in files)
    manifest = Manifest((Part(SPAN, chunks, rows_read=sum(chunk.rows for chunk in chunks)),), contract.digest)
    target = SnowflakeTarget(type="snowflake", table=f"{database}.S.FLIGHTS", key=(KEY,))
    stage = SnowflakeStage(stage=f"{database}.S.STAGE")
    async with aclosing(Account(settings(connection(port)))) as account:
        loader = SnowflakeLoader(target, stage, account, pipeline="bench", cursor=CURSOR)
        identity = await loader.prepare(contract)
        await loader.raise_fence(attempt)
        puts = (loader.put(attempt, chunk, file) for chunk, file in zip(chunks, files, strict=True))
        await asyncio.gather(*puts)
        copied = await loader.copy(attempt, manifest, contract)
        await loader.merge(attempt, manifest, contract, copied.table, identity)
        counts = await loader.counts(attempt, manifest, copied.table)
    return counts.target_rows or 0


def sluiceway(port: int, database: str, folder: Path) -> int:
    return asyncio.run(load(port, database, sorted(folder.glob("*.parquet"))))


def expert(port: int, database: str, folder: Path) -> int:
    """No check, no receipt, no guard against older rows."""
    kinds = {"int64": "NUMBER(38,0)", "string": "VARCHAR", "timestamp[us, tz=UTC]": "TIMESTAMP_LTZ"}
    names = {field.name: kinds[str(field.type)] for field in pq.read_schema(next(folder.glob("*.parquet")))}
    columns = ", ".join(f'"{name.upper()}" {kind}' for name, kind in names.items())
    with snowflake.connector.connect(**connection(port), database=database, schema="S") as session:
        ask = session.cursor().execute
        ask(f"CREATE TABLE FLIGHTS ({columns})")
        ask(f"CREATE TABLE FLIGHTS_STAGE ({columns})")
        ask("CREATE STAGE LANDING")
        for file in sorted(folder.glob("*.parquet")):
            ask(f"PUT file://{file} @LANDING AUTO_COMPRESS=FALSE OVERWRITE=TRUE")
        ask(
            "COPY INTO FLIGHTS_STAGE FROM @LANDING FILE_FORMAT=(TYPE=PARQUET USE_VECTORIZED_SCANNER=TRUE)"
            " MATCH_BY_COLUMN_NAME=CASE_INSENSITIVE"
        )
        sets = ", ".join(f't."{name.upper()}" = s."{name.upper()}"' for name in names if name != KEY)
        into = ", ".join(f'"{name.upper()}"' for name in names)
        values = ", ".join(f's."{name.upper()}"' for name in names)
        ask(
            f'MERGE INTO FLIGHTS t USING FLIGHTS_STAGE s ON t."{KEY.upper()}" = s."{KEY.upper()}"'
            f" WHEN MATCHED THEN UPDATE SET {sets} WHEN NOT MATCHED THEN INSERT ({into}) VALUES ({values})"
        )
        return int(ask("SELECT COUNT(*) FROM FLIGHTS").fetchone()[0])


WAYS: dict[str, Callable[[int, str, Path], int]] = {"expert": expert, "sluiceway": sluiceway}
"""Ways in this environment; `dlt` is bench/load_dlt.py in another."""


def connection(port: int) -> dict[str, object]:
    """Keywords of a connection to the test server."""
    server = SnowflakeServer()
    server.port = port
    made = Place(server, "", "").connection
    return {name: value for name, value in made.items() if name not in ("database", "schema")}


def command(way: str, place: Place, folder: Path) -> list[object]:
    """The measured process: this module, or dlt's in its own environment."""
    here = [sys.executable, "-m", "bench.load", way]
    program = here if way in WAYS else [DLT.python(), Path(__file__).with_name("load_dlt.py")]
    return [*program, place.server.port, place.database, folder]


def main() -> None:
    """Write the files once, then let the ways take turns."""
    rounds, years = (int(text) for text in (sys.argv[1:] + ["3", "4"][len(sys.argv) - 1 :]))
    server = SnowflakeServer().start()
    try:
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            count = staged(folder, years)
            size = sum(file.stat().st_size for file in folder.iterdir())
            print(f"{count:,} rows in {years} files of {size / 2**20:.0f} MiB, {rounds} rounds")
            found: dict[str, list[Measured]] = {way: [] for way in ("expert", "dlt", "sluiceway")}
            for _ in range(rounds):
                for way, times in found.items():
                    times.append(measured(command(way, server.place(), folder), count))
            show(found, "expert")
    finally:
        server.stop()


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in WAYS:
        way, port, database, folder = sys.argv[1:]
        tell(lambda: WAYS[way](int(port), database, Path(folder)))
    else:
        main()
