"""Broken twins of a source, each wrong in one way that an operator would pay for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pyarrow.compute as pc

from connectors.memory import MemoryConnector, MemorySnapshot
from state.checks import Check
from state.contract import Contract
from state.errors import PermanentError, SluicewayError
from state.model import Window
from tests.contract.connector import HOUR, MICROSECOND


class TypesFromRows(MemoryConnector):
    """Leaves a column out of the contract while it has no value."""

    async def contract(self) -> Contract:
        contract = await super().contract()
        rows = self.source.rows
        named = [field for field in contract.schema if rows.num_rows or field.name != "note"]
        return Contract(pa.schema(named), contract.cursor, contract.key)


class AnyCursor(MemoryConnector):
    """Does not look whether the cursor exists."""

    async def contract(self) -> Contract:
        if self._cursor in self.source.rows.column_names:
            return await super().contract()
        return Contract(self.source.rows.schema, self._cursor, self._key)

    async def check(self) -> Sequence[Check]:
        if self._cursor in self.source.rows.column_names:
            return await super().check()
        return [Check("source columns", False, f"there is no '{self._cursor}'")]


class AnyKey(MemoryConnector):
    """Does not look whether the key exists."""

    async def contract(self) -> Contract:
        key, self._key = self._key, ()
        contract = await super().contract()
        self._key = key
        return Contract(contract.schema, contract.cursor, key)


class NoChecks(MemoryConnector):
    """Has nothing to say about a source that is well."""

    async def check(self) -> Sequence[Check]:
        return [check for check in await super().check() if not check.ok]


class CheckRaises(MemoryConnector):
    """Raises what a check should tell."""

    async def check(self) -> Sequence[Check]:
        await self.contract()
        return await super().check()


class LocalTime(MemoryConnector):
    """Tells the right instant in another zone."""

    async def now(self) -> datetime:
        return (await super().now()).astimezone(timezone(HOUR))


class ClockGoesBack(MemoryConnector):
    """Tells the time a little wrong, every second time that it is asked."""

    asked = 0

    async def now(self) -> datetime:
        self.asked += 1
        return await super().now() - timedelta(seconds=2) * (self.asked == 2)

    @asynccontextmanager
    async def open(self, span: Window) -> AsyncIterator[MemorySnapshot]:
        self.asked = 5
        async with super().open(span) as snapshot:
            yield snapshot


class Foresight(MemoryConnector):
    """Says that rows are readable before their time has come."""

    async def readable_until(self, now: datetime) -> datetime:
        return now + HOUR


class Altered(MemoryConnector):
    """Opens as the twin does, and lets `alter` break the snapshot."""

    @asynccontextmanager
    async def open(self, span: Window) -> AsyncIterator[MemorySnapshot]:
        async with super().open(span) as snapshot:
            self.alter(snapshot, span)
            yield snapshot

    def alter(self, snapshot: MemorySnapshot, span: Window) -> None:
        raise NotImplementedError


class ReadAtWhenLookedAt(Altered):
    """The time of a snapshot is the time when it is asked for."""

    def alter(self, snapshot: MemorySnapshot, span: Window) -> None:
        clock = self.source.clock

        class Late(MemorySnapshot):
            read_at = property(lambda _self: clock(), lambda _self, _value: None)

        snapshot.__class__ = Late


class NoKind(Altered):
    """Does not say what it read inside."""

    def alter(self, snapshot: MemorySnapshot, span: Window) -> None:
        snapshot.kind = "a good one"


class OtherOrder(Altered):
    """Gives the columns in another order than the contract's."""

    def alter(self, snapshot: MemorySnapshot, span: Window) -> None:
        snapshot._rows = snapshot._rows.select(snapshot._rows.column_names[::-1])


class ThroughDoubles(Altered):
    """Brings integers through floating point."""

    def alter(self, snapshot: MemorySnapshot, span: Window) -> None:
        rows = snapshot._rows
        n = rows.column_names.index("n")
        numbers = [None if value is None else int(float(value)) for value in rows["n"].to_pylist()]
        snapshot._rows = rows.set_column(n, rows.field(n), pa.array(numbers, pa.int64()))


