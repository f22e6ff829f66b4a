"""What others do with a MySQL table, for `bench.mysql` and `bench.mysql_load`: run in an environment of its own.

    python bench/mysql_peers.py WAY SOURCE FOLDER [PORT DATABASE]

SOURCE is JSON: `url`, `table`, `cursor`, `start`, `end`. Ways to Parquet: `connectorx`, `rows` (aiomysql's rows,
made into tables), `dlt`. Ways to a merged table of the Snowflake server on PORT: `expert`, `dlt_merge`.
Prints a JSON line: rows, wall and CPU seconds without imports, peak MiB.
"""

# ruff: noqa: PLC0415 each way imports what it needs, and no more

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

os.environ |= {"RUNTIME__LOG_LEVEL": "ERROR", "RUNTIME__DLTHUB_TELEMETRY": "false"}
BATCH = 50_000
ROWS_PER_FILE = 200_000
KEY = "ID"


def select(source):
    return (
        f"SELECT * FROM {source['table']} WHERE {source['cursor']} >= '{source['start']}'"
        f" AND {source['cursor']} < '{source['end']}'"
    )


def connectorx(source, folder):
    """The fastest reader, in batches so that it need not hold the table, to one file."""
    import connectorx as cx
    import pyarrow.parquet as pq

    batches = cx.read_sql(source["url"], select(source), return_type="arrow_stream", batch_size=BATCH)
    with pq.ParquetWriter(folder / "all.parquet", batches.schema, compression="zstd") as writer:
        return sum(writer.write_batch(batch) or batch.num_rows for batch in batches)


def rows(source, folder):
    """A cursor's rows into tables, tables into one file."""
    return asyncio.run(of_rows(source, folder))


async def of_rows(source, folder):
    import aiomysql
    import pyarrow as pa
    import pyarrow.parquet as pq

    url, count, writer = urlsplit(source["url"]), 0, None
    login = {"user": url.username, "password": unquote(url.password), "db": url.path[1:]}
    async with (
        aiomysql.connect(host=url.hostname, port=url.port, **login) as connection,
        connection.cursor(aiomysql.SSCursor) as cursor,
    ):
        await cursor.execute(select(source))
        names = [column[0] for column in cursor.description]
        while found := await cursor.fetchmany(BATCH):
            columns = [pa.array(values) for values in zip(*found, strict=True)]
            table = pa.Table.from_arrays(columns, names)
            writer = writer or pq.ParquetWriter(folder / "all.parquet", table.schema, compression="zstd")
            writer.write_table(table.cast(writer.schema))
            count += len(found)
    writer.close()
    return count


def resource(source, key):
    """dlt's own reader of tables, with connectorx beneath."""
    from dlt.sources.sql_database import sql_table

    def chosen(query, table):
        column = table.c[source["cursor"]]
        return query.where(column >= source["start"], column < source["end"])

    found = sql_table(
        source["url"].replace("mysql://", "mysql+pymysql://"),
        table=source["table"],
        backend="connectorx",
        chunk_size=BATCH,
        query_adapter_callback=chosen,
        backend_kwargs={"conn": source["url"], "return_type": "arrow"},
    )
    if key:
        found.apply_hints(primary_key=key, write_disposition={"disposition": "merge", "strategy": "upsert"})
    return found


def dlt(source, folder):
    """Its pipeline, to files."""
    import dlt
    import pyarrow.parquet as pq

    to = dlt.destinations.filesystem(f"file://{folder}/out")
    pipeline = dlt.pipeline("bench", destination=to, dataset_name="d", pipelines_dir=str(folder / "work"))
    pipeline.run(resource(source, None), loader_file_format="parquet").raise_on_failed_jobs()
    files = (folder / "out").rglob(f"{source['table']}/*.parquet")
    return sum(pq.read_metadata(file).num_rows for file in files)


def login(port):
    return {
        **{"user": "SLUICEWAY", "password": "secret", "account": "test", "warehouse": "LOADING"},
        **{"host": "127.0.0.1", "protocol": "http", "port": port},
        "enable_server_session_keep_alive_auto_detection": False,
    }


