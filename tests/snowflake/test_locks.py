"""Table locks: who waits, who is refused, who is the victim; and what a waiter sees when its turn has come."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.snowflake.accounts import fails, locks, settings, until, waiting


@asynccontextmanager
async def sessions(place, count, **parameters):
    async with AsyncExitStack() as stack:
        opening = [stack.enter_async_context(place.connect(session_parameters=parameters)) for _ in range(count)]
        yield await asyncio.gather(*opening)


async def table(place, connection, name="t", rows=1):
    await place.rows(connection, f"CREATE TABLE {name} (k NUMBER, n NUMBER)")
    values = ", ".join(f"({k}, 0)" for k in range(rows))
    await place.rows(connection, f"INSERT INTO {name} VALUES {values}")


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE t SET n = n + 1",
        "DELETE FROM t WHERE k = 99",
        "MERGE INTO t USING (SELECT 0 AS k) s ON t.k = s.k WHEN MATCHED THEN UPDATE SET n = n + 1",
    ],
)
async def test_what_changes_rows_waits_for_the_one_that_changes_them(place, sql):
    async with sessions(place, 2) as (one, two):
        await table(place, one)
        await place.rows(one, "BEGIN")
        await place.rows(one, "UPDATE t SET n = 10 WHERE k = 0")
        waiter = asyncio.ensure_future(place.rows(two, sql))
        await until(waiting(place, "T"))
        await asyncio.sleep(0.1)
        assert not waiter.done()
        await place.rows(one, "COMMIT")
        await waiter
        expected = 10 if sql.startswith("DELETE") else 11
        assert await place.rows(one, "SELECT n FROM t") == [(expected,)]
        assert locks(place, "T") == []


async def test_inserts_wait_for_nobody(place):
    async with sessions(place, 3) as (one, two, three):
        await table(place, one)
        await place.rows(one, "BEGIN")
        await place.rows(one, "UPDATE t SET n = 1")
        await place.rows(two, "BEGIN")
        await place.rows(two, "INSERT INTO t VALUES (5, 5)")
        await place.rows(three, "INSERT INTO t VALUES (6, 6)")
        await place.rows(two, "COMMIT")
        await place.rows(one, "COMMIT")
        assert await place.rows(one, "SELECT k, n FROM t ORDER BY k") == [(0, 1), (5, 5), (6, 6)]


async def test_a_lock_ends_with_a_rollback_and_with_the_session(place):
    async with sessions(place, 2) as (one, two):
        await table(place, one)
        await place.rows(one, "BEGIN")
        await place.rows(one, "UPDATE t SET n = 1")
        await place.rows(one, "ROLLBACK")
        await place.rows(two, "UPDATE t SET n = n + 100")
        async with place.connect() as closing:
            await place.rows(closing, "BEGIN")
            await place.rows(closing, "UPDATE t SET n = 7")
        await place.rows(two, "UPDATE t SET n = n + 100")
        assert await place.rows(two, "SELECT n FROM t") == [(200,)]


async def test_waiters_are_served_in_the_order_they_came(place):
    async with sessions(place, 5) as (holder, *others):
        await table(place, holder)
        await place.rows(holder, "BEGIN")
        await place.rows(holder, "UPDATE t SET n = 1")
        waiters = []
        for number, other in enumerate(others, 1):
            waiters.append(asyncio.ensure_future(place.rows(other, f"UPDATE t SET n = n * 10 + {number}")))
            await until(waiting(place, "T", number))
        await place.rows(holder, "COMMIT")
        await asyncio.gather(*waiters)
        assert await place.rows(holder, "SELECT n FROM t") == [(11234,)]


async def test_the_twenty_first_waiter_is_refused_g8(place):
    async with sessions(place, 22) as (holder, *others):
        await table(place, holder)
        await place.rows(holder, "BEGIN")
        await place.rows(holder, "UPDATE t SET n = 1")
        waiters = [asyncio.ensure_future(place.rows(one, "UPDATE t SET n = n + 1")) for one in others[:20]]
        await until(waiting(place, "T", 20))
        error = await fails(place.rows(others[20], "UPDATE t SET n = n + 1"))
        assert (error.errno, error.sqlstate) == (625, "57014")
        assert "the number of waiters for this lock exceeds the 20 statements limit" in str(error)
        await place.rows(holder, "COMMIT")
        await asyncio.gather(*waiters)
        assert await place.rows(holder, "SELECT n FROM t") == [(21,)]


async def test_the_limit_of_waiters_can_be_set(place):
    async with sessions(place, 3) as (holder, one, two):
        await table(place, holder)
        await place.rows(holder, "BEGIN")
        await place.rows(holder, "UPDATE t SET n = 1")
        with settings(place, waiter_limit=1):
            waiter = asyncio.ensure_future(place.rows(one, "DELETE FROM t"))
            await until(waiting(place, "T"))
            assert "exceeds the 1 statements limit" in str(await fails(place.rows(two, "DELETE FROM t")))
        await place.rows(holder, "ROLLBACK")
        await waiter


async def test_a_waiter_gives_up_after_its_lock_timeout(place):
    async with sessions(place, 2, LOCK_TIMEOUT=1) as (one, two):
        await table(place, one)
        await place.rows(one, "BEGIN")
        await place.rows(one, "UPDATE t SET n = 1")
        started = time.monotonic()
        error = await fails(place.rows(two, "UPDATE t SET n = 2"))
        assert (error.errno, error.sqlstate) == (625, "57014")
        assert time.monotonic() - started >= 1.0
        assert [one["status"] for one in locks(place, "T")] == ["HOLDING"]


async def test_the_statement_that_closes_a_circle_is_the_victim_and_its_transaction_lives_on(place):
    async with sessions(place, 2) as (one, two):
        await table(place, one, "a")
        await table(place, one, "b")
        await place.rows(one, "BEGIN")
        await place.rows(two, "BEGIN")
        await place.rows(one, "UPDATE a SET n = 1")
        await place.rows(two, "UPDATE b SET n = 2")
        waiter = asyncio.ensure_future(place.rows(one, "UPDATE b SET n = n + 1"))
        await until(waiting(place, "B"))
        error = await fails(place.rows(two, "UPDATE a SET n = n + 2"))
        assert (error.errno, "deadlock" in str(error)) == (625, True)
        await place.rows(two, "COMMIT")
        await waiter
        await place.rows(one, "COMMIT")
        assert await place.rows(one, "SELECT a.n, b.n FROM a, b") == [(1, 3)]


async def test_a_circle_of_three_is_seen(place):
    async with sessions(place, 3) as all_three:
        one, two, three = all_three
        for session, name in zip(all_three, "abc", strict=True):
            await table(place, session, name)
            await place.rows(session, "BEGIN")
            await place.rows(session, f"UPDATE {name} SET n = 1")
        waiters = [asyncio.ensure_future(place.rows(one, "UPDATE b SET n = 2"))]
        await until(waiting(place, "B"))
        waiters.append(asyncio.ensure_future(place.rows(two, "UPDATE c SET n = 2")))
        await until(waiting(place, "C"))
        assert "deadlock" in str(await fails(place.rows(three, "UPDATE a SET n = 2")))
        await place.rows(three, "ROLLBACK")
        await waiters[1]
        await place.rows(two, "ROLLBACK")
        await waiters[0]
        await place.rows(one, "ROLLBACK")


async def test_show_locks_names_holders_and_waiters(place):
    async with sessions(place, 2) as (one, two):
        await table(place, one)
        await place.rows(one, "BEGIN")
        await place.rows(one, "UPDATE t SET n = 1")
        [(transaction,)] = await place.rows(one, "SELECT CURRENT_TRANSACTION()")
        waiter = asyncio.ensure_future(place.rows(two, "UPDATE t SET n = 2"))
        await until(waiting(place, "T"))
        own = [row[:5] for row in await place.rows(one, "SHOW LOCKS")]
        resource = f"{place.database}.S.T"
        assert [(row[0], row[2], row[4]) for row in own] == [(resource, transaction, "HOLDING")]
        everybodys = [row for row in await place.rows(one, "SHOW LOCKS IN ACCOUNT") if row[0] == resource]
        assert [(row[4], row[5] is None) for row in everybodys] == [("HOLDING", False), ("WAITING", True)]
        await place.rows(one, "COMMIT")
        await waiter


async def test_others_are_not_held_up_by_those_who_wait(place):
    async with sessions(place, 22) as (holder, *others), place.connect() as free:
        await table(place, holder)
        await place.rows(holder, "BEGIN")
        await place.rows(holder, "UPDATE t SET n = 1")
        waiters = [asyncio.ensure_future(place.rows(one, "UPDATE t SET n = n + 1")) for one in others[:20]]
        await until(waiting(place, "T", 20))
        assert await place.rows(free, "SELECT n FROM t") == [(0,)]
        await table(place, free, "u")
        await place.rows(free, "UPDATE u SET n = 5")
        assert all(not waiter.done() for waiter in waiters)
        await place.rows(holder, "COMMIT")
        await asyncio.gather(*waiters)


# -- READ COMMITTED on an engine with snapshots


async def test_a_waiter_sees_what_the_holder_committed_also_in_a_transaction_that_has_read(place):
    async with sessions(place, 2) as (one, two):
        await table(place, one)
        await place.rows(one, "BEGIN")
        await place.rows(one, "UPDATE t SET n = 5")
        await place.rows(two, "BEGIN")
        assert await place.rows(two, "SELECT n FROM t") == [(0,)]
        waiter = asyncio.ensure_future(place.rows(two, "UPDATE t SET n = n + 1"))
        await until(waiting(place, "T"))
        await place.rows(one, "COMMIT")
        await waiter
        assert await place.rows(two, "SELECT n FROM t") == [(6,)]
        await place.rows(two, "COMMIT")
        assert await place.rows(one, "SELECT n FROM t") == [(6,)]


async def test_a_waiter_that_has_written_elsewhere_sees_it_too(place):
    async with sessions(place, 2) as (one, two):
        await table(place, one)
        await table(place, one, "log")
        await place.rows(one, "BEGIN")
        await place.rows(one, "UPDATE t SET n = 5")
        await place.rows(two, "BEGIN")
        await place.rows(two, "INSERT INTO log VALUES (?, ?)", 8, 8)
        waiter = asyncio.ensure_future(place.rows(two, "UPDATE t SET n = n + 1"))
        await until(waiting(place, "T"))
        await place.rows(one, "COMMIT")
        await waiter
        await place.rows(two, "COMMIT")
        assert await place.rows(one, "SELECT n FROM t") == [(6,)]
        assert await place.rows(one, "SELECT k FROM log ORDER BY k") == [(0,), (8,)]


async def test_two_queries_of_a_transaction_see_what_was_committed_between_them(place):
    async with sessions(place, 2) as (one, two):
        await table(place, one)
        await place.rows(two, "BEGIN")
        assert await place.rows(two, "SELECT n FROM t") == [(0,)]
        await place.rows(one, "UPDATE t SET n = 1")
        assert await place.rows(two, "SELECT n FROM t") == [(1,)]
        await place.rows(two, "COMMIT")


async def test_a_hundred_increments_of_ten_sessions_are_a_hundred(place):
    async with sessions(place, 10) as ten:
        await table(place, ten[0])

        async def increment(session):
            for _ in range(10):
                await place.rows(session, "BEGIN")
                await place.rows(session, "UPDATE t SET n = n + 1")
                await place.rows(session, "COMMIT")

        await asyncio.gather(*(increment(session) for session in ten))
        assert await place.rows(ten[0], "SELECT n FROM t") == [(100,)]


# -- read consistency


@pytest.fixture
def late(place):
    """Commits are seen by other sessions after so many seconds."""
    yield lambda seconds: place.server.put(f"/test/consistency/{place.database}", {"delay": seconds})
    place.server.put(f"/test/consistency/{place.database}", {"delay": None})


async def test_a_session_that_was_open_already_sees_a_commit_late_and_a_new_one_at_once(place, late):
    async with sessions(place, 2) as (writer, reader):
        await table(place, writer)
        late(1000)
        await place.rows(writer, "UPDATE t SET n = 1")
        assert await place.rows(writer, "SELECT n FROM t") == [(1,)]
        assert await place.rows(reader, "SELECT n FROM t") == [(0,)]
        await place.rows(writer, "BEGIN")
        await place.rows(writer, "UPDATE t SET n = 2")
        await place.rows(writer, "COMMIT")
        assert await place.rows(reader, "SELECT n FROM t") == [(0,)]
        async with place.connect() as fresh:
            assert await place.rows(fresh, "SELECT n FROM t") == [(2,)]


async def test_a_late_commit_is_seen_after_its_delay(place, late):
    async with sessions(place, 2) as (writer, reader):
        await table(place, writer)
        late(4)
        await place.rows(writer, "UPDATE t SET n = 1")
        assert await place.rows(reader, "SELECT n FROM t") == [(0,)]
        await asyncio.sleep(4)
        assert await place.rows(reader, "SELECT n FROM t") == [(1,)]


async def test_who_writes_sees_everything_again(place, late):
    async with sessions(place, 2) as (writer, reader):
        await table(place, writer)
        late(1000)
        await place.rows(writer, "UPDATE t SET n = n + 1")
        assert await place.rows(reader, "SELECT n FROM t") == [(0,)]
        await place.rows(reader, "UPDATE t SET n = n + 1")
        assert await place.rows(reader, "SELECT n FROM t") == [(2,)]


async def test_without_a_delay_commits_are_seen_at_once(place):
    async with sessions(place, 2) as (writer, reader):
        await table(place, writer)
        await place.rows(writer, "UPDATE t SET n = 1")
        assert await place.rows(reader, "SELECT n FROM t") == [(1,)]
