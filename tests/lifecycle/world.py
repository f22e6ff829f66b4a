"""A small world for lifecycle tests: a source of Parquet files, a DuckDB target, a SQLite drive table."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from service.app import drive_of, opened
from service.config import parse_config
from service.events import Emit, Event, PhaseStarted
from service.settings import PipelineConfig
from state.model import Phase, Run
from state.port import Port, direct
from state.sqlite import SqliteDrive

START = datetime(2025, 11, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)
CONTENT = 'SELECT id, "at", version, value FROM events ORDER BY ALL'
RECEIPTS = "SELECT run_name FROM SLUICEWAY_LOADS WHERE kind = 'receipt'"


def events(
    rows: int, start: datetime = START, every: timedelta = timedelta(seconds=60), version: int = 1
) -> pa.Table:
    """`rows` events, one per `every`, with a key, a version and some values."""
    at = [start + every * n for n in range(rows)]
    return pa.table(
        {
            "id": pa.array([f"e{start:%d%H}-{n:06d}" for n in range(rows)]),
            "at": pa.array(at, pa.timestamp("us", tz="UTC")),
            "version": pa.array([version] * rows, pa.int64()),
            "value": pa.array([n * 0.5 for n in range(rows)]),
        }
    )


@dataclass(frozen=True)
class World:
    """Everything below `root`; `settings` are merged over the defaults of the config."""

    root: Path
    settings: dict

    @property
    def database(self) -> Path:
        return self.root / "warehouse.duckdb"

    @property
    def config(self) -> PipelineConfig:
        return parse_config(merged(defaults(self.root), self.settings))

    def write(self, name: str, table: pa.Table) -> None:
        """Put a source file; an existing one is replaced."""
        folder = self.root / "source"
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / f"{name}.parquet")

    def run(self, port: Port = direct, emit: Emit = lambda _event: None) -> list[Run]:
        """All due windows once, in this process."""
        return asyncio.run(self.run_due(port, emit))

    async def run_due(self, port: Port = direct, emit: Emit = lambda _event: None) -> list[Run]:
        await SqliteDrive.init(self.root / "drive.sqlite")
        async with opened(self.config, emit, port) as worker:
            return await worker.run_due()

    def runs(self) -> list[Run]:
        """What the drive table holds."""

        async def look() -> list[Run]:
            async with drive_of(self.config) as drive:
                return await drive.runs()

        return asyncio.run(look())

    def query(self, sql: str) -> list[tuple]:
        [rows] = self.answers(sql)
        return rows

    def answers(self, *sql: str) -> list[list[tuple]]:
        """Of several questions; to open the file takes most of the time of one."""
        with duckdb.connect(str(self.database), read_only=True) as connection:
            return [connection.execute(one).fetchall() for one in sql]

    def execute(self, sql: str) -> None:
        with duckdb.connect(str(self.database)) as connection:
            connection.execute(sql)

    def content_hash(self) -> str:
        """SHA-256 of the target's data columns in key order."""
        return digest(self.query(CONTENT))

    def receipts(self) -> list[str]:
        """Run names of all receipts in the target."""
        return [name for (name,) in self.query(RECEIPTS)]


def digest(rows: list[tuple]) -> str:
    """SHA-256 of rows."""
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def at_start_of(phase: Phase, act: Callable[[], object]) -> Emit:
    """A listener that does `act` the first time that `phase` starts."""
    done = False

    def hear(event: Event) -> None:
        nonlocal done
        if isinstance(event, PhaseStarted) and event.phase is phase and not done:
            done = True
            act()

    return hear


def stop() -> None:
    """To be done by a listener: the worker is told to stop, as SIGTERM does."""
    raise asyncio.CancelledError


def merged(base: dict, over: dict) -> dict:
    result = dict(base)
    for key, value in over.items():
        inner = isinstance(value, dict) and isinstance(base.get(key), dict)
        result[key] = merged(base[key], value) if inner else value
    return result


def defaults(root: Path) -> dict:
    return {
        "config_version": 1,
        "pipeline_metadata": {"pipeline_name": "events", "owner_email": "team@example.com"},
        "windows": {
            "start": START.isoformat(),
            "end": (START + 2 * HOUR).isoformat(),
            "width": "1h",
            "safety_lag_seconds": 0,
            "max_open": 1,
        },
        "source_system": {"type": "files", "path": f"{root}/source/*.parquet", "cursor": "at", "key": ["id"]},
        "stage_system": {"directory": f"{root}/stage", "table": "events_stage"},
        "target_system": {
            "type": "duckdb",
            "database": f"{root}/warehouse.duckdb",
            "table": "events",
            "mode": "merge",
            "key": ["id"],
            "version": "version",
        },
        "phases": {"source_to_stage_transfer": {"rows_per_part": 40, "chunk_rows": 25}},
        "drive_table": {"type": "sqlite", "path": f"{root}/drive.sqlite"},
        "limits": {
            "spool_directory": f"{root}/spool",
            "try_base_seconds": 0.001,
            "try_cap_seconds": 0.01,
            "retry_base_seconds": 0.001,
            "retry_cap_seconds": 0.01,
        },
    }
