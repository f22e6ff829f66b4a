"""Points in time: opened, counted in, closed; the same for both products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from connectors.elasticsearch.answers import require_whole, total
from connectors.elasticsearch.catalog import parsed, target
from connectors.elasticsearch.decode_envelope import Envelope, read_page
from connectors.elasticsearch.product import Product
from connectors.elasticsearch.queries import NO_PARTIAL, count
from connectors.elasticsearch.settings import ElasticsearchSettings
from connectors.elasticsearch.transport import CLOSE, Answer, Transport
from state.errors import RestartAttempt, SluicewayError, TransientError

BY_SHARD_DOC: Sequence[Any] = ({"_shard_doc": "asc"},)
BY_DOC: Sequence[Any] = ("_doc",)
"""Only unique within one shard."""
_UNCACHED = "&request_cache=false"
"""Servers keep counts by what is asked of a shard, and forget that its place among the others decides which slice
it is in: with another set of indices they give a count of before."""


class Slice:
    """Slice `number` of `most`, of a point in time: some of its shards.

    `shards`: how many answer for it, known after the first answer: all that the point holds, or only its own.
    """

    def __init__(self, number: int, most: int) -> None:
        self.number = number
        self.most = most
        self.shards: int | None = None


class Point:
    """One open point in time over `index`, or one `shard` of it, read in the order of `sort`.

    `id` is always the newest that the server gave. `shards`: how many it holds, known after the first answer.
    """

    def __init__(self, id: str, index: str, shard: int | None, sort: Sequence[Any]) -> None:  # noqa: A002
        self.id = id
        self.index = index
        self.shard = shard
        self.sort = sort
        self.shards: int | None = None

    def __str__(self) -> str:
        return self.index if self.shard is None else f"shard {self.shard} of {self.index}"

    def accept(self, envelope: Envelope, doing: str, slice: Slice | None = None) -> None:  # noqa: A002
        """Take over what an answer says of this point or a slice of it. Raises unless the answer is whole."""
        if envelope.pit_id:
            self.id = envelope.pit_id
        asked = slice or self
        require_whole(envelope, doing, asked.shards)
        asked.shards = envelope.shards.total


class Points:
    """Makes the requests that points in time need."""

    def __init__(self, transport: Transport, settings: ElasticsearchSettings, product: Product) -> None:
        self._transport = transport
        self._settings = settings
        self._elastic = product.is_elasticsearch

    async def open(self, index: str, sort: Sequence[Any], shard: int | None = None) -> Point:
        """Raises `TransientError` where the server has too many open, `RestartAttempt` if shards are missing."""
        doing = f"opening a point in time on {index}"
        query = f"keep_alive={self._settings.keep_alive_seconds}s"
        if shard is not None:
            query += f"&preference=_shards:{shard}"
        if self._elastic:
            where = target(index, self._settings, "_pit", query)
        else:  # OpenSearch would otherwise leave out shards that are away, and say 200
            where = target(
                index, self._settings, "_search/point_in_time", f"{query}&allow_partial_pit_creation=false"
            )
        answer = await self._transport.call("source.open_pit", doing, "POST", where)
        opened = parsed(doing, answer.body)
        name = opened.get("id") or opened.get("pit_id")
        if not isinstance(name, str):
            raise TransientError(f"{doing}: the answer names none", hint="Tried again.", code="bad_response")
        point = Point(name, index, shard, sort)
        if failed := (opened.get("_shards") or {}).get("failed"):
            await self.close([point])
            raise RestartAttempt(
                f"{doing}: {failed} shards are missing",
                hint="Tried again; if it stays so, look at the cluster's health.",
                code="shard_failed",
            )
        return point

    async def close(self, points: Sequence[Point]) -> None:
        """Close them all. What cannot be closed now ends by itself when its keep-alive is over."""
        for point in points:
            with suppress(SluicewayError):
                await self._close(point)

    async def _close(self, point: Point) -> None:
        path = "/_pit" if self._elastic else "/_search/point_in_time"
        body = {"id": point.id} if self._elastic else {"pit_id": [point.id]}
        doing = f"closing the point in time on {point}"
        await self._transport.call(CLOSE, doing, "DELETE", path, body, accept=(404,))

    async def count(self, point: Point, query: Mapping[str, Any], slice: Slice | None = None) -> int:  # noqa: A002
        """Documents of the query inside the point, or inside a slice of it."""
        doing = f"counting in {point}"
        answer = await self.search(point, "source.count", doing, count(query), slice)
        envelope, _ = read_page(answer.body)
        point.accept(envelope, doing, slice)
        return total(envelope, doing)

    def came(self, answer: Answer, envelope: Envelope) -> None:
        """A page came: how long it travelled tells how fast the network is."""
        self._transport.wire.came(
            len(answer.body), answer.seconds, envelope.took / 1000, compressed=answer.compressed
        )

    async def search(
        self,
        point: Point,
        effect: str,
        doing: str,
        body: Mapping[str, Any],
        slice: Slice | None = None,  # noqa: A002
    ) -> Answer:
        """The answer to a search inside the point, which is kept alive by it; not looked at yet."""
        inside = {**body, "pit": {"id": point.id, "keep_alive": f"{self._settings.keep_alive_seconds}s"}}
        where = f"/_search?{NO_PARTIAL}"
        if slice is not None:
            inside["slice"] = {"id": slice.number, "max": slice.most}
            where += _UNCACHED
        return await self._transport.call(effect, doing, "POST", where, inside, underway=True)
