"""One part inside the attempt's points in time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime

import pyarrow as pa

from connectors.elasticsearch.decode import Page
from connectors.elasticsearch.paging import MISCOUNTED, PointReader
from connectors.elasticsearch.pits import PitSet
from connectors.elasticsearch.slices import Slicing, Stream, merged
from state.errors import RestartAttempt
from state.model import SnapshotKind


class PitSnapshot:
    """The rows of one range, as `streams` of which `at_once` are read at the same time."""

    def __init__(
        self, pits: PitSet, streams: Sequence[Stream], reader: PointReader, slicing: Slicing, at_once: int
    ) -> None:
        self._pits = pits
        self._streams = streams
        self._reader = reader
        self._slicing = slicing
        self._at_once = at_once
        self._touched: Counter[str] = Counter()
        self._aside: list[pa.RecordBatch] = []

    @property
    def count(self) -> int:
        """Rows of the range inside the points in time, counted by the server."""
        return sum(stream.count for stream in self._streams)

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
        """See `Snapshot.quarantined`."""
        taken, self._aside = self._aside, []
        return pa.Table.from_batches(taken).combine_chunks().to_batches()[0] if taken else None

    async def batches(self) -> AsyncGenerator[pa.RecordBatch, None]:
        """The rows, a page at a time. Raises `RestartAttempt` if they are not as many as were counted."""
        try:
            async with aclosing(self._pages()) as pages:
                async for page in pages:
                    self._pits.used_at = time.monotonic()
                    self._touched.update(page.touched)
                    if page.quarantined is not None:
                        self._aside.append(page.quarantined)
                    if page.batch.num_rows:
                        yield page.batch
        except RestartAttempt as error:
            if error.code == MISCOUNTED:
                self._slicing.give_up()
            raise

    def _pages(self) -> AsyncGenerator[Page, None]:
        sources = [self._reader.pages(stream) for stream in self._streams]
        return merged(sources, self._at_once)
