"""One part inside the attempt's points in time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime

import pyarrow as pa

from connectors.elasticsearch.paging import PointReader
from connectors.elasticsearch.pits import PitSet
from connectors.elasticsearch.points import Point
from state.model import SnapshotKind


class PitSnapshot:
    """The rows of one range; `counts` in the order of the set's points."""

    def __init__(self, pits: PitSet, counts: Sequence[int], reader: PointReader) -> None:
        self._pits = pits
        self._counts = counts
        self._reader = reader
        self._touched: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """Rows of the range inside the points in time, counted by the server."""
        return sum(self._counts)

    @property
    def kind(self) -> SnapshotKind:
        return SnapshotKind.PIT

    @property
    def read_at(self) -> datetime:
        """The source's clock, to the millisecond below, just before the points in time were opened."""
        return self._pits.read_at

    @property
    def touched(self) -> Mapping[str, int]:
        """Values changed by a declared policy so far, by column."""
        return dict(self._touched)

    def quarantined(self) -> pa.RecordBatch | None:
        """See `Snapshot.quarantined`: no column has that policy."""
        return None

    async def batches(self) -> AsyncGenerator[pa.RecordBatch, None]:
        """The rows, a page at a time. Raises `RestartAttempt` if they are not as many as were counted."""
        for point, count in zip(self._pits.points, self._counts, strict=True):
            if count:
                async with aclosing(self._point(point, count)) as batches:
                    async for batch in batches:
                        yield batch

    async def _point(self, point: Point, count: int) -> AsyncGenerator[pa.RecordBatch, None]:
        async with aclosing(self._reader.pages(point, count)) as pages:
            async for page in pages:
                self._pits.used_at = time.monotonic()
                self._touched.update(page.touched)
                if page.batch.num_rows:
                    yield page.batch
