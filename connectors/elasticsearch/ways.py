"""The ways to read a source completely and once, and which of them its server can be trusted with.

A page continues after the sort values of the last one, so rows that share them with the last row of a page are
lost. `_shard_doc` is unique in a point in time on Elasticsearch, but on OpenSearch, where it exists, only within
one index; `_doc` only within one shard. What a server does is found out on the server, not from its version.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from connectors.elasticsearch.answers import require_whole_now, total
from connectors.elasticsearch.catalog import Index, target
from connectors.elasticsearch.decode_envelope import read_page
from connectors.elasticsearch.errors import refusal
from connectors.elasticsearch.points import BY_DOC, BY_SHARD_DOC, Point, Points
from connectors.elasticsearch.product import Product
from connectors.elasticsearch.queries import NO_PARTIAL, count
from connectors.elasticsearch.settings import ElasticsearchSettings
from connectors.elasticsearch.transport import Transport
from state.errors import ConfigurationError, TransientError

Clock = Callable[[], Awaitable[datetime]]
_PROBED = 100
ALL: Mapping[str, Any] = {"match_all": {}}
"""Every document of the source, whatever its cursor says."""


class Way(StrEnum):
    """How many points in time are opened, and in which order each is read."""

    TOGETHER = "one point in time, by _shard_doc"
    PER_INDEX = "one point in time per index, by _shard_doc"
    PER_SHARD = "one point in time per shard, by _doc"


class Ways:
    """Finds the way once, then opens points in time by it."""

    def __init__(
        self, transport: Transport, settings: ElasticsearchSettings, product: Product, points: Points
    ) -> None:
        self._transport = transport
        self._settings = settings
        self._product = product
        self._points = points
        self.chosen: Way | None = None

    async def open(
        self, indices: Sequence[Index], opened: list[Point], query: Mapping[str, Any], clock: Clock
    ) -> datetime:
        """Open what it takes to read `indices`, each point put into `opened` at once, so that none is forgotten.

        A way is tried out on the documents of `query`: on all of them it would cost some servers a look at each.
        Returns what `clock` said immediately before: the longer the gap, the sooner an older look of another run
        carries a later time. Raises `ConfigurationError` if no way of reading this server is complete.
        """
        if self.chosen is not None:
            return await self._open(self.chosen, indices, opened, clock)
        self.chosen, read_at = await self._find(indices, opened, query, clock)
        return read_at

    async def _find(
        self, indices: Sequence[Index], opened: list[Point], query: Mapping[str, Any], clock: Clock
    ) -> tuple[Way, datetime]:
        alone = len(indices) == 1 or self._product.is_elasticsearch
        way = Way.TOGETHER if alone else Way.PER_INDEX
        read_at = await self._open(way, indices, opened, clock)
        most = min([_PROBED, *(index.max_result_window for index in indices)])
        if not await self._is_unique(opened[0], query, most):
            if self._product.is_elasticsearch:
                raise _refused(f"{self._product} does not sort by _shard_doc")
            await self._points.close(opened)
            opened.clear()
            way = Way.PER_SHARD
            read_at = await self._open(way, indices, opened, clock)
        if way is not Way.TOGETHER:
            await self._require_all(opened)
        return way, read_at

    async def _open(self, way: Way, indices: Sequence[Index], opened: list[Point], clock: Clock) -> datetime:
        read_at = await clock()
        # By its own name where it is one index: an alias may have a filter.
        names = [self._settings.index] if len(indices) == 1 else [index.name for index in indices]
        if way is Way.TOGETHER:
            opened.append(await self._points.open(self._settings.index, BY_SHARD_DOC))
        elif way is Way.PER_INDEX:
            for name in names:
                opened.append(await self._points.open(name, BY_SHARD_DOC))
        else:
            for name, index in zip(names, indices, strict=True):
                for shard in range(index.shards):
                    opened.append(await self._points.open(name, BY_DOC, shard))
        return read_at

    async def _is_unique(self, point: Point, query: Mapping[str, Any], most: int) -> bool:
        """True if the server sorts by `_shard_doc` and gives no value of it twice on a first page of `most`."""
        doing = f"trying to sort {point} by _shard_doc"
        body = {"size": most, "sort": point.sort, "_source": False, "track_total_hits": False, "query": query}
        inside = {**body, "pit": {"id": point.id, "keep_alive": f"{self._settings.keep_alive_seconds}s"}}
        where = f"/_search?{NO_PARTIAL}"
        answer = await self._transport.call(
            "source.probe", doing, "POST", where, inside, accept=(400,), underway=True
        )
        if answer.status == 400:
            if b"_shard_doc" in answer.body:
                return False
            raise refusal(answer.status, answer.headers, answer.body, doing)  # it is the query that it refuses
        envelope, hits = read_page(answer.body)
        point.accept(envelope, doing)
        values = [bytes(hit.sort) for hit in hits]
        return len(set(values)) == len(values) and b"" not in values

    async def _require_all(self, opened: Sequence[Point]) -> None:
        """Raise `ConfigurationError` unless the points hold each document of the source once."""
        before = await self._live_count()
        counts = [await self._points.count(point, ALL) for point in opened]
        after = await self._live_count()
        for point in opened:
            if point.shard is not None and point.shards != 1:
                raise _refused(f"asked for {point} alone, {self._product} answered from {point.shards} shards")
        if min(before, after) <= sum(counts) <= max(before, after):
            return
        found = f"its {len(opened)} points in time hold {sum(counts)} documents, the source {after}"
        if before != after:
            raise TransientError(
                f"{self._settings.index} changes too fast for a look at whether it is read completely: {found}",
                hint="Tried again.",
                code="probe",
            )
        raise _refused(found)

    async def _live_count(self) -> int:
        doing = f"counting {self._settings.index}"
        where = target(self._settings.index, self._settings, "_search", NO_PARTIAL)
        answer = await self._transport.call("source.probe", doing, "POST", where, count(ALL))
        envelope, _ = read_page(answer.body)
        require_whole_now(envelope, doing)
        return total(envelope, doing)


def _refused(found: str) -> ConfigurationError:
    return ConfigurationError(
        f"this source cannot be read completely page by page: {found}",
        hint="Name a single index in source_system.index; a filter of an alias belongs into source_system.where.",
        code="paging",
        path="source_system.index",
    )
