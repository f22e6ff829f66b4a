"""Record batches of one part into Parquet chunks: bounded, exact, named by content, delivered meanwhile.

Equal rows and limits give equal bytes. A chunk is written under a temporary name, synced, renamed, and only
then delivered; whatever ends a writer early leaves no file.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from loaders.spool import FINISHED, UNFINISHED, Spool, explained
from state.contract import READ_AT, Contract
from state.errors import ContractError, SluicewayError
from state.model import Chunk

T = TypeVar("T")
Deliver = Callable[[Chunk, Path], Awaitable[object]]
"""Brings a finished chunk away (the PUT); its file is removed afterwards."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
READ_AT_FIELD = pa.field(READ_AT, pa.timestamp("us", "UTC"), nullable=False)
ROW_GROUP_ROWS = 122_880
"""Rows of a row group: what DuckDB reads in one piece."""
ROW_GROUP_BYTES = 16 * 1024 * 1024
"""Bytes of rows kept in memory before they are compressed; with parts in parallel this is most of the memory."""
UNDELIVERED = 2
"""Closed chunks of one writer that may wait for delivery before reading does."""


@dataclass(frozen=True)
class ChunkLimits:
    """Where a chunk ends: `bytes` of the compressed file, about, or `rows`, exactly."""

    bytes: int
    rows: int


