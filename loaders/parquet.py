"""Record batches of one part into Parquet chunks: bounded, exact, named by content, delivered meanwhile.

Equal rows and limits give equal bytes. A chunk is written under a temporary name, synced, renamed, and only
then delivered; whatever ends a writer early leaves no file.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from loaders.chunk_file import READ_AT_FIELD, ChunkFile
from loaders.spool import FINISHED, UNFINISHED, Spool, explained
from state.contract import Contract
from state.errors import ContractError, SluicewayError
from state.model import Chunk

T = TypeVar("T")
Deliver = Callable[[Chunk, Path], Awaitable[object]]
"""Brings a finished chunk away (the PUT); its file is removed afterwards."""

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
        self._compressing: set[asyncio.Task[None]] = set()
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
        tasks = self._deliveries | self._pressed | self._compressing
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
        held = bytes_of(self._buffer)
        is_full = False
        if rows_of(self._buffer) >= ROW_GROUP_ROWS or held >= min(ROW_GROUP_BYTES, 4 * self._limits.bytes):
            is_full = await self._group(held)
        if is_full or self._rows >= self._limits.rows:
            await self._close()

    async def _group(self, held: int) -> bool:
        """Begin to compress what is in memory, `held` bytes; rows may come meanwhile. True if the chunk is full.

        Where it might be full then, the end is waited for: so where a chunk ends hangs on its rows alone, and not
        on which thread was faster.
        """
        await self._compressed()
        may_end = (self._file.bytes if self._file else 0) + 2 * held >= self._limits.bytes
        file = self._compress()
        if may_end:
            await self._compressed()
        return may_end and file.bytes >= self._limits.bytes

    def _compress(self) -> ChunkFile:
        """What is in memory becomes a row group of the open file, in the background."""
        if self._file is None:
            self._file = ChunkFile(self._spool.directory / self._flat_name(UNFINISHED), self._schema)
        file, batches, self._buffer = self._file, self._buffer, []

        async def append() -> None:
            await self._off_loop(lambda: file.append(batches, self._contract.cursor, self._read_at))
            self._hold(file.bytes + bytes_of(self._buffer))

        self._in_background(append(), self._compressing)
        return file

    async def _compressed(self) -> None:
        """Wait until nothing is being compressed; raise the first error."""
        if self._compressing:
            await asyncio.wait(self._compressing)
        if self._error is not None:
            raise self._error

    async def _flush(self) -> None:
        """Compress what is in memory, and wait for it."""
        await self._compressed()
        if self._buffer:
            self._compress()
            await self._compressed()

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


def rows_of(batches: list[pa.RecordBatch]) -> int:
    """Rows of all batches."""
    return sum(int(batch.num_rows) for batch in batches)


def bytes_of(batches: list[pa.RecordBatch]) -> int:
    """Bytes of all batches in memory."""
    return sum(int(batch.nbytes) for batch in batches)


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
