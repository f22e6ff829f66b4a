"""What the clauses about loaders work with: a desk over one target, and small data with known outcomes."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from loaders.base import Loader
from state.contract import QUARANTINED, READ_AT, Contract
from state.errors import TransientError
from state.model import Attempt, Chunk, Manifest, Part, RunId, Window, run_name
from state.port import Port, direct

START = datetime(2025, 11, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
WINDOW = Window(START, START + HOUR)
NEXT = Window(START + HOUR, START + 2 * HOUR)
SEEN = START + timedelta(days=1)
"""When the first snapshot was taken."""

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("at", pa.timestamp("us", "UTC")),
        pa.field("version", pa.int64()),
        pa.field("value", pa.int64()),
    ]
)
CONTRACT = Contract(SCHEMA, "at", ("id",))


class Place(Protocol):
    """A target with its stage, seen from outside: what an operator could do by hand."""

    def loader(self, *, port: Port, pipeline: str, **settings: Any) -> Loader: ...

    def rows(self) -> list[dict[str, Any]]:
        """The target's rows, any order."""

    def columns(self) -> list[str]:
        """The target's columns without our own, empty if there is no target."""

    def drop_target(self) -> None: ...

    def make_target_with_note(self) -> None:
        """A target of the operator's own, in the columns of `SCHEMA` and `note`, which is never NULL and "none" by
        default."""

    def add_row(self, row: Mapping[str, Any]) -> None: ...

    def lose_receipts(self) -> None: ...

    def change_row(self, key: str, **values: Any) -> None: ...

    def remove_row(self, key: str) -> None: ...

    def stage_tables(self) -> list[str]: ...

    def stage_rows(self, table: str) -> list[dict[str, Any]]: ...

    def remove_stage_row(self, table: str, key: str) -> None: ...

    def files(self) -> list[str]:
        """Names of the staged files."""

    def remove_file(self, name: str) -> None: ...

    def change_file(self, name: str) -> None:
        """Replace a staged file by another one of the same size."""

    def fill_user_stage(self, rows: pa.Table) -> None:
        """What a user's function does: make the stage table of the config, with these rows."""

    def quarantine(self) -> list[dict[str, Any]] | None:
        """Rows of the quarantine table, columns in lower case, any order; None if there is none."""

    def remove_quarantined(self, value: str) -> None:
        """Remove the row of a bad value from the quarantine table."""

    def remove_side_row(self, table: str, value: str) -> None:
        """The same from a stage table of rows that are set aside."""

    def untouched(self) -> bool:
        """True if nothing was made here yet."""


Maker = Callable[[Path], Place]