class WholeMilliseconds(MemoryConnector):
    """Cuts the edges of a range to milliseconds."""

    def open(self, span: Window):
        def cut(at: datetime) -> datetime:
            return at.replace(microsecond=at.microsecond // 1000 * 1000)

        end = max(cut(span.end), span.start + MICROSECOND)
        return super().open(Window(cut(span.start), end))

    async def count(self, span: Window) -> int:
        return await super().count(span)


class EndIncluded(MemoryConnector):
    """Takes the first instant after a range as well, where it is a full hour."""

    def open(self, span: Window):
        late = span.end.minute == span.end.second == span.end.microsecond == 0
        return super().open(Window(span.start, span.end + MICROSECOND * late))


class PagesByCursor(Altered):
    """Goes on after the last cursor value of a page, so a crowd that fills more than one is lost."""

    def alter(self, snapshot: MemorySnapshot, span: Window) -> None:
        seen: dict[object, int] = {}
        keep = []
        for at in snapshot._rows[self._cursor].to_pylist():
            seen[at] = seen.get(at, 0) + 1
            keep.append(seen[at] <= 50)
        snapshot._rows = snapshot._rows.filter(pa.array(keep, pa.bool_()))


class LiveCount(Altered):
    """Counts when asked, and not inside the snapshot."""

    def alter(self, snapshot: MemorySnapshot, span: Window) -> None:
        mask = self._mask

        class Late(MemorySnapshot):
            count = property(lambda _self: pc.sum(mask(span), min_count=0).as_py(), lambda _self, _value: None)

        snapshot.__class__ = Late


class LiveRows(Altered):
    """Reads the rows as they are now, and not inside the snapshot; those that vanished apart."""

    def alter(self, snapshot: MemorySnapshot, span: Window) -> None:
        whole = snapshot.batches

        async def live():
            if self.source.rows.num_rows:
                snapshot._rows = self.source.rows.filter(self._mask(span))
            async for batch in whole():
                yield batch

        snapshot.batches = live


class CountsNothingAsOne(Altered):
    """Believes that a range without rows has one."""

    def alter(self, snapshot: MemorySnapshot, span: Window) -> None:
        snapshot.count = max(1, snapshot.count)


class FromTheFirstRow(MemoryConnector):
    """Begins the first part at the first row and not at the span's start."""

    async def plan(self, span: Window, rows_per_part: int) -> Sequence[Window]:
        parts = list(await super().plan(span, rows_per_part))
        at = [at for at in self.source.rows[self._cursor].to_pylist() if at and span.start <= at < span.end]
        return [Window(min(at), parts[0].end), *parts[1:]] if at else parts


class OnePart(MemoryConnector):
    """Never cuts but at a crowd of exactly 30."""

    async def plan(self, span: Window, rows_per_part: int) -> Sequence[Window]:
        parts = list(await super().plan(span, rows_per_part))
        counts = [await self.count(part) for part in parts]
        return parts if 30 in counts else [span]


class CrowdIsRefused(MemoryConnector):
    """Gives up at an instant with more rows than a part."""

    async def plan(self, span: Window, rows_per_part: int) -> Sequence[Window]:
        if any(each["counts"] > rows_per_part for each in pc.value_counts(self._column()).to_pylist()):
            raise PermanentError("too many rows in one instant")
        return await super().plan(span, rows_per_part)


class NoPartWithoutRows(MemoryConnector):
    """Plans nothing for a span without rows."""

    async def plan(self, span: Window, rows_per_part: int) -> Sequence[Window]:
        return await super().plan(span, rows_per_part) if await self.count(span) else []


class OneLargeBatch(Altered):
    """Gives large rows all at once."""

    def alter(self, snapshot: MemorySnapshot, span: Window) -> None:
        rows = snapshot._rows
        if rows.nbytes > 1_000_000:

            async def at_once():
                [batch] = rows.combine_chunks().to_batches()
                yield batch

            snapshot.batches = at_once


class OnePosition(Altered):
    """Has one position for all snapshots: two that are open at once take each other's batches."""

    batches_left: Mapping[int, object] = {}

    def alter(self, snapshot: MemorySnapshot, span: Window) -> None:
        own = snapshot.batches
        others = [view for view in self.source.views if view is not snapshot]

        async def shared():
            async for batch in own():
                if others:
                    others.pop()
                    continue
                yield batch

        snapshot.batches = shared


class ReadsOnlyOnce(Altered):
    """Gives a range that was read to its end only once."""

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self.finished: set[tuple[Window, int]] = set()

    def alter(self, snapshot: MemorySnapshot, span: Window) -> None:
        own, what = snapshot.batches, (span, snapshot.count)

        async def once():
            if what not in self.finished:
                async for batch in own():
                    yield batch
                self.finished.add(what)

        snapshot.batches = once


class EndsEarly(Altered):
    """Takes rows that cannot be read any more for the end."""

    def alter(self, snapshot: MemorySnapshot, span: Window) -> None:
        own = snapshot.batches

        async def lenient():
            try:
                async for batch in own():
                    yield batch
            except SluicewayError:
                return

        snapshot.batches = lenient


class Leaks(MemoryConnector):
    """Forgets a snapshot without giving it back, where `leaks` says so of what ended it."""

    leaks: Callable[[BaseException | None], bool] = staticmethod(lambda _error: False)

    @asynccontextmanager
    async def open(self, span: Window) -> AsyncIterator[MemorySnapshot]:
        opened = super().open(span)
        snapshot = await opened.__aenter__()
        error: BaseException | None = None
        try:
            yield snapshot
        except BaseException as caught:
            error = caught
            raise
        finally:
            await opened.__aexit__(None, None, None)
            if type(self).leaks(error):
                self.source.views.add(snapshot)


class LeaksWhenCancelled(Leaks):
    """Cleans up after errors, but a cancellation is none."""

    leaks = staticmethod(lambda error: isinstance(error, asyncio.CancelledError))


class LeaksOnErrors(Leaks):
    """Cleans up only where all went well, or was cancelled."""

    leaks = staticmethod(lambda error: isinstance(error, Exception))


class LeaksWhenNotReadToTheEnd(MemoryConnector):
    """Gives a snapshot back at the end of its rows, and forgets one whose reader stopped before."""

    @asynccontextmanager
    async def open(self, span: Window) -> AsyncIterator[MemorySnapshot]:
        async with super().open(span) as snapshot:
            own = snapshot.batches
            stopped = False

            async def watched():
                nonlocal stopped
                try:
                    async for batch in own():
                        yield batch
                except GeneratorExit:
                    stopped = True
                    raise

            snapshot.batches = watched
            yield snapshot
        if stopped:
            self.source.views.add(snapshot)


class ClosesNothing(MemoryConnector):
    """Leaves what is open to whoever opened it."""

    async def aclose(self) -> None:
        return None


class ClosesOnce(MemoryConnector):
    """Is closed by a test and by its clean-up, and trips over once more."""

    times = 0

    async def aclose(self) -> None:
        self.times += 1
        if self.times > 2:
            raise RuntimeError("closed already")
        await super().aclose()


class RemembersCounts(MemoryConnector):
    """Counts a range once."""

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self.known: dict[Window, int] = {}

    async def count(self, span: Window) -> int:
        if span not in self.known:
            self.known[span] = await super().count(span)
        return self.known[span]


class AlwaysTouched(Altered):
    """Reports changes that nobody made."""

    def alter(self, snapshot: MemorySnapshot, span: Window) -> None:
        snapshot.touched = {"note": snapshot.count} if snapshot.count else {}


class DropsRowsWithoutCursor(MemoryConnector):
    """Says nothing of rows that no range holds."""

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **{**options, "null_cursor": "ignore"})


