"""The source's lines of `sluiceway doctor`. A failed look is a value here, and ends the looking."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from connectors.elasticsearch.catalog import look_up
from connectors.elasticsearch.product import detect
from connectors.elasticsearch.reading import Reading
from connectors.elasticsearch.settings import ElasticsearchSettings
from connectors.elasticsearch.source import Live, Source
from connectors.elasticsearch.transport import Transport
from state.checks import Check
from state.errors import SluicewayError

Look = Callable[[], Awaitable[Check]]


class Checkup:
    """One request per question, none made twice: a wrong password is offered to the server once."""

    def __init__(
        self,
        transport: Transport,
        settings: ElasticsearchSettings,
        live: Live,
        examined: Callable[[], Awaitable[Source]],
        prepared: Callable[[], Awaitable[Reading]],
    ) -> None:
        self._transport = transport
        self._settings = settings
        self._live = live
        self._examined = examined
        self._prepared = prepared

    async def look(self) -> list[Check]:
        """All checks, up to the first that the others need."""
        found: list[Check] = []
        for name, look in self._looks():
            try:
                found.append(await look())
            except SluicewayError as error:
                found.append(Check(name, False, error.message, error.hint))
                break
        return found

    def _looks(self) -> tuple[tuple[str, Look], ...]:
        return (
            ("source_system.endpoint", self._product),
            ("source_system.index", self._index),
            ("source_system.columns", self._columns),
            ("source_system refresh_interval", self._refresh),
            ("source_system.cursor", self._cursor),
            ("source_system paging", self._paging),
        )

    async def _product(self) -> Check:
        return Check("source_system.endpoint", True, str(await detect(self._transport)))

    async def _index(self) -> Check:
        indices = await look_up(self._transport, self._settings)
        shards = sum(index.shards for index in indices)
        found = f"{len(indices)} indices with {shards} shards may be read"
        return Check("source_system.index", True, found)

    async def _columns(self) -> Check:
        source = await self._examined()
        found = f"{len(source.decoder.schema)} columns; whole documents are kept in `_source`"
        return Check("source_system.columns", True, found)

    async def _refresh(self) -> Check:
        """Compared by a person: the connector does not know the lag."""
        source = await self._examined()
        told = sorted({index.refresh for index in source.indices if index.refresh}) or ["the server's default, 1s"]
        found = f"{', '.join(told)}; windows.safety_lag_seconds must be above it"
        return Check("source_system refresh_interval", True, found)

    async def _cursor(self) -> Check:
        source = await self._examined()
        without = await self._live.count(source.query.without_cursor())
        return Check(
            "source_system.cursor",
            not without,
            f"{self._settings.cursor} is a date; {without} documents are without it",
            "No window ever holds them; leave them out by name with source_system.where: "
            f"{{exists: {{field: {source.query.field}}}}}.",
        )

    async def _paging(self) -> Check:
        reading = await self._prepared()
        async with reading.keeper.use() as pits:
            found = f"{reading.ways.chosen}, tried out ({len(pits.points)} opened)"
        return Check("source_system paging", True, found)
