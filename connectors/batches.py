"""Batches of bounded bytes, whatever sizes a format hands out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

WANTED_BYTES = 8 * 1024 * 1024
"""Bytes of Arrow columns that a batch is filled up to: little of a worker's memory, much for a single step."""


def bounded(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of about `WANTED_BYTES`, twice that at most unless a single row is larger."""
    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        for piece in pieces(batch):
            waiting.append(piece)
            size += piece.nbytes
            if size >= WANTED_BYTES:
                yield _joined(waiting)
                waiting, size = [], 0
    if waiting:
        yield _joined(waiting)


def pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch in halves, and halves of them, until each is small enough; nothing of an empty one."""
    if batch.nbytes <= WANTED_BYTES or batch.num_rows <= 1:
        if batch.num_rows:
            yield batch
        return
    middle = batch.num_rows // 2
    yield from pieces(batch.slice(0, middle))
    yield from pieces(batch.slice(middle))


def _joined(pieces: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(pieces) == 1:
        return pieces[0]
    [batch] = pa.Table.from_batches(pieces).combine_chunks().to_batches()
    return batch
