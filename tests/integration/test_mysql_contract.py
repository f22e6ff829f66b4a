"""The contract of a source on a real MariaDB: the clauses that the twin, files and search servers keep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest

from connectors.base import Connector
from connectors.mysql.connector import MysqlConnector
from tests.contract.connector import CLAUSES, Maker
from tests.contract.connector_whole import WITHOUT_CURSOR
from tests.integration.mysql_source import ROWS, MysqlPlace, put
from tests.servers.mariadb import MariaServer


@dataclass
class MysqlWorld:
    """A table in a database of its own."""

    place: MysqlPlace
    connector: Connector

    async def add(self, rows: pa.Table) -> None:
        await asyncio.to_thread(put, self.place, rows)

    async def lose(self) -> None:
        self.place.server.hang_up(self.place.database)
        self.place.sql("DROP TABLE t")

    async def held(self) -> Sequence[str]:
        return await asyncio.to_thread(self.place.held)


def mysql(server: MariaServer, **given: Any) -> Maker:
    """Worlds on this server; `given` are more settings."""

    @asynccontextmanager
    async def make(
        rows: pa.Table, cursor: str | None = "at", key: Sequence[str] = ("id",)
    ) -> AsyncIterator[MysqlWorld]:
        place = MysqlPlace(server)
        place.sql(ROWS)
        async with aclosing(MysqlConnector(place.settings(cursor=cursor, key=list(key), **given))) as connector:
            world = MysqlWorld(place, connector)
            if rows.num_rows:
                await world.add(rows)
            yield world

    return make


@pytest.mark.parametrize("clause", CLAUSES | WITHOUT_CURSOR)
async def test_mariadb_keeps_the_contract(mariadb, clause):
    await (CLAUSES | WITHOUT_CURSOR)[clause](mysql(mariadb))


CUTTING = [name for name in CLAUSES if "part" in name]


@pytest.mark.parametrize("clause", CUTTING)
async def test_rows_that_are_filtered_are_cut_by_the_same_rules(mariadb, clause):
    """They are counted in cells of time, where others are walked along an index."""
    await CLAUSES[clause](mysql(mariadb, where="n >= 0"))
