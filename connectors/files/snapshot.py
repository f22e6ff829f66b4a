"""A list of files, fixed when it was opened, and the rows of a span in them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from connectors.batches import bounded
from connectors.files.fitting import Aside
from connectors.files.formats import Format
from connectors.files.listing import SourceFile, reading
from connectors.files.stepping import Stepper
from state.model import SnapshotKind, Window
from state.port import Port

Rows = Generator[pa.RecordBatch, None, None]


def rows_of(
    format_: Format, files: Sequence[SourceFile], schema: pa.Schema, span: Window | None, aside: Aside
) -> Rows:
    """The rows of `span`, or all of them, in batches of bounded bytes, file by file; it blocks."""
    for file in files:
        with reading(file):
            yield from bounded(format_.rows(file, schema, span, aside))


class FilesSnapshot:
    """`connectors.base.Snapshot` over files. `rows` makes a new reader; it is closed with the snapshot."""

    kind = SnapshotKind.IMMUTABLE_FILE

    def __init__(
        self, rows: Callable[[Aside], Rows], count: int, read_at: datetime, left_out: Mapping[str, int], port: Port
    ) -> None:
        self.count = count
        self.read_at = read_at
        self._left_out = left_out
        self._aside = Aside()
        self._rows = rows
        self._port = port
        self._readers: set[Stepper[pa.RecordBatch]] = set()
        self._closed = False

    @property
    def touched(self) -> Mapping[str, int]:
        """See `Snapshot.touched`: rows that are left out count for the cursor."""
        return {**self._left_out, **self._aside.touched}

    def quarantined(self) -> pa.RecordBatch | None:
        """See `Snapshot.quarantined`."""
        return self._aside.taken()

    async def batches(self) -> AsyncGenerator[pa.RecordBatch, None]:
        """See `Snapshot.batches`."""
        self._aside = Aside()
        reader = Stepper(self._rows(self._aside))
        if self._closed:
            await reader.aclose()
        self._readers.add(reader)
        try:
            while (batch := await self._next(reader)) is not None:
                yield batch
        finally:
            await reader.aclose()
            self._readers.discard(reader)

    async def _next(self, reader: Stepper[pa.RecordBatch]) -> pa.RecordBatch | None:
        with self._port("source.read"):
            return await reader.step()

    async def aclose(self) -> None:
        """Close every file that is still being read; a reader that goes on gets `RestartAttempt`."""
        self._closed = True
        for reader in list(self._readers):
            await reader.aclose()


async def exhaust(steps: Generator[Any, None, None]) -> None:
    """Run a blocking pass to its end, in steps, so that a cancelled one stops soon."""
    stepper = Stepper(steps)
    try:
        while await stepper.step() is not None:
            pass
    finally:
        await stepper.aclose()
