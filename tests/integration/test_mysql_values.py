"""Every type of MariaDB through whole runs into DuckDB and Snowflake: exact, or by declared policy and counted.

The oracle is `mysql_values_table` (M-9…M-15, row 29 of reliability §12.1).
"""

from __future__ import annotations

import asyncio
import math
import re
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from connectors.base import Snapshot
from connectors.mysql.columns import quoted
from connectors.mysql.connector import MysqlConnector
from service.config import parse_config
from service.settings import PipelineConfig
from state.errors import ContractError
from state.model import Phase, Run, RunStatus, Window
from tests.integration.mysql_source import MysqlPlace
from tests.integration.mysql_values_table import REFUSED, ROWS, TYPES
from tests.integration.mysql_world import MysqlPipeline
from tests.lifecycle.snowflake_world import SnowflakeWorld, snowflake_defaults
from tests.lifecycle.world import HOUR, START, merged
from tests.snowflake.running import Place

DOUBTFUL = {name: sum(value is REFUSED for _, value in told.pairs) for name, told in TYPES.items()}
DOUBTFUL = {name: bad for name, bad in DOUBTFUL.items() if bad}
"""Column → values that it cannot hold."""
OVERRIDES = {name: told.override for name, told in TYPES.items() if told.override}
TARGET = {"target_system": {"version": "read_at"}}
WIDE = {"phases": {"source_to_stage_transfer": {"rows_per_part": 1000}}}
MILLION = 1_000_000


@pytest.fixture(scope="module")
def table(mariadb) -> MysqlPlace:
    """A table `t` with a column for each type and a row for each pair."""
    place = MysqlPlace(mariadb)
    columns = [f"{quoted(name)} {told.declaration}" for name, told in TYPES.items()]
    columns += ["twice BIGINT GENERATED ALWAYS AS (id * 2) VIRTUAL", "unseen INT INVISIBLE DEFAULT 5"]
    with mariadb.connection(place.database) as connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00', sql_mode = ''")
        cursor.execute(
            "CREATE TABLE t (id INT PRIMARY KEY, at TIMESTAMP(6) NOT NULL, KEY (at),"
            f" {', '.join(columns)}) CHARSET utf8mb4"
        )
        for row in range(ROWS):
            given = {"id": str(row), "at": f"FROM_UNIXTIME({START.timestamp()} + {row})"}
            given |= {quoted(name): told.pairs[row][0] for name, told in TYPES.items() if row < len(told.pairs)}
            literals = ", ".join(given.values()).replace("%", "%%")
            cursor.execute(f"INSERT INTO t ({', '.join(given)}) VALUES ({literals})")
    return place


def expected(name: str, *, refused: Any = None) -> list[Any]:
    """What the column must hold, row by row."""
    values = [refused if value is REFUSED else value for _, value in TYPES[name].pairs]
    return values + [None] * (ROWS - len(values))


def source(policy: str) -> dict[str, Any]:
    """More of `source_system`: one policy for all columns that need one."""
    return {"columns": {"types": OVERRIDES, "on_bad_value": dict.fromkeys(DOUBTFUL, policy)}}


def test_each_column_has_the_type_that_is_written(table):
    async def look() -> pa.Schema:
        async with aclosing(MysqlConnector(table.settings(**source("null")))) as connector:
            return (await connector.contract()).schema

    schema = asyncio.run(look())
    assert {name: schema.field(name).type for name in TYPES} == {name: told.type for name, told in TYPES.items()}
    assert [name for name in schema.names if name not in TYPES] == ["id", "at", "twice", "unseen"]


def test_every_value_arrives_in_duckdb_exactly_or_is_null_by_policy_and_counted_m9_to_m15(table, tmp_path: Path):
    world = MysqlPipeline(tmp_path, merged(TARGET, WIDE), table, source("null"))
    require_touched(world.run()[0], DOUBTFUL)
    with duckdb.connect(str(world.database), read_only=True) as connection:
        found = connection.sql("SELECT * FROM events ORDER BY id").to_arrow_table()
    for name in TYPES:
        assert shown(found.column(name).to_pylist()) == shown(expected(name)), name
    assert found.column("twice").to_pylist() == [2 * row for row in range(ROWS)]
    assert found.column("unseen").to_pylist() == [5] * ROWS


@dataclass(frozen=True)
class IntoSnowflake(SnowflakeWorld):
    """`source`: `source_system`."""

    source: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> PipelineConfig:
        return parse_config(merged(snowflake_defaults(self) | {"source_system": self.source}, self.settings))