def dlt_merge(source, folder, port, database):
    """Its pipeline, to Snowflake; what it knows of the table is kept beside `folder` for its next run."""
    import dlt
    import snowflake.connector
    from dlt.destinations.impl.snowflake.factory import snowflake as Factory

    class Snowflake(Factory):
        """One statement at a time: the test server takes no batches of them."""

        def _raw_capabilities(self):
            found = super()._raw_capabilities()
            found.supports_multiple_statements = False
            return found

    with snowflake.connector.connect(**login(port), database=database) as session:
        session.cursor().execute("CREATE STAGE IF NOT EXISTS S.LANDING")
    credentials = (
        f"snowflake://SLUICEWAY:secret@test/{database}?host=127.0.0.1&port={port}&protocol=http&warehouse=LOADING"
    )
    to = Snowflake(credentials=credentials, stage_name=f"{database}.S.LANDING")
    kept = str(folder.with_name(f"dlt-{database}"))
    pipeline = dlt.pipeline("bench", destination=to, dataset_name="dlt", pipelines_dir=kept)
    pipeline.run(resource(source, "id"), loader_file_format="parquet").raise_on_failed_jobs()
    with snowflake.connector.connect(**login(port), database=database) as session:
        return session.cursor().execute(f"SELECT COUNT(*) FROM DLT.{source['table']}").fetchone()[0]


def kind(type_):
    """Snowflake's type for a column of connectorx."""
    import pyarrow as pa

    if pa.types.is_decimal(type_):
        return f"NUMBER({type_.precision},{type_.scale})"
    if pa.types.is_integer(type_):
        return "NUMBER(38,0)"
    if pa.types.is_floating(type_):
        return "FLOAT"
    return "TIMESTAMP_NTZ" if pa.types.is_timestamp(type_) else "VARCHAR"


def expert(source, folder, port, database):
    """What one writes who knows Snowflake: no check, no receipt, no guard against older rows."""
    import connectorx as cx
    import pyarrow.parquet as pq
    import snowflake.connector

    batches = cx.read_sql(source["url"], select(source), return_type="arrow_stream", batch_size=BATCH)
    writer, held, files = None, 0, 0
    for batch in batches:
        if writer is None:
            writer = pq.ParquetWriter(folder / f"p{files}.parquet", batches.schema, compression="zstd")
        writer.write_batch(batch)
        held += batch.num_rows
        if held >= ROWS_PER_FILE:
            writer.close()
            writer, held, files = None, 0, files + 1
    if writer is not None:
        writer.close()
    kinds = {field.name.upper(): kind(field.type) for field in batches.schema}
    columns = ", ".join(f'"{name}" {kind}' for name, kind in kinds.items())
    sets = ", ".join(f't."{name}" = s."{name}"' for name in kinds if name != KEY)
    into = ", ".join(f'"{name}"' for name in kinds)
    values = ", ".join(f's."{name}"' for name in kinds)
    with snowflake.connector.connect(**login(port), database=database, schema="S") as session:
        ask = session.cursor().execute
        ask(f"CREATE TABLE IF NOT EXISTS FLIGHTS ({columns})")
        ask(f"CREATE OR REPLACE TABLE FLIGHTS_STAGE ({columns})")
        ask("CREATE OR REPLACE STAGE LANDING")
        for file in sorted(folder.glob("*.parquet")):
            ask(f"PUT file://{file} @LANDING AUTO_COMPRESS=FALSE OVERWRITE=TRUE")
        ask(
            "COPY INTO FLIGHTS_STAGE FROM @LANDING FILE_FORMAT=(TYPE=PARQUET USE_VECTORIZED_SCANNER=TRUE)"
            " MATCH_BY_COLUMN_NAME=CASE_INSENSITIVE"
        )
        ask(
            f'MERGE INTO FLIGHTS t USING FLIGHTS_STAGE s ON t."{KEY}" = s."{KEY}"'
            f" WHEN MATCHED THEN UPDATE SET {sets} WHEN NOT MATCHED THEN INSERT ({into}) VALUES ({values})"
        )
        return int(ask("SELECT COUNT(*) FROM FLIGHTS").fetchone()[0])


def main():
    way, source, folder, *place = sys.argv[1:]
    target = (int(place[0]), place[1]) if place else ()
    began, cpu = time.perf_counter(), sum(os.times()[:4])
    count = globals()[way](json.loads(source), Path(folder), *target)
    wall, cpu = time.perf_counter() - began, sum(os.times()[:4]) - cpu
    status = Path("/proc/self/status").read_text()
    print(json.dumps([count, wall, cpu, int(status.partition("VmHWM:")[2].split()[0]) / 1024]))


if __name__ == "__main__":
    main()