class ChunkWriter:
    """An async context manager; leaving it without `finish` removes every file of this writer.

    `prefix`: what the chunks' names begin with; `/` in it makes folders in the stage. `read_at`: the source's
    clock at the snapshot, stored in each row.
    """

    def __init__(
        self,
        spool: Spool,
        contract: Contract,
        prefix: str,
        read_at: datetime,
        *,
        limits: ChunkLimits,
        deliver: Deliver,
    ) -> None:
        self._spool = spool
        self._contract = contract
        self._prefix = prefix
        self._read_at = pa.scalar(read_at.astimezone(UTC), READ_AT_FIELD.type)
        self._limits = limits
        self._deliver = deliver
        self._schema = contract.schema.append(READ_AT_FIELD)
        self._turn = asyncio.Lock()
        self._sequence = 0
        self._file: ChunkFile | None = None
        self._buffer: list[pa.RecordBatch] = []
        self._rows = 0
        """Rows of the open chunk, in its file and in memory; counted, for a thread may be moving them just now."""
        self._chunks: list[Chunk] = []
        self._deliveries: set[asyncio.Task[None]] = set()
        self._pressed: set[asyncio.Task[None]] = set()
        self._working: set[asyncio.Future[Any]] = set()
        self._error: BaseException | None = None
        self.held = 0

    async def __aenter__(self) -> Self:
        self._spool.quota.register(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spool.quota.forget(self)
        tasks = self._deliveries | self._pressed
        for task in tasks:
            task.cancel()
        # a thread cannot be cancelled: its file may only be removed when it is done with it
        await asyncio.gather(*tasks, *self._working, return_exceptions=True)
        self._abandon()

    async def write(self, batch: pa.RecordBatch) -> None:
        """Add rows. Waits while the spool is full, or deliveries fall behind.

        Raises the error of a delivery that failed, `ContractError` if the columns are not the contract's, and
        `TransientError` if the disk is full.
        """
        self._require_contract(batch)
        while batch.num_rows:
            await self._delivered(UNDELIVERED)
            free = self._limits.rows - self._rows
            piece, batch = batch.slice(0, free), batch.slice(free)
            await self._spool.quota.room(piece.nbytes)
            async with self._turn:
                await self._add(piece)

    async def finish(self) -> tuple[Chunk, ...]:
        """Close the last chunk, wait for all deliveries, and return the chunks in order."""
        async with self._turn:
            await self._close()
        await self._delivered(0)
        return tuple(self._chunks)

    async def close_early(self) -> None:
        """Close the open chunk for want of room; an error in it is this writer's and not the caller's."""
        await asyncio.wait([self._in_background(self._close_under_pressure(), self._pressed)])

    async def _close_under_pressure(self) -> None:
        async with self._turn:
            try:
                await self._close()
            except SluicewayError:
                self._abandon()  # or it would stay the largest, and be asked again for ever
                raise

    def _in_background(
        self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]
    ) -> asyncio.Task[None]:
        """Run `work` as a task of this writer; its error is raised by the writer's next step."""

        def ended(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            if not task.cancelled():
                self._error = task.exception() or self._error

        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(ended)
        return task

    def _require_contract(self, batch: pa.RecordBatch) -> None:
        if not batch.schema.equals(self._contract.schema):
            raise ContractError(
                f"the source gave columns {batch.schema.names}, its contract has {self._contract.schema.names}"
                " (or their types differ)",
                hint="This is a defect of the connector; nothing of this batch was written.",
                code="batch_schema",
            )

    async def _add(self, piece: pa.RecordBatch) -> None:
        self._buffer.append(piece)
        self._rows += piece.num_rows
        self._hold(self.held + piece.nbytes, taken=piece.nbytes)
        in_memory = sum(batch.nbytes for batch in self._buffer)
        if rows_of(self._buffer) >= ROW_GROUP_ROWS or in_memory >= min(ROW_GROUP_BYTES, 4 * self._limits.bytes):
            await self._flush()
        if self._rows >= self._limits.rows or (self._file and self._file.bytes >= self._limits.bytes):
            await self._close()

    async def _flush(self) -> None:
        """Compress what is in memory into a row group of the open file."""
        if not self._buffer:
            return
        if self._file is None:
            self._file = ChunkFile(self._spool.directory / self._flat_name(UNFINISHED), self._schema)
        file, batches = self._file, self._buffer
        await self._off_loop(lambda: file.append(batches, self._contract.cursor, self._read_at))
        self._buffer = []
        self._hold(file.bytes)

    async def _close(self) -> None:
        """Finish the open chunk and begin to deliver it."""
        await self._flush()
        if self._file is None:
            return
        file, sequence = self._file, self._sequence
        with self._spool.port("spool.rename"):
            chunk, path = await self._off_loop(lambda: self._finished(file, sequence))
        self._file, self._rows = None, 0
        self._sequence += 1
        self._chunks.append(chunk)
        self._hold(0, taken=-chunk.bytes)  # what the file takes is given back when it is delivered
        delivery = self._in_background(self._bring_away(chunk, path), self._deliveries)
        delivery.add_done_callback(lambda _task: self._gone(chunk, path))

    def _finished(self, file: ChunkFile, sequence: int) -> tuple[Chunk, Path]:
        digest = file.close()
        name = f"{self._prefix}-{sequence:05d}-{digest[:12]}{FINISHED}"
        path = self._spool.directory / flat(name)
        file.path.rename(path)
        sync_folder(path.parent)
        return Chunk(name, file.rows, path.stat().st_size, digest, file.min_cursor, file.max_cursor), path

    async def _bring_away(self, chunk: Chunk, path: Path) -> None:
        await self._deliver(chunk, path)

    def _gone(self, chunk: Chunk, path: Path) -> None:
        """A delivery is over, well or not: only a callback also sees one that was cancelled before it began."""
        path.unlink(missing_ok=True)
        self._spool.quota.settle(-chunk.bytes)

    async def _delivered(self, at_most: int) -> None:
        """Wait until at most so many chunks are undelivered; raise the first error."""
        while len(self._deliveries) > at_most and self._error is None:
            await asyncio.wait(self._deliveries, return_when=asyncio.FIRST_COMPLETED)
        if self._error is not None:
            raise self._error

    def _hold(self, now: int, *, taken: int = 0) -> None:
        """The open chunk takes `now` bytes; `taken` of the change are in the spool's books already."""
        change = now - self.held - taken
        self.held = now
        self._spool.quota.settle(change)

    def _abandon(self) -> None:
        if self._file is not None:
            self._file.remove()
            self._file = None
        self._buffer, self._rows = [], 0
        self._hold(0)

    async def _off_loop(self, work: Callable[[], T]) -> T:
        def explained_work() -> T:
            with explained(self._spool.directory):
                return work()

        future = asyncio.get_running_loop().run_in_executor(None, explained_work)
        self._working.add(future)
        future.add_done_callback(self._working.discard)
        return await asyncio.shield(future)

    def _flat_name(self, ending: str) -> str:
        return flat(f"{self._prefix}-{self._sequence:05d}{ending}")


class ChunkFile:
    """One open Parquet file. Its methods block; they run outside the event loop, one at a time."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.rows = 0
        self.bytes = 0
        self.min_cursor: datetime | None = None
        self.max_cursor: datetime | None = None
        self._schema = schema
        self._sink: Any = None
        self._writer: pq.ParquetWriter | None = None

    def append(self, batches: list[pa.RecordBatch], cursor: str | None, read_at: pa.Scalar) -> None:
        """Write rows as one row group."""
        if self._writer is None:
            self._open()
        table = pa.Table.from_batches(batches)
        table = table.append_column(READ_AT_FIELD, pa.repeat(read_at, table.num_rows))
        assert self._writer is not None
        self._writer.write_table(table, row_group_size=table.num_rows)
        self.rows += table.num_rows
        self.bytes = self._sink.tell()
        if cursor is not None:
            self._widen(table.column(cursor))

    def _open(self) -> None:
        os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        self._sink = pa.OSFile(str(self.path), "wb")
        self._writer = pq.ParquetWriter(
            self._sink,
            self._schema,
            compression="zstd",
            use_dictionary=[field.name for field in self._schema if is_text(field.type)],
            write_statistics=True,
        )

    def _widen(self, cursor: pa.ChunkedArray) -> None:
        bounds = [at for at in (self.min_cursor, self.max_cursor, *extremes(cursor)) if at is not None]
        self.min_cursor, self.max_cursor = min(bounds, default=None), max(bounds, default=None)

    def close(self) -> str:
        """Write the footer, sync, and return the SHA-256 of the file's bytes, in hex."""
        assert self._writer is not None
        self._writer.close()
        self._sink.close()
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
            return hashlib.file_digest(file, "sha256").hexdigest()

    def remove(self) -> None:
        """Throw the unfinished file away."""
        if self._writer is not None:
            self._writer.close()
            self._sink.close()
        self.path.unlink(missing_ok=True)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column may be written by a dictionary of its values: for numbers that takes a third of the time of
    writing, and zstd makes them as small without."""
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def extremes(column: pa.ChunkedArray) -> tuple[datetime, datetime] | tuple[()]:
    """First and last instant of a time column, cut to the microsecond; empty where there is none."""
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ms"))
    if not pa.types.is_timestamp(column.type):
        return ()
    low, high = (pc.min_max(column.cast(pa.int64()))[end].as_py() for end in ("min", "max"))
    if low is None:
        return ()
    try:
        return as_instant(low, column.type.unit), as_instant(high, column.type.unit)
    except OverflowError:  # beyond the years that a datetime has; the range is for people only
        return ()


PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def as_instant(count: int, unit: str) -> datetime:
    """`count` units since 1970 as a UTC instant. Raises OverflowError."""
    return EPOCH + timedelta(microseconds=count * 1_000_000 // PER_SECOND[unit])


def rows_of(batches: list[pa.RecordBatch]) -> int:
    """Rows of all batches."""
    return sum(int(batch.num_rows) for batch in batches)


def footer_rows(path: Path) -> int:
    """Rows of a Parquet file, by its footer."""
    return int(pq.read_metadata(path).num_rows)


def flat(name: str) -> str:
    """A chunk's name as a file name in one folder."""
    return name.replace("/", "~")


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
