"""What the parts of one attempt share: the source as it was found, its points in time, the page size learnt."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

from connectors.elasticsearch.catalog import look_up
from connectors.elasticsearch.paging import PageSize, PointReader
from connectors.elasticsearch.pits import PitKeeper
from connectors.elasticsearch.points import Points
from connectors.elasticsearch.product import Product
from connectors.elasticsearch.settings import ElasticsearchSettings
from connectors.elasticsearch.slices import Slicing, streams
from connectors.elasticsearch.snapshot import PitSnapshot
from connectors.elasticsearch.source import Live, Source
from connectors.elasticsearch.transport import Transport
from connectors.elasticsearch.ways import Ways
from state.model import Window

_DECODERS = 2
"""Threads per attempt: each keeps memory of its own for the largest page it saw, and more decode no faster."""
_WORTH = 4
"""Full pages that a part must hold for slices to pay: each costs a count more."""
_OF_TIMEOUT = 0.25
"""Share of a request's time that a page may take: the next one may be slower."""


@dataclass(frozen=True)
class Reading:
    """Opens snapshots of parts. `ways` knows how it is read once a part was opened; `threads` decode; a part that
    has several streams reads `at_once` of them at the same time."""

    source: Source
    points: Points
    ways: Ways
    keeper: PitKeeper
    size: PageSize
    slicing: Slicing
    at_once: int
    threads: ThreadPoolExecutor

    @asynccontextmanager
    async def open(self, span: Window | None) -> AsyncIterator[PitSnapshot]:
        """The range in the attempt's points in time, counted in each of them."""
        query = self.source.query.of(span)
        async with self.keeper.use(query) as pits:
            cut = await streams(self.points, pits.points, query, self.slicing)
            pits.used_at = time.monotonic()
            reader = PointReader(self.points, self.source.decoder, self.size, self.threads, query)
            yield PitSnapshot(pits, cut, reader, self.slicing, self.at_once)

    async def aclose(self) -> None:
        """Close the points in time; a thread that still decodes ends by itself."""
        self.threads.shutdown(wait=False, cancel_futures=True)
        await self.keeper.aclose()


def prepare(
    transport: Transport, settings: ElasticsearchSettings, source: Source, product: Product, live: Live
) -> Reading:
    """Nothing is opened yet."""
    points = Points(transport, settings, product)
    ways = Ways(transport, settings, product, points)
    keeper = PitKeeper(
        settings, points, ways, source.indices, clock=live.now, look_up=lambda: look_up(transport, settings)
    )
    most = min(settings.page_rows, *(index.max_result_window for index in source.indices))
    threads = ThreadPoolExecutor(_DECODERS, thread_name_prefix="search-decoder")
    size = PageSize(most, settings.page_bytes, _OF_TIMEOUT * settings.request_timeout_seconds)
    slicing = Slicing(settings.slices, _WORTH * most)
    return Reading(source, points, ways, keeper, size, slicing, settings.slices, threads)
