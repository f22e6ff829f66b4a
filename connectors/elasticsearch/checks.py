"""The source's lines of `sluiceway doctor`. A failed look is a value here, and ends the looking."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from connectors.elasticsearch.product import Product
from connectors.elasticsearch.reading import Reading
from connectors.elasticsearch.settings import ElasticsearchSettings
from connectors.elasticsearch.source import Live, Source
from connectors.elasticsearch.ways import ALL
from state.checks import Check, Look, up_to_the_first_error


class Checkup:
    """Asks what the connector finds out anyway, step by step; nothing that failed is asked again."""

    def __init__(
        self,
        settings: ElasticsearchSettings,
        live: Live,
        *,
        product: Callable[[], Awaitable[Product]],
        source: Callable[[], Awaitable[Source]],
        reading: Callable[[], Awaitable[Reading]],
    ) -> None:
        self._settings = settings
        self._live = live
        self._product = product
        self._source = source
        self._reading = reading

    async def look(self) -> list[Check]:
        """All checks, up to the first error."""
        return await up_to_the_first_error(self._looks())

    def _looks(self) -> tuple[tuple[str, Look], ...]:
        return (
            ("source_system.endpoint", self._endpoint),
            ("source_system.index", self._index),
            ("source_system refresh_interval", self._refresh),
            ("source_system.cursor", self._cursor),
            ("source_system paging", self._paging),
        )

    async def _endpoint(self) -> Check:
        return Check("source_system.endpoint", True, str(await self._product()))

    async def _index(self) -> Check:
        source = await self._source()
        shards = sum(index.shards for index in source.indices)
        found = f"{len(source.indices)} indices with {shards} shards, which keep whole documents in `_source`"
        return Check("source_system.index", True, found)

    async def _refresh(self) -> Check:
        """Compared by a person: the connector does not know the lag."""
        source = await self._source()
        told = sorted({index.refresh for index in source.indices if index.refresh}) or ["the server's default, 1s"]
        found = f"{', '.join(told)}; windows.safety_lag_seconds must be above it"
        return Check("source_system refresh_interval", True, found)

    async def _cursor(self) -> Check:
        source = await self._source()
        if source.query.field is None:
            rows = await self._live.count(source.query.of(None))
            return Check(
                "source_system rows", True, f"{rows:,} documents, which are read whole: there is no cursor"
            )
        without = await self._live.count(source.query.without_cursor())
        return Check(
            "source_system.cursor",
            not without,
            f"{self._settings.cursor} is a date; {without} documents are without it",
            "No window ever holds them; leave them out by name with source_system.where: "
            f"{{exists: {{field: {source.query.field}}}}}.",
        )

    async def _paging(self) -> Check:
        reading = await self._reading()
        async with reading.keeper.use(ALL) as pits:
            found = f"{reading.ways.chosen}, tried out ({len(pits.points)} opened)"
        return Check("source_system paging", True, found)
