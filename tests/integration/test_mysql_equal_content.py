"""The same table by three readers: a column at a time, row by row, and by a driver that is not ours."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from connectors.mysql import snapshot
from connectors.mysql.connector import MysqlConnector
from connectors.mysql.decode import Decoder
from connectors.mysql.rows import Rows
from state.model import Window
from tests.integration.column_hash import hashes
from tests.integration.mysql_source import MysqlPlace

ROWS = 20_000
AT = datetime(2024, 1, 1, tzinfo=UTC)
YEAR = Window(AT, AT + timedelta(days=366))
COLUMNS = {
    "id": ("BIGINT NOT NULL PRIMARY KEY", "seq"),
    "at": (
        "DATETIME(6) NOT NULL, KEY (at)",
        "'2024-01-01' + INTERVAL seq * 997000001 MICROSECOND",
    ),
    "whole": ("INT", "IF(seq % 7, IF(seq % 2, -1, 1) * CAST(seq AS SIGNED) * 40013, NULL)"),
    "small": ("TINYINT UNSIGNED", "seq % 256"),
    "far": ("BIGINT", "IF(seq % 2, -1, 1) * (9223372036854775000 - CAST(seq AS SIGNED))"),
    "exact": ("DECIMAL(20,6)", "IF(seq % 5, (CAST(seq AS SIGNED) - 10000) / 7, NULL)"),
    "floating": ("DOUBLE", "IF(seq % 3, EXP(CAST(seq % 1400 AS SIGNED) - 700) / 3, 0)"),
    "day": ("DATE", "IF(seq % 11, '1900-01-01' + INTERVAL seq * 3 DAY, NULL)"),
    "second": ("DATETIME", "'1999-12-31 23:59:59' + INTERVAL seq HOUR"),
    "text": ("VARCHAR(400) CHARSET utf8mb4", "IF(seq % 13, REPEAT(CHAR(65 + seq % 26), seq % 300), NULL)"),
    "emoji": ("VARCHAR(40) CHARSET utf8mb4", "CONCAT('Zoë ', CHAR(0xF09F9880 + seq % 64 USING utf8mb4), seq)"),
    "raw": ("VARBINARY(40)", "UNHEX(SHA1(seq))"),
}
"""Column → its declaration, and what stands in row `seq`."""


class Twin(Decoder):
    """Row by row, for whoever wants a decoder."""

    def decode(self, page):
        return Rows(self.columns).decode(page)


@pytest.fixture(scope="module")
def place(mariadb) -> MysqlPlace:
    made = MysqlPlace(mariadb)
    made.sql(f"CREATE TABLE t ({', '.join(f'{name} {kind}' for name, (kind, _) in COLUMNS.items())})")
    values = ", ".join(value for _, value in COLUMNS.values())
    made.sql(f"INSERT INTO t SELECT {values} FROM seq_1_to_{ROWS}")
    return made


async def read(place: MysqlPlace) -> pa.Table:
    """By the connector."""
    async with aclosing(MysqlConnector(place.settings())) as connector, connector.open(YEAR) as opened:
        batches = [batch async for batch in opened.batches()]
    return pa.Table.from_batches(batches)


async def test_fast_reader_its_twin_and_an_independent_driver_give_equal_columns(place, monkeypatch):
    """What is fast is the same to the last bit, by a hash of each column."""
    fast = await read(place)
    monkeypatch.setattr(snapshot, "Decoder", Twin)
    slow = await read(place)
    found = place.sql(f"SELECT {', '.join(COLUMNS)} FROM t")
    others = pa.table(dict(zip(COLUMNS, map(pa.array, zip(*found, strict=True)), strict=True)))
    assert fast.num_rows == ROWS and fast.schema == slow.schema
    assert hashes(fast, "id") == hashes(slow, "id") == hashes(others, "id")


async def test_two_values_that_changed_places_change_the_hash_of_their_column(place):
    """Of each kind: a hash that takes in no values would always be equal."""
    table = await read(place)
    first = hashes(table, "id")
    for number, column in enumerate(COLUMNS):
        values = table[column].to_pylist()
        values[1], values[2] = values[2], values[1]
        changed = table.set_column(number, column, pa.array(values, table[column].type))
        differing = {name for name, found in hashes(changed, "id").items() if found != first[name]}
        assert differing == ({column} if column != "id" else {*COLUMNS} - {"id"})
