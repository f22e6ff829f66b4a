"""Worlds for the contract of a source: the twin in memory, and files in each format."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from connectors.base import Connector
from connectors.files.connector import FilesConnector
from connectors.files.settings import FilesSettings
from connectors.memory import MemoryConnector, MemorySource
from tests.contract.connector import Maker


def ticking() -> Callable[[], datetime]:
    """A clock that goes on by a second at each look."""
    seconds = itertools.count()
    return lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(seconds))


@dataclass
class MemoryWorld:
    source: MemorySource
    connector: Connector

    async def add(self, rows: pa.Table) -> None:
        self.source.add(rows)

    async def lose(self) -> None:
        self.source.rows = self.source.rows.slice(0, 0)
        self.source.views.clear()

    async def held(self) -> Sequence[str]:
        return [repr(view) for view in self.source.views]


def memory(kind: type[MemoryConnector] = MemoryConnector) -> Maker:
    """Worlds of this kind of twin: batches of seven rows, and a clock that is read by nobody else."""

    @asynccontextmanager
    async def make(
        rows: pa.Table, cursor: str | None = "at", key: Sequence[str] = ("id",)
    ) -> AsyncIterator[MemoryWorld]:
        source = MemorySource(rows, ticking())
        async with aclosing(kind(source, cursor, key, batch_rows=7)) as connector:
            yield MemoryWorld(source, connector)

    return make


TYPES = {"id": "string", "at": "timestamp", "n": "int64", "note": "string"}


def write_parquet(rows: pa.Table, path: Path) -> None:
    pq.write_table(rows, path, row_group_size=10)


def write_csv(rows: pa.Table, path: Path) -> None:
    pa_csv.write_csv(rows, path)


def write_ndjson(rows: pa.Table, path: Path) -> None:
    lines = [json.dumps(row, default=datetime.isoformat) + "\n" for row in rows.to_pylist()]
    path.write_text("".join(lines))


WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    "parquet": write_parquet,
    "csv": write_csv,
    "ndjson": write_ndjson,
}


@dataclass
class FilesWorld:
    """Files of at most 25 rows each in a folder."""

    folder: Path
    format: str
    connector: Connector
    files: list[Path] = field(default_factory=list)

    async def add(self, rows: pa.Table) -> None:
        for start in range(0, max(1, rows.num_rows), 25):
            path = self.folder / f"{len(self.files):03d}.{self.format}"
            WRITERS[self.format](rows.slice(start, 25), path)
            self.files.append(path)

    async def lose(self) -> None:
        for path in self.files:
            path.unlink()

    async def held(self) -> Sequence[str]:
        """Files of the folder that this process has open."""
        return await asyncio.to_thread(open_files, self.folder)


def open_files(folder: Path) -> list[str]:
    links = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [str(path) for path in links if path.is_relative_to(folder)]


def files(root: Path, format_: str) -> Maker:
    """Worlds of files in folders of their own below `root`."""
    numbers = itertools.count()

    @asynccontextmanager
    async def make(
        rows: pa.Table, cursor: str | None = "at", key: Sequence[str] = ("id",)
    ) -> AsyncIterator[FilesWorld]:
        folder = root / f"world-{next(numbers)}"
        folder.mkdir()
        settings = FilesSettings(
            type="files",
            path=str(folder / "*"),
            format=format_,
            cursor=cursor,
            key=tuple(key),
            types={} if format_ == "parquet" else TYPES,
        )
        async with aclosing(FilesConnector(settings)) as connector:
            world = FilesWorld(folder, format_, connector)
            await world.add(rows)
            yield world

    return make
