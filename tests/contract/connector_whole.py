"""What a source owes to one who reads a table whole, beside the clauses of `tests/contract/connector.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from tests.contract.connector import SCHEMA, SECOND, Maker, every_second, ids, ids_of, rows_at

AGES = timedelta(days=4_000)


async def a_whole_table_has_every_row_whatever_its_cursor(make: Maker) -> None:
    """The first, the last, and those without one, by the snapshot's count and the live one."""
    async with make(rows_at([-AGES, timedelta(0), None, AGES, None])) as world:
        async with world.connector.open(None) as snapshot:
            assert (snapshot.count, await ids_of(snapshot), dict(snapshot.touched)) == (5, ids(5), {})
        assert await world.connector.count(None) == 5


async def a_whole_table_is_of_one_instant(make: Maker) -> None:
    """What comes later is neither counted nor read; the live count has it."""
    async with make(every_second(20)) as world:
        async with world.connector.open(None) as snapshot:
            await world.add(rows_at([SECOND, 2 * SECOND], first=20))
            assert (snapshot.count, await ids_of(snapshot)) == (20, ids(20))
        assert await world.connector.count(None) == 22


CLAUSES: Mapping[str, Callable[[Maker], object]] = {
    clause.__name__: clause
    for clause in (a_whole_table_has_every_row_whatever_its_cursor, a_whole_table_is_of_one_instant)
}


async def a_whole_table_needs_no_cursor(make: Maker) -> None:
    async with make(every_second(30), cursor=None, key=()) as world:
        contract = await world.connector.contract()
        assert contract.cursor is None
        assert set(SCHEMA.names) <= set(contract.schema.names)
        assert all(check.ok for check in await world.connector.check())
        async with world.connector.open(None) as snapshot:
            assert (snapshot.count, await ids_of(snapshot)) == (30, ids(30))
        assert await world.connector.count(None) == 30


WITHOUT_CURSOR = {**CLAUSES, a_whole_table_needs_no_cursor.__name__: a_whole_table_needs_no_cursor}
"""All of them, for a source whose cursor is optional."""
