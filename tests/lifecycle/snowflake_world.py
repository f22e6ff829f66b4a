"""A small world whose target is Snowflake: an index of a search server or Parquet files, a fresh database of the
test server, a drive table.

Its user is its own, so that faults can be meant for it alone (`fault`). A world can be sent to a process.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import snowflake.connector

from service.app import account_of, opened
from service.config import parse_config
from service.events import Emit
from service.settings import PipelineConfig
from state.model import Run, RunStatus, Window
from state.port import Port, direct
from state.registry import backend
from tests.lifecycle.world import HOUR, START, World, defaults, events, merged
from tests.servers.client import Client
from tests.servers.search import SearchServer
from tests.snowflake.running import Place

EVERYTHING = Window(START, START + 2 * HOUR)

DRIVES = ("sqlite", "snowflake")
"""Kinds of drive table that a world may have."""

os.environ.setdefault("SLUICEWAY_TEST_PASSWORD", "secret")


PROPERTIES = {
    "id": {"type": "keyword"},
    "at": {"type": "date"},
    "version": {"type": "long"},
    "value": {"type": "double"},
}
"""The columns of `tests.lifecycle.world.events` in a mapping."""


@dataclass(frozen=True)
class Index:
    """An index of a running search server, with `PROPERTIES`."""

    url: str
    name: str

    @property
    def settings(self) -> dict[str, Any]:
        return {"type": "elasticsearch", "endpoint": self.url, "index": self.name, "cursor": "at"}

    def put(self, table: pa.Table) -> None:
        """A document for each row, which its `id` names."""
        client = Client(self.url)
        try:
            rows = [row | {"at": row["at"].isoformat()} for row in table.to_pylist()]
            client.put(self.name, {row["id"]: row for row in rows})
        finally:
            client.close()


@dataclass(frozen=True)
class SnowflakeWorld(World):
    """`connection`: of the place, see `tests/snowflake/running.py`. `drive`: one of `DRIVES`. `index`: the source;
    None where it is Parquet files."""

    connection: Mapping[str, Any] = field(default_factory=dict)
    drive: str = "sqlite"
    index: Index | None = None

    @property
    def schema(self) -> str:
        return f"{self.connection['database']}.{self.connection['schema']}"

    @property
    def user(self) -> str:
        return f"U_{self.connection['database']}"

    @property
    def config(self) -> PipelineConfig:
        return parse_config(merged(snowflake_defaults(self), self.settings))

    def write(self, name: str, table: pa.Table) -> None:
        """Into the source; what has the same name, or in an index the same id, is replaced."""
        if self.index is None:
            super().write(name, table)
        else:
            self.index.put(table)

    def made(self) -> SnowflakeWorld:
        """With its drive table in place."""
        asyncio.run(self._init())
        return self

    async def _init(self) -> None:
        config = self.config
        async with account_of(config) as account:
            await backend(config.drive_table, account).init()

    async def run_due(self, port: Port = direct, emit: Emit = lambda _event: None) -> list[Run]:
        async with opened(self.config, emit, port) as worker:
            return await worker.run_due()

    def backfill(self, span: Window = EVERYTHING) -> list[Run]:
        """The span once more, as one run."""

        async def go() -> list[Run]:
            async with opened(self.config, lambda _event: None) as worker:
                return await worker.backfill([span])

        return asyncio.run(go())

    def query(self, sql: str, *values: Any) -> list[tuple]:
        """By an operator, in the world's schema."""
        with self.hand() as connection, connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall()

    def execute(self, sql: str) -> None:
        self.query(sql)

    @contextmanager
    def hand(self) -> Iterator[snowflake.connector.SnowflakeConnection]:
        """An operator's session."""
        parameters = {"TIMEZONE": "UTC"}
        with snowflake.connector.connect(**self.connection, session_parameters=parameters) as connection:
            yield connection

    def content_hash(self) -> str:
        rows = self.query('SELECT id, "AT", version, value FROM events ORDER BY id, "AT"')
        if self.query("SHOW TABLES LIKE 'EVENTS__SLUICEWAY_QUARANTINE'"):
            aside = "SELECT bad_column, bad_value, reason, row_cursor, _sluiceway_run"
            rows += self.query(f"{aside} FROM EVENTS__SLUICEWAY_QUARANTINE ORDER BY row_cursor")
        return hashlib.sha256(repr(rows).encode()).hexdigest()

    def receipts(self) -> list[str]:
        """Run names of all receipts in the target."""
        return [name for (name,) in self.query(f"SELECT run_name FROM {LOADS} WHERE kind = 'receipt'")]

    def left_in_stage(self) -> list[str]:
        """Files and tables of runs that nobody removed."""
        tables = self.query(
            "SELECT table_name FROM information_schema.tables WHERE STARTSWITH(table_name, 'EVENTS_STAGE_')"
            " AND table_name NOT LIKE 'EVENTS_STAGE_EMPTY%'"
        )
        return [name for name, *_ in tables + self.query("LIST @SLUICEWAY")]