def test_every_value_arrives_in_snowflake_exactly_or_is_null_by_policy_and_counted_m9_to_m15(
    table, place: Place, tmp_path: Path
):
    settings = merged(TARGET, WIDE)
    world = IntoSnowflake(tmp_path, settings, place.connection, source=table.source(**source("null"))).made()
    require_touched(world.run()[0], DOUBTFUL)
    names = [name for name in TYPES if TYPES[name].override != "json"]
    selected = ", ".join(f'"{re.sub("[^A-Z0-9_]", "_", name.upper())}"' for name in names)
    found = world.query(f"SELECT {selected} FROM events ORDER BY id")
    for column, name in enumerate(names):
        assert shown([row[column] for row in found]) == shown(expected(name)), name
    assert world.query("SELECT doc:a::VARCHAR FROM events WHERE id = 0") == [("9007199254740993",)]


def require_touched(run: Run, touched: dict[str, int]) -> None:
    """The run is whole, and its audit tells what a policy changed."""
    assert (run.status, run.failure) == (RunStatus.COMPLETED, None)
    assert run.phases[Phase.SOURCE_TO_STAGE_TRANSFER].figures["touched"] == touched
    assert run.phases[Phase.AUDIT].figures["validation_status"] == "PASSED"


def shown(values: list[Any]) -> list[Any]:
    """Values for comparison: an instant is one in UTC, bytes are bytes, numbers of any type are numbers."""
    return [_shown(value) for value in values]


def _shown(value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) and value else value
    return bytes(value) if isinstance(value, bytearray) else value


def test_without_a_policy_the_first_value_that_does_not_fit_ends_the_run_and_is_named(table, tmp_path: Path):
    world = MysqlPipeline(tmp_path, merged(TARGET, WIDE), table, {"columns": {"types": OVERRIDES}})
    [run, *_] = world.run()
    assert (run.status, run.failure.kind) == (RunStatus.FAILED, "contract")
    named = f"the row with id=1 of {table.database}.t: column 'local0' "
    assert run.failure.message.startswith(named)
    assert "cannot hold 0000-00-00 00:00:00" in run.failure.message


def test_under_the_policy_text_zero_dates_are_the_text_that_came_and_counted(table, tmp_path: Path):
    dates = ["day", "local", "local0", "instant"]
    more = {"types": OVERRIDES, "on_bad_value": dict.fromkeys(DOUBTFUL, "null") | dict.fromkeys(dates, "text")}
    world = MysqlPipeline(tmp_path, merged(TARGET, WIDE), table, {"columns": more})
    require_touched(world.run()[0], DOUBTFUL)
    [[day, local]] = world.query("SELECT day, local FROM events WHERE id = 4")
    assert (day, local) == ("0000-00-00", "2024-02-00 10:00:00.000000")
    assert world.query("SELECT day, instant FROM events WHERE id = 1") == [
        ("9999-12-31", "2038-01-19 03:14:07.999999")
    ]


@pytest.fixture(scope="module")
def million(mariadb) -> MysqlPlace:
    """A million rows of one hour, the last of them with the only zero date."""
    place = MysqlPlace(mariadb)
    place.sql("CREATE TABLE t (id INT PRIMARY KEY, at TIMESTAMP(6) NOT NULL, day DATE, KEY (at))")
    with mariadb.connection(place.database) as connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00', sql_mode = ''")
        cursor.execute(
            f"INSERT INTO t SELECT seq, FROM_UNIXTIME({START.timestamp()} + seq * 0.003),"
            f" IF(seq = {MILLION}, '0000-00-00', '2024-02-29') FROM seq_1_to_{MILLION}"
        )
    return place


async def read(snapshot: Snapshot) -> int:
    async with aclosing(snapshot.batches()) as batches:
        return sum([batch.num_rows async for batch in batches])


async def read_with(place: MysqlPlace, policy: str) -> tuple[int, int, dict[str, int]]:
    """Rows that came, rows set aside, values touched."""
    settings = place.settings(columns={"on_bad_value": {"day": policy}})
    async with (
        aclosing(MysqlConnector(settings)) as connector,
        connector.open(Window(START, START + HOUR)) as seen,
    ):
        rows = await read(seen)
        aside = seen.quarantined()
        return rows, aside.num_rows if aside else 0, dict(seen.touched)


def test_the_first_zero_date_in_row_a_million_meets_the_policy_of_its_column_m15(million):
    assert asyncio.run(read_with(million, "null")) == (MILLION, 0, {"day": 1})
    rows, aside, _ = asyncio.run(read_with(million, "quarantine"))
    assert (rows, aside) == (MILLION - 1, 1)
    with pytest.raises(ContractError, match=f"id={MILLION} .*0000-00-00"):
        asyncio.run(read_with(million, "error"))
