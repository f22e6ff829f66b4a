"""A part as several streams that are read at the same time: a point in time each, or slices of one.

A slice is a set of shards: the server works on each request with one part of its data only, and on several
requests with several cores. Slices are counted one by one; if they do not hold together what the whole holds, the
whole is read as one stream.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from connectors.elasticsearch.points import Point, Points, Slice
from state.errors import ConfigurationError, PermanentError

T = TypeVar("T")

_DOC_BITS = 32
"""Of `_shard_doc`; above them is the shard's place."""


@dataclass
class Slicing:
    """How many slices a part is cut in at most; one for all parts of an attempt. `worth`: documents from which on
    it pays."""

    most: int
    worth: int

    def give_up(self) -> None:
        """Slices were not what they were counted to be: parts are read in one piece from now on."""
        self.most = 1


@dataclass(frozen=True)
class Stream:
    """Documents that are read one page after the other; `count` of them, by the server's word.

    `owners`: the shards that pages came from, with their slices; one for all streams of a part.
    """

    point: Point
    slice: Slice | None
    count: int
    owners: dict[int, Slice] = field(default_factory=dict)

    def owns(self, sorts: Sequence[bytes]) -> bool:
        """False if documents of a shard of these came in another slice: sort values of the hits of a page, in
        their order. Between its first and its last shard a page may hold others, whole."""
        if self.slice is None or not sorts:
            return True
        first, last = _shard(sorts[0]), _shard(sorts[-1])
        shards = {first, last} if last - first <= 1 else set(map(_shard, sorts))
        return all(self.owners.setdefault(shard, self.slice) is self.slice for shard in shards)


def _shard(sort: bytes) -> int:
    """The shard's place, by the sort values of one of its documents."""
    [shard_doc] = json.loads(bytes(sort))
    return int(shard_doc) >> _DOC_BITS


async def streams(
    points: Points, opened: Sequence[Point], query: Mapping[str, Any], slicing: Slicing
) -> tuple[Stream, ...]:
    """The streams of `query`, which hold each document once.

    A point on its own is cut in slices, one per shard at most, where it holds enough documents.
    """
    whole = [Stream(point, None, await points.count(point, query)) for point in opened]
    if len(whole) > 1 or whole[0].count <= slicing.worth:
        return tuple(stream for stream in whole if stream.count)
    return await _sliced(points, whole[0], query, slicing.most) or tuple(whole)


async def _sliced(
    points: Points, whole: Stream, query: Mapping[str, Any], slices: int
) -> tuple[Stream, ...] | None:
    """None where the server does not slice."""
    most = min(slices, whole.point.shards or 1)
    if most == 1:
        return None
    cut = [Slice(number, most) for number in range(most)]
    try:
        counts = [await points.count(whole.point, query, one) for one in cut]
    except (ConfigurationError, PermanentError):  # not of the query: that one was counted just now
        return None
    if sum(counts) != whole.count:
        return None
    return tuple(
        Stream(whole.point, one, count, whole.owners) for one, count in zip(cut, counts, strict=True) if count
    )


async def merged(sources: Sequence[AsyncGenerator[T, None]], at_once: int) -> AsyncGenerator[T, None]:
    """What the sources give, as it comes; `at_once` of them are read at the same time, each one item ahead.

    The first error ends it. All sources are closed at the end.
    """
    waiting = iter(sources)
    coming: dict[asyncio.Task[T], AsyncGenerator[T, None]] = {}

    def go_on(source: AsyncGenerator[T, None]) -> None:
        coming[asyncio.create_task(_next(source), name="next-batch")] = source

    for source in islice(waiting, at_once):
        go_on(source)
    try:
        while coming:
            done, _ = await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                source = coming[task]
                try:
                    item = task.result()
                except StopAsyncIteration:
                    del coming[task]
                    for another in islice(waiting, 1):
                        go_on(another)
                    continue
                del coming[task]
                del task
                go_on(source)
                yield item
                del item
    finally:
        await _close(coming)


async def _next(source: AsyncGenerator[T, None]) -> T:
    return await anext(source)


async def _close(coming: Mapping[asyncio.Task[T], AsyncGenerator[T, None]]) -> None:
    """Cancelled in the middle, it still finishes: each source holds a request."""
    closing = asyncio.create_task(_closed(coming), name="close-streams")
    try:
        await asyncio.wait([closing])
    except asyncio.CancelledError:
        await asyncio.wait([closing])
        raise
    closing.result()


async def _closed(coming: Mapping[asyncio.Task[T], AsyncGenerator[T, None]]) -> None:
    for task in coming:
        task.cancel()
    await asyncio.gather(*coming, return_exceptions=True)
    for source in coming.values():
        await source.aclose()
