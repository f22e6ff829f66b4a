"""dlt's way for `bench.load`: run in an environment of its own, whose packages are dlt's.

python bench/load_dlt.py PORT DATABASE FOLDER
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import dlt
import pyarrow.parquet as pq
import snowflake.connector
from dlt.destinations.impl.snowflake.factory import snowflake as Factory


class Snowflake(Factory):
    """One statement at a time: the test server takes no batches of them."""

    def _raw_capabilities(self):
        found = super()._raw_capabilities()
        found.supports_multiple_statements = False
        return found


def main() -> None:
    """Yield the staged files as Arrow tables, let dlt stage them and merge by key: a JSON line."""
    port, database, folder = sys.argv[1:4]
    credentials = (
        f"snowflake://SLUICEWAY:secret@test/{database}?host=127.0.0.1&port={port}&protocol=http&warehouse=LOADING"
    )
    login = {"user": "SLUICEWAY", "password": "secret", "account": "test", "warehouse": "LOADING"}
    login |= {"host": "127.0.0.1", "protocol": "http"}
    with snowflake.connector.connect(**login, port=int(port), database=database) as session:
        session.cursor().execute("CREATE STAGE S.LANDING")

    @dlt.resource(name="FLIGHTS", write_disposition={"disposition": "merge", "strategy": "upsert"},
                  primary_key="flight_id")  # fmt: skip
    def flights():
        for file in sorted(Path(folder).glob("*.parquet")):
            yield pq.read_table(file)

    began, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as work:
        pipeline = dlt.pipeline(
            "bench",
            destination=Snowflake(credentials=credentials, stage_name=f"{database}.S.LANDING"),
            dataset_name="DLT",
            pipelines_dir=work,
        )
        pipeline.run(flights(), loader_file_format="parquet").raise_on_failed_jobs()
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    with snowflake.connector.connect(**login, port=int(port), database=database) as session:
        [rows] = session.cursor().execute("SELECT COUNT(*) FROM DLT.FLIGHTS").fetchone()
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps([rows, wall, cpu, peak]))


if __name__ == "__main__":
    main()
