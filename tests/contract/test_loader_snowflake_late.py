"""The Snowflake loader where a session that is open already sees late what another one committed (G-7).

`READ_CONSISTENCY_MODE = SESSION`: here so late that a read in the wrong session is wrong for the whole test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from state.snowflake.session import Account
from state.snowflake.tag import Tag
from tests.contract.loader_desk import CONTRACT, SEEN, WINDOW, attempt, desk, rows
from tests.contract.loader_snowflake import SnowflakePlace

LATE_SECONDS = 1_000
LEDGER = "EVENTS__SLUICEWAY_LOADS"


@pytest.fixture
async def snowflake_place(snowflake_server):
    place = SnowflakePlace(snowflake_server.place())
    place.account = inside(place, place.account)
    yield place
    await place.aclose()


@pytest.fixture
async def d(snowflake_place):
    async with desk(lambda _folder: snowflake_place) as made:
        yield made


def inside(place: SnowflakePlace, account: Account) -> Account:
    """With sessions that are in the place's schema, for the server is late by database."""
    real = account._opened

    async def opened(tag):
        session = await real(tag)
        await session.rows(f"USE SCHEMA {place.schema}")
        return session

    account._opened = opened
    return account


@asynccontextmanager
async def late(place: SnowflakePlace, account: Account) -> AsyncIterator[Callable]:
    """Whatever is committed in here is seen late by a session that `account` has kept idle before.

    It gives a function that makes that session the one which the pool would take next.
    """
    async with account.session(Tag("p"), fresh=True) as idle:
        await idle.rows(f"SELECT COUNT(*) FROM {LEDGER}")
    path = f"/test/consistency/{place.place.database}"
    place.place.server.put(path, {"delay": LATE_SECONDS})

    async def take_it_next() -> None:
        async with account.session(Tag("p"), fresh=True, known=idle.id) as found:
            assert found.id == idle.id
        async with account.session(Tag("p")) as found:
            assert found.id == idle.id

    try:
        async with account.session(Tag("p"), fresh=True):
            """The pool has two."""
        yield take_it_next
    finally:
        place.place.server.put(path, {"delay": None})
        place.query("SHOW STAGES")  # what is no read ends the lateness of the operator's hand


async def seen_by_any(account: Account, sql: str) -> int:
    """What a session counts that is not chosen."""
    async with account.session(Tag("p")) as session:
        return await session.count(sql)


async def test_a_receipt_of_another_process_is_read_where_the_fence_was_raised(d, snowflake_place):
    account = snowflake_place.account
    theirs = d.loader(account=inside(snowflake_place, snowflake_place.another_account()))
    mine = d.loader()
    await mine.prepare(CONTRACT)
    async with late(snowflake_place, account) as take_the_late_one_next:
        receipt = await d.load(theirs, attempt(1), rows(("a", 1, 1)))
        await mine.raise_fence(attempt(2))
        await take_the_late_one_next()
        assert await seen_by_any(account, f"SELECT COUNT(*) FROM {LEDGER}") == 1, "nothing is late"
        assert (await mine.loads("p", attempt().run)).receipts == (receipt,)
        await take_the_late_one_next()
        assert (await mine.loads("p")).receipts == (receipt,)


async def test_what_is_counted_for_gate_and_audit_is_counted_where_it_was_written(d, snowflake_place):
    account, loader = snowflake_place.account, d.loader()
    await loader.prepare(CONTRACT)
    async with late(snowflake_place, account) as take_the_late_one_next:
        staged = await d.stage(loader, attempt(), rows(("a", 1, 1), ("b", 1, 2)))
        await take_the_late_one_next()
        assert (await staged.counts()).stage_rows == 2
        await staged.merge()
        await take_the_late_one_next()
        assert await seen_by_any(account, "SELECT COUNT(*) FROM EVENTS") == 0, "nothing is late"
        counts = await staged.counts()
        assert (counts.stage_rows, counts.target_rows) == (2, 2)
        await take_the_late_one_next()
        assert (await loader.held(attempt(), staged.table)).held == 2


async def test_rows_that_a_users_function_staged_just_now_are_adopted_all(d, snowflake_place):
    loader = d.loader()
    await loader.prepare(CONTRACT)
    snowflake_place.fill_user_stage(rows().drop_columns(["version"]))
    async with late(snowflake_place, snowflake_place.account) as take_the_late_one_next:
        await loader.raise_fence(attempt())
        snowflake_place.add_row({"id": "z"})  # the session that raised the fence is late from here on
        snowflake_place.fill_user_stage(rows(("a", 1, 1), ("b", 1, 2)))
        await take_the_late_one_next()
        assert await seen_by_any(snowflake_place.account, "SELECT COUNT(*) FROM EVENTS_STAGE") == 0, "none is late"
        copied = await loader.adopt(attempt(), CONTRACT, WINDOW, SEEN)
        assert copied.rows == 2


async def test_the_stage_tables_of_a_run_are_looked_for_where_they_were_made(d, snowflake_place):
    loader = d.loader()
    await loader.prepare(CONTRACT)
    async with late(snowflake_place, snowflake_place.account) as take_the_late_one_next:
        staged = await d.stage(loader, attempt(), rows(("a", 1, 1)))
        await take_the_late_one_next()
        assert await loader.clean(attempt(), staged.manifest, None) == 1
    assert snowflake_place.stage_tables() == []
