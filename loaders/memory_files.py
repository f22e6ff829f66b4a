"""Staged files of the twin: what their footers tell, and how they reach an archive."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq

from loaders.archive import Archive
from loaders.memory_rows import MemoryTarget
from state.model import Chunk


async def archive_all(target: MemoryTarget, chunks: Iterable[Chunk], archive: Archive) -> None:
    """Keep the chunks that are staged, by way of a file; see `Archive.keep` for one that is not."""
    with TemporaryDirectory() as folder:
        for number, chunk in enumerate(chunks):
            path = Path(folder) / str(number)
            if chunk.name in target.files:
                path.write_bytes(target.files[chunk.name][0])
            await archive.keep(chunk, path)


def rows_told(data: bytes) -> int:
    """Rows of a Parquet file, by its footer."""
    return int(pq.read_metadata(io.BytesIO(data)).num_rows)
