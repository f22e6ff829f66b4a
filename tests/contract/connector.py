"""The contract of a source, one clause per obligation of `connectors/base.py`.

A maker is called as `make(rows, cursor=..., key=...)` and gives an async context with a `World`: a fresh source
that holds these rows, and a connector for it. Rows have the columns of `SCHEMA`, and a cursor that is exact to the
microsecond.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pyarrow as pa
import pytest

from connectors.base import Connector, Snapshot
from state.errors import ConfigurationError, SluicewayError
from state.model import SnapshotKind, Window

START = datetime(2025, 11, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
MICROSECOND = timedelta(microseconds=1)
SPAN = Window(START, START + HOUR)
EMPTY = Window(START - 2 * HOUR, START - HOUR)
BATCH_BYTES = 17 * 1024 * 1024
"""What a batch may take in memory: 16 MiB and one large row of these tests."""

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("at", pa.timestamp("us", "UTC")),
        pa.field("n", pa.int64()),
        pa.field("note", pa.string()),
    ]
)


class World(Protocol):
    """A source and a connector for it."""

    connector: Connector

    async def add(self, rows: pa.Table) -> None:
        """Put more rows into the source, visible at once, behind the connector's back."""

    async def lose(self) -> None:
        """Take the rows away from under the snapshots that are open."""

    async def held(self) -> Sequence[str]:
        """What is held open in the source on behalf of a connector."""


Maker = Callable[..., AbstractAsyncContextManager[World]]


def rows_at(after: Iterable[timedelta | None], first: int = 0, note: str | None = None) -> pa.Table:
    """A row for each time since START, None without a cursor; numbered from `first` on."""
    at = [None if since is None else START + since for since in after]
    numbers = range(first, first + len(at))
    columns = [[f"r{n:05d}" for n in numbers], at, list(numbers), [note] * len(at)]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def every_second(count: int) -> pa.Table:
    return rows_at(n * SECOND for n in range(count))


def ids(count: int) -> list[str]:
    return [f"r{n:05d}" for n in range(count)]


async def ids_of(snapshot: Snapshot) -> list[str]:
    """Ids of all rows, sorted."""
    async with aclosing(snapshot.batches()) as batches:
        return sorted([each async for batch in batches for each in batch.column("id").to_pylist()])


async def batches_of(world: World) -> list[pa.RecordBatch]:
    async with world.connector.open(SPAN) as snapshot, aclosing(snapshot.batches()) as batches:
        return [batch async for batch in batches]


async def read(connector: Connector, span: Window = SPAN) -> list[str]:
    async with connector.open(span) as snapshot:
        return await ids_of(snapshot)


async def contract_is_a_declaration(make: Maker) -> None:
    """The same columns twice, whether or not there are rows or values in them."""
    async with make(every_second(3)) as full, make(every_second(0)) as empty:
        first, again = await full.connector.contract(), await full.connector.contract()
        without_rows = await empty.connector.contract()
    assert (first.digest, first.cursor, first.key) == (again.digest, "at", ("id",))
    assert set(SCHEMA.names) <= set(first.schema.names)
    assert without_rows.digest == first.digest


async def unknown_cursor_is_refused(make: Maker) -> None:
    async with make(every_second(3), cursor="nope") as world:
        with pytest.raises(ConfigurationError, match="nope"):
            await world.connector.contract()


async def unknown_key_is_refused(make: Maker) -> None:
    async with make(every_second(3), key=("nope",)) as world:
        with pytest.raises(ConfigurationError, match="nope"):
            await world.connector.contract()


async def a_healthy_source_passes_its_checks(make: Maker) -> None:
    async with make(every_second(3)) as world:
        checks = await world.connector.check()
    assert checks
    assert all(check.ok for check in checks)


async def a_failed_check_is_a_value(make: Maker) -> None:
    async with make(every_second(3), cursor="nope") as world:
        checks = await world.connector.check()
    assert any(not check.ok and "nope" in check.found for check in checks)


async def now_is_utc(make: Maker) -> None:
    async with make(every_second(1)) as world:
        now = await world.connector.now()
    assert now.utcoffset() == timedelta(0)


async def now_goes_forward(make: Maker) -> None:
    async with make(every_second(1)) as world:
        assert await world.connector.now() <= await world.connector.now()


async def nothing_is_readable_before_its_time(make: Maker) -> None:
    """What the source says to be complete is past, by its own clock."""
    async with make(every_second(1)) as world:
        now = await world.connector.now()
        until = await world.connector.readable_until(now)
    assert until <= now


async def read_at_is_when_the_snapshot_was_taken(make: Maker) -> None:
    """Not before it was asked for, and not after it was there: what comes later is not in it."""
    async with make(every_second(1)) as world:
        before = await world.connector.now()
        async with world.connector.open(SPAN) as snapshot:
            after = await world.connector.now()
            assert before <= snapshot.read_at <= after


async def kind_is_named(make: Maker) -> None:
    async with make(every_second(1)) as world, world.connector.open(SPAN) as snapshot:
        assert isinstance(snapshot.kind, SnapshotKind)