class WholeIsWhatHasACursor(MemoryConnector):
    """Reads and counts a whole table by its cursor."""

    def _rows(self, span: Window | None) -> pa.Table:
        rows = super()._rows(span)
        return rows if span is not None or self._cursor is None else rows.filter(pc.is_valid(rows[self._cursor]))


class WholeCountIsOld(MemoryConnector):
    """Counts a whole table once."""

    whole: int | None = None

    async def count(self, span: Window | None) -> int:
        if span is not None:
            return await super().count(span)
        self.whole = self.source.rows.num_rows if self.whole is None else self.whole
        return self.whole

    @asynccontextmanager
    async def _open(self, span: Window | None) -> AsyncIterator[MemorySnapshot]:
        await self.count(span)
        async with super()._open(span) as snapshot:
            yield snapshot


class CannotDoWithoutACursor(MemoryConnector):
    """Wants a cursor though nothing is cut by it."""

    async def contract(self) -> Contract:
        if self._cursor is None:
            raise PermanentError("there is no cursor")
        return await super().contract()


MUTANTS: Sequence[type[MemoryConnector]] = (
    TypesFromRows,
    AnyCursor,
    AnyKey,
    NoChecks,
    CheckRaises,
    LocalTime,
    ClockGoesBack,
    Foresight,
    ReadAtWhenLookedAt,
    NoKind,
    OtherOrder,
    ThroughDoubles,
    WholeMilliseconds,
    EndIncluded,
    PagesByCursor,
    LiveCount,
    LiveRows,
    CountsNothingAsOne,
    FromTheFirstRow,
    OnePart,
    CrowdIsRefused,
    NoPartWithoutRows,
    OneLargeBatch,
    OnePosition,
    ReadsOnlyOnce,
    EndsEarly,
    LeaksWhenCancelled,
    LeaksOnErrors,
    LeaksWhenNotReadToTheEnd,
    ClosesNothing,
    ClosesOnce,
    RemembersCounts,
    AlwaysTouched,
    DropsRowsWithoutCursor,
)
WHOLE_MUTANTS: Sequence[type[MemoryConnector]] = (WholeIsWhatHasACursor, WholeCountIsOld, CannotDoWithoutACursor)
