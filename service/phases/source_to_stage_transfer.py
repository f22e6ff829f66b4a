"""Phase 3: read every part that is not read yet, bring its chunks to the stage, then COPY.

A part is read inside one snapshot and checkpointed when it is complete. It is tried again whole, on a new
snapshot; parts that are done stay done, whichever attempt read them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from pathlib import Path

import msgspec

from connectors.base import Snapshot
from loaders.parquet import ChunkLimits, ChunkWriter
from service.bench import Bench
from service.events import PartRead, RowsRead
from service.figures import touched
from service.parallel import each
from service.phases.copying import copy_figures, copy_to_stage
from service.phases.outcome import Outcome
from service.phases.setting_aside import Allowance, TooManySetAside, policy_figures
from service.retry import PART_ERRORS, retrying
from state.contract import ASIDE, Contract
from state.errors import RestartAttempt
from state.model import Chunk, Manifest, Part, Phase, Run, Window

HERE = Phase.SOURCE_TO_STAGE_TRANSFER


async def perform(bench: Bench) -> Outcome:
    contract = await retrying(bench.contract, bench.retry, bench.on_retry(HERE))
    if not bench.run.manifest.parts:
        await whole_range(bench, contract)
    parts = bench.run.manifest.parts
    unread = [number for number, part in enumerate(parts) if not part.is_read]
    settings = bench.config.phases.source_to_stage_transfer
    allowance = Allowance(settings, bench.run)

    async def read(number: int) -> None:
        await read_and_checkpoint(bench, contract, number, allowance)

    try:
        await each(while_working(bench, unread), settings.parallel_parts, read)
        bench.go_on()
        allowance.require(bench.run.manifest)
        copied = await copy_to_stage(bench)
    except (RestartAttempt, TooManySetAside):
        # a staged file is gone or is not what was put there, or the source has to be mended: read it again
        await bench.lease.checkpoint(unread_again)
        raise
    manifest = bench.run.manifest
    return Outcome(
        {
            "rows": manifest.rows,
            "chunks": len(manifest.chunks),
            "bytes": sum(chunk.bytes for chunk in manifest.chunks),
            "parts": len(manifest.parts),
            "parts_read_before": len(parts) - len(unread),
            "touched": touched(manifest),
            **policy_figures(manifest),
            **copy_figures(bench, copied),
        }
    )


def while_working(bench: Bench, parts: Iterable[int]) -> Iterator[int]:
    """`parts` until the process is told to stop: those that are being read then still come to their checkpoint."""
    return takewhile(lambda _part: not bench.stopping(), parts)


async def whole_range(bench: Bench, contract: Contract) -> None:
    """One part, where pre-validation is switched off and nobody cut the read range."""
    manifest = Manifest((Part(bench.run.read_range),), contract.digest)
    await bench.lease.checkpoint(lambda run: msgspec.structs.replace(run, manifest=manifest))


async def read_and_checkpoint(bench: Bench, contract: Contract, number: int, allowance: Allowance) -> None:
    """Read part `number` until it is complete, and put it into the manifest of the drive row."""
    span = bench.run.manifest.parts[number].range

    async def once() -> Part:
        return await read_part(bench, contract, number, span, allowance)

    part = await retrying(once, bench.retry, bench.on_retry(HERE), errors=PART_ERRORS)
    run = await bench.lease.checkpoint(lambda run: with_part(run, number, part))
    done = sum(part.is_read for part in run.manifest.parts)
    bench.emit(PartRead(run, part, done, len(run.manifest.parts)))


async def read_part(bench: Bench, contract: Contract, number: int, span: Window, allowance: Allowance) -> Part:
    """One part, its chunks staged, or `RestartAttempt` if its snapshot grew older than it may."""
    seconds = bench.config.phases.source_to_stage_transfer.snapshot_max_age_seconds
    try:
        async with asyncio.timeout(seconds) as limit:
            return await read_in_snapshot(bench, contract, number, span, allowance)
    except TimeoutError:
        if not limit.expired():
            raise
        raise RestartAttempt(
            f"the part {span} was not read within {seconds:g} seconds, the most that its snapshot may last",
            hint="It is read again. If that happens again, lower"
            " phases.source_to_stage_transfer.rows_per_part, or raise snapshot_max_age_seconds there.",
            code="snapshot_age",
        ) from None


async def read_in_snapshot(
    bench: Bench, contract: Contract, number: int, span: Window, allowance: Allowance
) -> Part:
    """One part inside one snapshot, its chunks staged. Raises `RestartAttempt` if a row is missing or too many."""
    settings = bench.config.phases.source_to_stage_transfer
    prefix = f"{bench.run.id.pipeline}/{bench.run.id.hash}/p{number:05d}"
    limits = ChunkLimits(bytes=settings.chunk_bytes, rows=settings.chunk_rows)

    async def put(chunk: Chunk, path: Path) -> None:
        await retrying(lambda: bench.loader.put(bench.attempt, chunk, path), bench.retry, bench.on_retry(HERE))

    def chunks(contract: Contract, prefix: str, read_at: datetime) -> ChunkWriter:
        return ChunkWriter(bench.spool, contract, prefix, read_at, limits=limits, deliver=put)

    async with (
        bench.connector.open(bench.asked(span)) as snapshot,
        chunks(contract, prefix, snapshot.read_at) as writer,
        chunks(ASIDE, f"{prefix}-aside", snapshot.read_at) as aside,
    ):
        allowance.begin(number)
        rows = await pour(bench, snapshot, writer, Side(aside, number, allowance))
        require_all(span, rows, snapshot.count)
        return Part(
            span,
            await writer.finish(),
            snapshot.count,
            rows,
            snapshot.kind,
            snapshot.read_at,
            dict(snapshot.touched),
            await aside.finish() or msgspec.UNSET,
        )


@dataclass(frozen=True)
class Side:
    """Where rows that a policy sets aside go, for part `number`."""

    writer: ChunkWriter
    number: int
    allowance: Allowance

    async def take(self, snapshot: Snapshot) -> int:
        """Rows that were set aside since the last time, into their chunks; returns how many."""
        rows = snapshot.quarantined()
        if rows is None:
            return 0
        self.allowance.add(self.number, rows)
        await self.writer.write(rows)
        return int(rows.num_rows)


async def pour(bench: Bench, snapshot: Snapshot, writer: ChunkWriter, side: Side) -> int:
    """All batches into the writer, rows that a policy sets aside beside it; returns the rows that came."""
    rows = 0

    def came(more: int) -> None:
        nonlocal rows
        rows += more
        bench.emit(RowsRead(bench.run, more))

    async with aclosing(snapshot.batches()) as batches:
        async for batch in batches:
            await writer.write(batch)
            came(batch.num_rows + await side.take(snapshot))
    if last := await side.take(snapshot):
        came(last)
    return rows


def require_all(span: Window, rows: int, count: int | None) -> None:
    """Raise `RestartAttempt` unless the rows that came are as many as the snapshot holds."""
    if count is not None and rows != count:
        raise RestartAttempt(
            f"the source counted {count} rows in {span} but gave {rows}",
            hint="The part is read again on a new snapshot. If it happens again, look at the source's shards.",
            code="rows_read",
        )


def with_part(run: Run, number: int, part: Part) -> Run:
    """`run` with part `number` of its manifest replaced."""
    parts = (*run.manifest.parts[:number], part, *run.manifest.parts[number + 1 :])
    return msgspec.structs.replace(run, manifest=msgspec.structs.replace(run.manifest, parts=parts))


def unread_again(run: Run) -> Run:
    """`run` with its parts as they were cut, none of them read."""
    parts = tuple(Part(part.range) for part in run.manifest.parts)
    return msgspec.structs.replace(run, manifest=msgspec.structs.replace(run.manifest, parts=parts))