async def batches_have_the_schema_of_the_contract(make: Maker) -> None:
    """Names, types and order, whatever the rows are; also where there are none."""
    async with make(every_second(20)) as world:
        schema = (await world.connector.contract()).schema
        for span in (SPAN, EMPTY):
            async with world.connector.open(span) as snapshot, aclosing(snapshot.batches()) as batches:
                async for batch in batches:
                    assert batch.schema.equals(schema)


async def values_come_as_they_are(make: Maker) -> None:
    async with make(rows_at([MICROSECOND], first=2**53 + 1, note="ä\n\"'\\")) as world:
        [row] = [row for batch in await batches_of(world) for row in batch.to_pylist()]
    assert (row["n"], row["note"]) == (2**53 + 1, "ä\n\"'\\")


async def a_range_holds_its_start_and_not_its_end(make: Maker) -> None:
    around = [-MICROSECOND, timedelta(0), MICROSECOND, HOUR - MICROSECOND, HOUR]
    async with make(rows_at(around)) as world:
        assert await read(world.connector) == ["r00001", "r00002", "r00003"]
        inner = Window(START + MICROSECOND, START + HOUR - MICROSECOND)
        assert await read(world.connector, inner) == ["r00002"]


async def every_row_comes_once(make: Maker) -> None:
    """Also where a crowd shares one instant, and batches or pages end within it."""
    crowd = [n * SECOND for n in range(10)] + [10 * SECOND] * 60 + [n * SECOND for n in range(11, 20)]
    async with make(rows_at(crowd)) as world:
        assert await read(world.connector) == ids(79)


async def the_count_is_of_the_snapshot(make: Maker) -> None:
    """Not of the source as it is when the count is looked at."""
    async with make(every_second(20)) as world, world.connector.open(SPAN) as snapshot:
        await world.add(rows_at([SECOND, 2 * SECOND], first=100))
        assert snapshot.count == 20


async def the_rows_are_of_the_snapshot(make: Maker) -> None:
    """Not of the source as it is when they are read."""
    async with make(every_second(20)) as world, world.connector.open(SPAN) as snapshot:
        await world.add(rows_at([SECOND, 2 * SECOND], first=100))
        assert await ids_of(snapshot) == ids(20)


async def an_empty_range_has_no_rows(make: Maker) -> None:
    async with make(every_second(20)) as world, world.connector.open(EMPTY) as snapshot:
        assert (snapshot.count, await ids_of(snapshot)) == (0, [])


async def parts_tile_the_span(make: Maker) -> None:
    """Whatever rows there are, none where the span begins and ends."""
    async with make(rows_at([600 * SECOND + n * SECOND for n in range(50)])) as world:
        parts = await world.connector.plan(SPAN, 10)
    assert (parts[0].start, parts[-1].end) == (SPAN.start, SPAN.end)
    assert all(a.end == b.start for a, b in itertools.pairwise(parts))


async def parts_are_about_as_large_as_asked(make: Maker) -> None:
    """Never larger while there is an instant to cut at, and not far more of them than it takes."""
    crowd = [n * SECOND for n in range(25)] + [100 * SECOND + n * SECOND / 1000 for n in range(35)]
    async with make(rows_at(crowd)) as world:
        parts = await world.connector.plan(SPAN, 10)
        sizes = [len(await read(world.connector, part)) for part in parts]
    assert max(sizes) <= 10
    assert len(parts) <= 2 * 6 + 1


async def a_crowded_instant_is_one_part(make: Maker) -> None:
    """It may hold more rows than asked for, but nothing else shares its part."""
    crowd = [n * SECOND for n in range(5)] + [10 * SECOND] * 30 + [n * SECOND for n in range(11, 16)]
    async with make(rows_at(crowd)) as world:
        parts = await world.connector.plan(SPAN, 10)
        [crowded] = [part for part in parts if part.start <= START + 10 * SECOND < part.end]
        assert await world.connector.count(crowded) == 30


async def an_empty_span_is_one_part(make: Maker) -> None:
    async with make(every_second(5)) as world:
        assert list(await world.connector.plan(EMPTY, 10)) == [EMPTY]


async def batches_are_bounded(make: Maker) -> None:
    async with make(rows_at([n * SECOND for n in range(24)], note="x" * 1_000_000)) as world:
        sizes = [batch.nbytes for batch in await batches_of(world)]
    assert max(sizes) <= BATCH_BYTES


async def two_parts_can_be_read_at_once(make: Maker) -> None:
    async with make(every_second(60)) as world:
        first, second = Window(START, START + 30 * SECOND), Window(START + 30 * SECOND, START + HOUR)
        async with world.connector.open(first) as one, world.connector.open(second) as other:
            assert (one.count, other.count) == (30, 30)
            found = await asyncio.gather(ids_of(one), ids_of(other))
    assert found == [ids(60)[:30], ids(60)[30:]]


