"""Staged files of the twin: what their footers tell, and how they reach an archive."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq

from loaders.archive import Archive
from loaders.columns import FILE, ROW
from loaders.memory_ledger import MemoryLedger
from loaders.memory_rows import MemoryTarget, Row
from state.contract import READ_AT, Contract
from state.errors import RestartAttempt
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


class MemoryFiles(MemoryLedger):
    """The staged files of a target."""

    def _require_bytes(self, chunk: Chunk, data: bytes) -> None:
        if len(data) != chunk.bytes or hashlib.sha256(data).hexdigest() != chunk.sha256:
            raise RestartAttempt(
                f"the file of {chunk.name} is not what was written for it", code="stage_file_changed"
            )

    def _read(self, chunks: Sequence[Chunk], contract: Contract) -> tuple[list[Row], dict[str, int]]:
        """Rows of staged files, and how many of each."""
        rows: list[Row] = []
        loaded: dict[str, int] = {}
        for chunk in chunks:
            table = pq.ParquetFile(io.BytesIO(self._staged(chunk))).read(use_threads=False)
            if table.schema.names != [*contract.schema.names, READ_AT] or table.num_rows != chunk.rows:
                raise RestartAttempt(
                    f"the staged file {chunk.name} has other columns or rows than expected", code="stage_file_rows"
                )
            rows += [{**row, FILE: chunk.name, ROW: n} for n, row in enumerate(table.to_pylist())]
            loaded[chunk.name] = table.num_rows
        return rows, loaded

    def _staged(self, chunk: Chunk) -> bytes:
        if chunk.name not in self.target.files:
            raise RestartAttempt(f"the staged file {chunk.name} is gone", code="stage_file_missing")
        data, _ = self.target.files[chunk.name]
        self._require_bytes(chunk, data)
        return data

    def _staged_rows(self, chunks: Iterable[Chunk]) -> int:
        files = (self.target.files[chunk.name][0] for chunk in chunks if chunk.name in self.target.files)
        return sum(rows_told(data) for data in files)
