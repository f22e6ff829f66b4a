"""Reading one point in time page by page: the next page is on its way while the last one is decoded.

At most one page is held beside the one that is being decoded. A page is asked for once; what fails is read again
by whoever opens the part again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any, NamedTuple, TypeVar

import msgspec

from connectors.elasticsearch.answers import require_not_cut
from connectors.elasticsearch.decode import Decoder, Envelope, Hit, Page, read_page
from connectors.elasticsearch.errors import PERMANENT_BREAKER
from connectors.elasticsearch.points import Point, Points
from connectors.elasticsearch.slices import Stream
from connectors.elasticsearch.transport import PAGE
from state.errors import PermanentError, RestartAttempt, TransientError

T = TypeVar("T")

MISCOUNTED = "rows_read"
"""Code of the error about a stream that does not hold what was counted in it."""
_FIRST = 200
"""Documents of the first page, when nothing is known about their size."""
_GROWTH = 4
_STEEP = 8


class PageSize:
    """How many documents to ask for: towards `bytes` and below `seconds` per page, from what came, never above
    `most`.

    One for all parts of an attempt, so that what one part learns serves the others. A page that was too much
    halves it, or takes it to an eighth while no page has ever come; it does not grow beyond that again.
    """

    def __init__(self, most: int, bytes: int, seconds: float) -> None:  # noqa: A002
        self._most = most
        self._bytes = bytes
        self._seconds = seconds
        self._next = min(_FIRST, most)
        self._proven = False

    @property
    def rows(self) -> int:
        return self._next

    @property
    def most(self) -> int:
        """Documents that a page may hold at most."""
        return self._most

    def came(self, rows: int, size: int, seconds: float) -> None:
        """A page of `rows` documents came with `size` bytes, within `seconds`."""
        if rows:
            self._proven = True
            fitting = max(1, self._bytes * rows // size)
            if seconds > self._seconds:
                fitting = max(1, min(fitting, int(rows * self._seconds / seconds)))
            self._next = min(self._most, fitting, max(self._next, rows * _GROWTH))

    def was_too_much(self, rows: int) -> bool:
        """A page of `rows` documents was refused; False if no smaller one can be asked for."""
        if rows <= 1:
            return False
        self._most = min(self._most, max(1, rows // (2 if self._proven else _STEEP)))
        self._next = min(self._next, self._most)
        return True


class Asked(NamedTuple):
    """A page as it came: how many documents were asked for, and the place where the next page starts."""

    asked: int
    envelope: Envelope
    hits: list[Hit]
    last: bytes


class PointReader:
    """Reads the documents of one query, stream by stream. `threads` do the decoding."""

    def __init__(
        self, points: Points, decoder: Decoder, size: PageSize, threads: Executor, query: Mapping[str, Any]
    ) -> None:
        self._points = points
        self._threads = threads
        self._decoder = decoder
        self._size = size
        columns = set(decoder.schema.names)
        self._body = {
            "query": query,
            "track_total_hits": False,
            "version": "_version" in columns,
            "seq_no_primary_term": bool(columns & {"_seq_no", "_primary_term"}),
        }

    async def pages(self, stream: Stream) -> AsyncGenerator[Page, None]:
        """All documents of the stream, or `RestartAttempt`.

        One document more than is left is asked for: so the last page is known as such, and one too many is seen.
        """
        count = stream.count
        coming = self._ask(stream, count, b"")
        try:
            while True:
                page = await coming
                count -= len(page.hits)
                is_last = len(page.hits) < page.asked
                if count < 0 or (is_last and count):
                    raise _miscounted(stream.point, count)
                if not is_last:
                    coming = self._ask(stream, count, page.last)
                decoded = await self._aside(partial(self._decoder.decode_hits, page.envelope, page.hits))
                del page
                yield decoded
                del decoded
                if is_last:
                    return
        finally:
            coming.cancel()
            await asyncio.wait([coming])
            if not coming.cancelled():
                coming.exception()

    def _ask(self, stream: Stream, left: int, after: bytes) -> asyncio.Task[Asked]:
        return asyncio.create_task(self._page(stream, left, after), name="next-page")

    async def _page(self, stream: Stream, left: int, after: bytes) -> Asked:
        point = stream.point
        rows = min(self._size.rows, left + 1)
        body = {**self._body, "size": rows, "sort": point.sort}
        if after:
            body["search_after"] = msgspec.Raw(after)
        doing = f"reading a page of {point}"
        try:
            answer = await self._points.search(point, PAGE, doing, body, stream.slice)
        except TransientError as error:
            raise self._smaller(error, rows) from None
        envelope, hits = await self._aside(partial(read_page, answer.body))
        point.accept(envelope, doing, stream.slice)
        require_not_cut(envelope, doing)
        if not stream.owns([hit.sort for hit in hits]):
            raise _overlapping(point)
        self._size.came(len(hits), len(answer.body), answer.seconds)
        self._points.came(answer, envelope)
        return Asked(rows, envelope, hits, bytes(hits[-1].sort) if hits else b"")

    async def _aside(self, work: Callable[[], T]) -> T:
        """Do `work` off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _smaller(self, error: TransientError, rows: int) -> TransientError | PermanentError:
        """The error, once the page size has learnt from it. Permanent if one document is too much for good."""
        if error.code == "timeout":
            self._size.was_too_much(rows)  # the same page would be as slow
        if not error.shrink or self._size.was_too_much(rows):
            return error
        if error.code not in (PERMANENT_BREAKER, "too_large"):
            return error
        return PermanentError(
            f"{error.message}, for a page of a single document",
            hint="Leave the document out with source_system.where, or give the server more memory.",
            code=error.code,
        )


def _overlapping(point: Point) -> RestartAttempt:
    return RestartAttempt(
        f"two slices of {point} hold documents of one shard",
        hint="The part is read again in one piece.",
        code=MISCOUNTED,
    )


def _miscounted(point: Point, left: int) -> RestartAttempt:
    found = f"ended {left} documents early" if left > 0 else "gave more documents than it counted"
    return RestartAttempt(
        f"{point} {found}",
        hint="The part is read again on a new snapshot. If it happens again, look at the source's shards.",
        code=MISCOUNTED,
    )
