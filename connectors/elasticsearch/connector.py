"""The connector for Elasticsearch and OpenSearch: `connectors.base.Connector` over points in time.

One object serves one attempt: its parts share a set of points in time, the page size that was learnt, and the
contract. Which product it is and how it can be read completely is found out on the server (`product`, `ways`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from connectors.elasticsearch.checks import Checkup
from connectors.elasticsearch.planning import cut
from connectors.elasticsearch.product import Product, detect
from connectors.elasticsearch.reading import Reading, prepare
from connectors.elasticsearch.settings import ElasticsearchSettings
from connectors.elasticsearch.snapshot import PitSnapshot
from connectors.elasticsearch.source import Live, Source, examine
from connectors.elasticsearch.transport import Transport
from state.checks import Check
from state.contract import Contract
from state.model import Window
from state.port import Port, direct


class ElasticsearchConnector:
    """An index, alias, data stream or pattern as a source of rows."""

    def __init__(self, settings: ElasticsearchSettings, port: Port = direct) -> None:
        self._settings = settings
        self._transport = Transport(settings, port)
        self._live = Live(self._transport, settings)
        self._finding_out = asyncio.Lock()
        self._product: Product | None = None
        self._source: Source | None = None
        self._reading: Reading | None = None

    async def check(self) -> Sequence[Check]:
        """Product, privileges, index, cursor, `_source`, refresh, and the way of paging, tried out."""
        look = Checkup(
            self._settings, self._live, product=self._detected, source=self._examined, reading=self._prepared
        )
        return await look.look()

    async def contract(self) -> Contract:
        """Columns from the mappings of all matching indices; see `connectors.base.Connector`."""
        source = await self._examined()
        return Contract(source.decoder.schema, self._settings.cursor, self._settings.key)

    async def plan(self, span: Window, rows_per_part: int) -> Sequence[Window]:
        """One request where the rows fit into one part, two where they are spread evenly over the span."""
        source = await self._examined()
        rows = await self._live.count(source.query.of(span))
        return await cut(
            span, rows, rows_per_part, lambda inner, step: self._live.steps(source.query, inner, step)
        )

    @asynccontextmanager
    async def open(self, span: Window | None) -> AsyncIterator[PitSnapshot]:
        """The range in the attempt's points in time, which the first part opens and `aclose` closes.

        Raises `RestartAttempt` if they are lost: the next call opens new ones.
        """
        async with (await self._prepared()).open(span) as snapshot:
            yield snapshot

    async def count(self, span: Window | None) -> int:
        """Rows of the range now, outside any snapshot."""
        source = await self._examined()
        return await self._live.count(source.query.of(span))

    async def now(self) -> datetime:
        """The server's clock, rounded down to the millisecond."""
        return await self._live.now()

    async def readable_until(self, now: datetime) -> datetime:
        """The server's clock: what waits for a refresh is a matter of `windows.safety_lag_seconds`."""
        return now

    async def aclose(self) -> None:
        """Close the points in time and the connections; harmless when repeated."""
        try:
            if self._reading is not None:
                await self._reading.aclose()
        finally:
            await self._transport.aclose()

    async def _examined(self) -> Source:
        async with self._finding_out:
            if self._source is None:
                self._source = await examine(self._transport, self._settings)
            return self._source

    async def _detected(self) -> Product:
        async with self._finding_out:
            if self._product is None:
                self._product = await detect(self._transport)
            return self._product

    async def _prepared(self) -> Reading:
        source, product = await self._examined(), await self._detected()
        async with self._finding_out:
            if self._reading is None:
                self._reading = prepare(self._transport, self._settings, source, product, self._live)
            return self._reading
