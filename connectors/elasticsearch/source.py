"""What is found out about a source once per attempt, and the requests that look at it live."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from connectors.elasticsearch.answers import require_whole_now, total
from connectors.elasticsearch.catalog import Index, look_up, parsed, require_still_there, target
from connectors.elasticsearch.columns import cursor_field, decoder
from connectors.elasticsearch.decode import Decoder, read_page
from connectors.elasticsearch.mappings import require_source, union
from connectors.elasticsearch.planning import instant
from connectors.elasticsearch.queries import NO_PARTIAL, Query, clock, count, histogram, resolution
from connectors.elasticsearch.settings import ElasticsearchSettings
from connectors.elasticsearch.transport import Transport
from state.errors import ConfigurationError, TransientError
from state.model import Window


@dataclass(frozen=True)
class Source:
    """The indices as they were first seen, the decoder of the chosen columns, and the query for their rows."""

    indices: tuple[Index, ...]
    decoder: Decoder
    query: Query


async def examine(transport: Transport, settings: ElasticsearchSettings) -> Source:
    """Raises `ConfigurationError` and `ContractError` as `Connector.contract` does."""
    indices = await look_up(transport, settings)
    doing = f"reading the mappings of {settings.index}"
    answer = await transport.call("source.mapping", doing, "GET", target(settings.index, settings, "_mapping"))
    return await asyncio.to_thread(
        _found, settings, indices, parsed(doing, answer.body)
    )  # there are huge mappings


def _found(settings: ElasticsearchSettings, indices: tuple[Index, ...], mappings: Mapping[str, Any]) -> Source:
    require_still_there(indices, [index for index in indices if index.name in mappings], settings)
    require_source(mappings, {index.name: index.source_mode for index in indices})
    require_refresh(indices)
    fields = union(mappings)
    made = decoder(settings, fields)
    cursor = cursor_field(settings)
    types = [] if cursor is None else [one.es_type for one in fields[tuple(cursor.split("."))]]
    return Source(indices, made, Query(cursor, settings.where, resolution(types)))


def require_refresh(indices: Sequence[Index]) -> None:
    """Raise `ConfigurationError` for an index whose new documents never become visible by themselves."""
    if still := [index.name for index in indices if not index.refreshes]:
        raise ConfigurationError(
            f"refresh_interval is -1 on {', '.join(still)}: a window may close before its documents are visible",
            hint="Set index.refresh_interval to a time, and windows.safety_lag_seconds above it.",
            code="refresh_interval",
            path="source_system.index",
        )


class Live:
    """Questions to the indices as they are now, outside any snapshot."""

    def __init__(self, transport: Transport, settings: ElasticsearchSettings) -> None:
        self._transport = transport
        self._settings = settings

    async def now(self) -> datetime:
        """The server's clock, rounded down to the millisecond, which is as fine as it tells."""
        doing = "asking the search server for the time"
        answer = await self._search("source.clock", doing, clock())
        try:
            return instant(int(answer["aggregations"]["clock"]["buckets"][0]["from"]))
        except (KeyError, IndexError, TypeError, ValueError):
            raise TransientError(f"{doing}: it does not say", code="bad_response") from None

    async def count(self, query: Mapping[str, Any]) -> int:
        """Documents of the query now."""
        doing = f"counting {self._settings.index}"
        data = await self._asked("source.live_count", doing, count(query))
        envelope, _ = read_page(data)
        return total(envelope, doing)

    async def steps(self, query: Query, span: Window, step: timedelta) -> list[tuple[datetime, int]]:
        """Start and count of each step of the span that holds rows."""
        doing = f"counting {self._settings.index} in steps"
        answer = await self._search("source.plan", doing, histogram(query.of(span), str(query.field), step))
        try:
            buckets = answer["aggregations"]["steps"]["buckets"]
            return [(instant(bucket["key"]), bucket["doc_count"]) for bucket in buckets if bucket["doc_count"]]
        except (KeyError, TypeError):
            raise TransientError(f"{doing}: the answer holds no steps", code="bad_response") from None

    async def _search(self, effect: str, doing: str, body: Mapping[str, Any]) -> Any:
        return json.loads(await self._asked(effect, doing, body))

    async def _asked(self, effect: str, doing: str, body: Mapping[str, Any]) -> bytes:
        """A whole answer."""
        where = target(self._settings.index, self._settings, "_search", NO_PARTIAL)
        answer = await self._transport.call(effect, doing, "POST", where, body)
        envelope, _ = read_page(answer.body)
        require_whole_now(envelope, doing)
        return answer.body