class Desk:
    """One place, its loaders, and a folder for chunk files and archives."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        self.folder = folder
        self.loaders: list[Loader] = []
        self._serial = 0

    def loader(self, *, port: Port = direct, pipeline: str = "p", **settings: Any) -> Loader:
        """A loader; in merge mode, with a version column, if nothing else is said."""
        made = self.place.loader(port=port, pipeline=pipeline, **{**MERGE, **settings})
        self.loaders.append(made)
        return made

    def file(self, run: RunId, rows: pa.Table, read_at: datetime = SEEN, name: str = "") -> tuple[Chunk, Path]:
        """A chunk of a run as the reader would write it."""
        self._serial += 1
        path = self.folder / f"{self._serial}.parquet"
        stamped = rows.append_column(
            pa.field(READ_AT, pa.timestamp("us", "UTC"), nullable=False),
            pa.array([read_at] * rows.num_rows, pa.timestamp("us", "UTC")),
        )
        pq.write_table(stamped, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        full = f"{run.pipeline}/{run.hash}/{name or f'p{self._serial:05d}'}.parquet"
        return Chunk(full, rows.num_rows, path.stat().st_size, digest), path

    async def put(self, loader: Loader, attempt: Attempt, *parts: Any) -> Manifest:
        """Stage chunks (tables, or tables with the time of their snapshot) and return the manifest."""
        chunks = []
        for part in parts:
            rows, read_at = part if isinstance(part, tuple) else (part, SEEN)
            chunk, path = self.file(attempt.run, rows, read_at)
            await loader.put(attempt, chunk, path)
            chunks.append(chunk)
        return manifest_of(attempt.run.window, chunks)

    async def stage(self, loader: Loader, attempt: Attempt, *parts: Any, contract: Contract = CONTRACT) -> Staged:
        """Fence, put and copy."""
        identity = await loader.prepare(contract)
        await loader.raise_fence(attempt)
        manifest = await self.put(loader, attempt, *parts)
        copied = await loader.copy(attempt, manifest, contract)
        return Staged(loader, attempt, manifest, copied.table, identity, contract)

    async def stage_aside(
        self, loader: Loader, attempt: Attempt, good: pa.Table | None, bad: pa.Table | None
    ) -> Staged:
        """The same with rows that are set aside."""
        identity = await loader.prepare(CONTRACT)
        await loader.raise_fence(attempt)
        manifest = await self.put(loader, attempt, *([] if good is None else [good]))
        if bad is not None:
            chunk, path = self.file(attempt.run, bad, name=f"aside{attempt.run.number}")
            await loader.put(attempt, chunk, path)
            [part] = manifest.parts
            part = msgspec.structs.replace(part, aside=(chunk,), rows_read=part.rows_read + chunk.rows)
            manifest = Manifest((part,), manifest.schema_digest)
        copied = await loader.copy(attempt, manifest, CONTRACT)
        return Staged(loader, attempt, manifest, copied.table, identity, CONTRACT)

    async def load(self, loader: Loader, attempt: Attempt, *parts: Any, contract: Contract = CONTRACT):
        """A whole run up to its receipt."""
        staged = await self.stage(loader, attempt, *parts, contract=contract)
        return await staged.merge()

    def row(self, key: str) -> dict[str, Any]:
        """The one target row with this key."""
        [found] = [row for row in self.place.rows() if row["id"] == key]
        return found

    def values(self) -> dict[str, Any]:
        """Key → value of the target."""
        return {row["id"]: row["value"] for row in self.place.rows()}


@dataclass(frozen=True)
class Staged:
    """An attempt whose rows are in its stage table."""

    loader: Loader
    attempt: Attempt
    manifest: Manifest
    table: str
    identity: str
    contract: Contract

    async def merge(self, **other):
        """Merge; `other` replaces an argument."""
        given = {"manifest": self.manifest, "identity": self.identity, "loader": self.loader, **other}
        return await given["loader"].merge(
            self.attempt, given["manifest"], self.contract, self.table, given["identity"]
        )

    async def counts(self):
        return await self.loader.counts(self.attempt, self.manifest, self.table)


MERGE = {"mode": "merge", "key": ("id",), "version": "version"}
APPEND = {"mode": "append", "key": (), "version": "read_at"}
SNAPSHOT = {**APPEND, "mode": "snapshot"}


@asynccontextmanager
async def desk(make: Maker) -> AsyncIterator[Desk]:
    """A fresh desk; its loaders are closed and its folder is removed."""
    folder = Path(tempfile.mkdtemp())
    desk = Desk(make(folder), folder)
    try:
        yield desk
    finally:
        await asyncio.gather(*(loader.aclose() for loader in desk.loaders), return_exceptions=True)
        shutil.rmtree(folder)


def attempt(token: int = 1, window: Window = WINDOW, number: int = 1, pipeline: str = "p") -> Attempt:
    """An attempt at a run."""
    run = RunId("d" * 32, pipeline, window, number)
    return Attempt(run, run_name(pipeline, window, number, scheduled=True), token)


def rows(*items: Sequence[Any], at: datetime = START + MINUTE) -> pa.Table:
    """Rows from `(id, version, value)`, with a cursor inside the first window; a fourth item is the cursor."""
    columns = list(zip(*[(*item, at)[:4] if len(item) == 3 else item for item in items], strict=True)) or [[]] * 4
    ids, versions, values, ats = (list(column) for column in columns)
    return pa.table([ids, ats, versions, values], schema=SCHEMA)


def bad(*values: str, at: datetime | None = START + MINUTE) -> pa.Table:
    """Rows that are set aside, one for each bad value of the column `value`, all with this cursor."""
    made = [{**dict.fromkeys(QUARANTINED.names, "?"), "bad_value": value, "row_cursor": at} for value in values]
    named = [{**row, "bad_column": "value", "reason": "no number", "row_text": '{"id":"x"}'} for row in made]
    return pa.Table.from_pylist(named, schema=QUARANTINED)


def table(schema: pa.Schema, *items: Mapping[str, Any]) -> pa.Table:
    """Rows under another schema; what an item does not name is NULL."""
    filled = [{"at": START + MINUTE, **item} for item in items]
    return pa.Table.from_pylist(filled, schema=schema)


def manifest_of(window: Window, chunks: Sequence[Chunk]) -> Manifest:
    """A manifest of one part."""
    return Manifest((Part(window, tuple(chunks), rows_read=sum(chunk.rows for chunk in chunks)),), CONTRACT.digest)


def breaking(*effects: str) -> Port:
    """A door that fails before the named effects, until it is told to stop: `port.broken = False`."""

    def port(name: str):
        return door(name)

    @contextmanager
    def door(name: str) -> Iterator[None]:
        if name in effects and port.broken:
            raise TransientError(f"{name} is broken", code="broken")
        yield

    port.broken = True
    return port


def losing_answer(effect: str) -> Port:
    """A door behind which the named effect happens, but its first answer is lost."""
    lost = []

    @contextmanager
    def port(name: str) -> Iterator[None]:
        yield
        if name == effect and not lost:
            lost.append(name)
            raise TransientError("the answer was lost on its way", code="answer_lost")

    return port