async def a_range_can_be_read_again(make: Maker) -> None:
    async with make(every_second(40)) as world:
        assert await read(world.connector) == await read(world.connector) == ids(40)


async def rows_that_vanish_are_an_error_and_never_fewer_rows(make: Maker) -> None:
    """All of them, or an error that says what to do next: an early end is neither."""
    async with make(every_second(60)) as world:
        try:
            async with world.connector.open(SPAN) as snapshot, aclosing(snapshot.batches()) as batches:
                found = (await anext(batches)).num_rows
                await world.lose()
                found += sum([batch.num_rows async for batch in batches])
        except SluicewayError:
            return
    assert found == 60


async def nothing_is_held_after_a_cancelled_reader(make: Maker) -> None:
    async with make(every_second(60)) as world:
        started = asyncio.Event()

        async def slow() -> None:
            async with world.connector.open(SPAN) as snapshot, aclosing(snapshot.batches()) as batches:
                await anext(batches)
                started.set()
                async for _batch in batches:
                    await asyncio.sleep(60)

        reader = asyncio.create_task(slow())
        await started.wait()
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert await read(world.connector) == ids(60)
        await world.connector.aclose()
        assert list(await world.held()) == []


async def nothing_is_held_after_a_reader_that_stops_early(make: Maker) -> None:
    async with make(every_second(60)) as world:
        async with world.connector.open(SPAN) as snapshot:
            batches = snapshot.batches()
            await anext(batches)
            await batches.aclose()
        assert await read(world.connector) == ids(60)
        await world.connector.aclose()
        assert list(await world.held()) == []


async def nothing_is_held_after_a_reader_that_fails(make: Maker) -> None:
    async with make(every_second(60)) as world:
        with pytest.raises(ZeroDivisionError):
            async with world.connector.open(SPAN):
                raise ZeroDivisionError
        assert await read(world.connector) == ids(60)
        await world.connector.aclose()
        assert list(await world.held()) == []


async def closing_the_connector_gives_back_what_is_open(make: Maker) -> None:
    async with make(every_second(60)) as world, world.connector.open(SPAN) as snapshot:
        batches = snapshot.batches()
        await anext(batches)
        await world.connector.aclose()
        assert list(await world.held()) == []
        await batches.aclose()


async def closing_twice_is_harmless(make: Maker) -> None:
    async with make(every_second(1)) as world:
        await read(world.connector)
        await world.connector.aclose()
        await world.connector.aclose()


async def the_live_count_follows_the_source(make: Maker) -> None:
    async with make(every_second(20)) as world:
        before = await world.connector.count(SPAN)
        await world.add(rows_at([SECOND, HOUR], first=20))
        assert (before, await world.connector.count(SPAN)) == (20, 21)


async def nothing_is_touched_unasked(make: Maker) -> None:
    async with make(every_second(20)) as world, world.connector.open(SPAN) as snapshot:
        await ids_of(snapshot)
        assert dict(snapshot.touched) == {}


async def a_row_without_a_cursor_is_never_lost_in_silence(make: Maker) -> None:
    """No range holds it. So a range cannot be opened, or the checks tell how many there are."""
    async with make(rows_at([SECOND, None, None, None])) as world:
        checks = await world.connector.check()
        assert any("3" in check.found for check in checks if not check.ok)
        try:
            async with world.connector.open(SPAN) as snapshot:
                assert (snapshot.count, await ids_of(snapshot)) == (1, ["r00000"])
        except SluicewayError as error:
            assert "3" in error.message


CLAUSES: Mapping[str, Callable[[Maker], object]] = {
    clause.__name__: clause
    for clause in (
        contract_is_a_declaration,
        unknown_cursor_is_refused,
        unknown_key_is_refused,
        a_healthy_source_passes_its_checks,
        a_failed_check_is_a_value,
        now_is_utc,
        now_goes_forward,
        nothing_is_readable_before_its_time,
        read_at_is_when_the_snapshot_was_taken,
        kind_is_named,
        batches_have_the_schema_of_the_contract,
        values_come_as_they_are,
        a_range_holds_its_start_and_not_its_end,
        every_row_comes_once,
        the_count_is_of_the_snapshot,
        the_rows_are_of_the_snapshot,
        an_empty_range_has_no_rows,
        parts_tile_the_span,
        parts_are_about_as_large_as_asked,
        a_crowded_instant_is_one_part,
        an_empty_span_is_one_part,
        batches_are_bounded,
        two_parts_can_be_read_at_once,
        a_range_can_be_read_again,
        rows_that_vanish_are_an_error_and_never_fewer_rows,
        nothing_is_held_after_a_cancelled_reader,
        nothing_is_held_after_a_reader_that_stops_early,
        nothing_is_held_after_a_reader_that_fails,
        closing_the_connector_gives_back_what_is_open,
        closing_twice_is_harmless,
        the_live_count_follows_the_source,
        nothing_is_touched_unasked,
        a_row_without_a_cursor_is_never_lost_in_silence,
    )
}