LOADS = "EVENTS__SLUICEWAY_LOADS"


def snowflake_defaults(world: SnowflakeWorld) -> dict:
    """The configuration, with Snowflake as target and nothing that waits for long."""
    place, settings = world.connection, defaults(world.root)
    if world.drive == "snowflake":
        settings["drive_table"] = {"type": "snowflake", "database_schema": world.schema}
    if world.index is not None:
        settings["source_system"] = world.index.settings
    return {
        **settings,
        "stage_system": {"stage": f"{world.schema}.SLUICEWAY"},
        "target_system": {
            "type": "snowflake",
            "table": f"{world.schema}.EVENTS",
            "mode": "merge",
            "key": ["id"],
            "version": "version",
        },
        "snowflake_connection": {
            "account": "test",
            "user": world.user,
            "role": place["role"],
            "warehouse": place["warehouse"],
            "host": place["host"],
            "port": place["port"],
            "protocol": "http",
            "password": {"env": "SLUICEWAY_TEST_PASSWORD"},
            "allow_password": True,
            "request_timeout_seconds": 20,
        },
    }


def world_at(
    place: Place,
    root: Path,
    settings: dict | None = None,
    drive: str = "sqlite",
    server: SearchServer | None = None,
) -> SnowflakeWorld:
    """A world in this place, its drive table made. `server`: where its source is, in an index of its own."""
    index = None if server is None else Index(server.url, server.client.new_index(PROPERTIES, name="world"))
    return SnowflakeWorld(root, settings or {}, place.connection, drive, index).made()


@contextmanager
def fault(place: Place, act: str, **rule: Any) -> Iterator[dict[str, Any]]:
    """A fault of `tests/snowflake/server/faults.py` for the world's user; filled with what it did at the end."""
    user = f"U_{place.database}"
    added = place.server.post("/test/faults", {"act": act, "user": user, **rule})
    told: dict[str, Any] = {}
    try:
        yield told
    finally:
        told |= place.server.get(f"/test/faults/{added['id']}")
        place.server.delete(f"/test/faults/{added['id']}")


def require_whole(world: SnowflakeWorld) -> None:
    """All of `events(100)` once, one receipt per run, nothing left in the stage."""
    wanted = [tuple(row.values()) for row in events(100).to_pylist()]
    assert world.query('SELECT id, "AT", version, value FROM events ORDER BY id') == wanted
    assert len(world.receipts()) == len(set(world.receipts())) == len(world.runs())
    assert {run.status for run in world.runs()} == {RunStatus.COMPLETED}
    assert world.left_in_stage() == []


def once_at(effect: str, act: Callable[[], object]) -> Port:
    """`act` is done once, when the effect begins."""
    done = False

    @contextmanager
    def port(name: str) -> Iterator[None]:
        nonlocal done
        if name == effect and not done:
            done = True
            act()
        yield

    return port


def until_done(world: SnowflakeWorld, port: Port = direct, most: int = 10) -> Run:
    """Look until every run is finished or waits for an operator; the last of them."""
    for _ in range(most):
        world.run(port)
        runs = sorted(world.runs(), key=lambda run: (run.window.start, run.id.number))
        going_on = [run for run in runs if run.unfinished and run.quarantined_at is None]
        if not going_on:
            return runs[-1]
        time.sleep(0.05)
    raise AssertionError(f"{[(run.name, run.failure) for run in going_on]} go on and on")
