"""Transactions: how they begin and end, and those that nobody ends."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.snowflake.accounts import fails, locks, settings, until, waiting
from tests.snowflake.vanishing import client


async def table(place, connection):
    await place.rows(connection, "CREATE TABLE t (k NUMBER, n NUMBER)")
    await place.rows(connection, "INSERT INTO t VALUES (0, 0)")


async def transaction(place, connection):
    [(found,)] = await place.rows(connection, "SELECT CURRENT_TRANSACTION()")
    return found


async def test_others_see_a_transaction_when_it_is_committed_and_not_before(place):
    async with place.connect() as one, place.connect() as two:
        await table(place, one)
        await place.rows(one, "BEGIN TRANSACTION")
        await place.rows(one, "INSERT INTO t VALUES (1, 1)")
        await place.rows(one, "UPDATE t SET n = 9")
        assert await place.rows(one, "SELECT sum(n) FROM t") == [(18,)]
        assert await place.rows(two, "SELECT sum(n) FROM t") == [(0,)]
        await place.rows(one, "COMMIT")
        assert await place.rows(two, "SELECT sum(n) FROM t") == [(18,)]
        await place.rows(one, "BEGIN")
        await place.rows(one, "DELETE FROM t")
        await place.rows(one, "ROLLBACK")
        assert await place.rows(two, "SELECT sum(n) FROM t") == [(18,)]


async def test_a_second_begin_is_ignored_and_an_end_without_a_beginning_succeeds(place):
    async with place.connect() as one:
        await table(place, one)
        await place.rows(one, "COMMIT")
        await place.rows(one, "ROLLBACK")
        await place.rows(one, "BEGIN")
        first = await transaction(place, one)
        await place.rows(one, "INSERT INTO t VALUES (1, 1)")
        await place.rows(one, "BEGIN")
        assert await transaction(place, one) == first
        await place.rows(one, "ROLLBACK")
        assert await place.rows(one, "SELECT k FROM t") == [(0,)]
        assert await transaction(place, one) is None


async def test_ddl_commits_the_open_transaction(place):
    async with place.connect() as one, place.connect() as two:
        await table(place, one)
        await place.rows(one, "BEGIN")
        await place.rows(one, "INSERT INTO t VALUES (1, 1)")
        await place.rows(one, "CREATE TABLE u (a NUMBER)")
        assert await transaction(place, one) is None
        await place.rows(one, "ROLLBACK")
        assert await place.rows(two, "SELECT k FROM t ORDER BY k") == [(0,), (1,)]


async def test_alter_session_is_no_ddl(place):
    async with place.connect() as one:
        await table(place, one)
        await place.rows(one, "BEGIN")
        await place.rows(one, "INSERT INTO t VALUES (1, 1)")
        await place.rows(one, "ALTER SESSION SET QUERY_TAG = 'x'")
        await place.rows(one, "ROLLBACK")
        assert await place.rows(one, "SELECT k FROM t") == [(0,)]


async def test_without_autocommit_the_first_write_begins_a_transaction(place):
    async with place.connect() as one, place.connect() as two:
        await table(place, one)
        await place.rows(one, "ALTER SESSION SET AUTOCOMMIT = FALSE")
        await place.rows(one, "INSERT INTO t VALUES (1, 1)")
        assert await place.rows(two, "SELECT k FROM t") == [(0,)]
        await place.rows(one, "COMMIT")
        assert await place.rows(two, "SELECT k FROM t ORDER BY k") == [(0,), (1,)]


async def test_a_statement_that_fails_is_undone_alone(place):
    async with place.connect() as one:
        await table(place, one)
        await place.rows(one, "BEGIN")
        await place.rows(one, "INSERT INTO t VALUES (1, 1)")
        await fails(place.rows(one, "INSERT INTO t SELECT 2, CAST('x' AS NUMBER)"))
        await fails(place.rows(one, "UPDATE missing SET a = 1"))
        await place.rows(one, "INSERT INTO t VALUES (3, 3)")
        await place.rows(one, "COMMIT")
        assert await place.rows(one, "SELECT k FROM t ORDER BY k") == [(0,), (1,), (3,)]


async def test_a_query_that_fails_leaves_its_transaction_alone(place):
    async with place.connect() as one:
        await table(place, one)
        await place.rows(one, "BEGIN")
        await place.rows(one, "INSERT INTO t VALUES (1, 1)")
        await fails(place.rows(one, "SELECT * FROM missing"))
        await place.rows(one, "COMMIT")
        assert await place.rows(one, "SELECT k FROM t ORDER BY k") == [(0,), (1,)]


async def test_with_abort_on_error_the_whole_transaction_is_undone_n4(place):
    async with place.connect(session_parameters={"TRANSACTION_ABORT_ON_ERROR": True}) as one:
        await table(place, one)
        await place.rows(one, "BEGIN")
        await place.rows(one, "UPDATE t SET n = 5")
        await fails(place.rows(one, "INSERT INTO t SELECT 2, CAST('x' AS NUMBER)"))
        assert locks(place, "T") == []
        assert "was aborted" in str(await fails(place.rows(one, "INSERT INTO t VALUES (3, 3)")))
        await fails(place.rows(one, "SELECT 1"))
        await place.rows(one, "COMMIT")
        assert await place.rows(one, "SELECT k, n FROM t") == [(0, 0)]


async def test_show_transactions_tells_of_those_that_are_open(place):
    async with place.connect() as one, place.connect(user="SOMEBODY") as two:
        await table(place, one)
        await place.rows(one, "BEGIN")
        number = await transaction(place, one)
        [(session,)] = await place.rows(one, "SELECT CURRENT_SESSION()")
        [mine] = [row for row in await place.rows(one, "SHOW TRANSACTIONS") if row[0] == number]
        assert mine[1:3] == ("SLUICEWAY", int(session))
        assert mine[5] == "running"
        assert all(row[0] != number for row in await place.rows(two, "SHOW TRANSACTIONS"))
        assert any(row[0] == number for row in await place.rows(two, "SHOW TRANSACTIONS IN ACCOUNT"))
        await place.rows(one, "COMMIT")
        assert all(row[0] != number for row in await place.rows(two, "SHOW TRANSACTIONS IN ACCOUNT"))


# -- those that nobody ends


async def holder(place) -> str:
    """The transaction that holds this place's table."""
    [held] = [one for one in locks(place, "T") if one["status"] == "HOLDING"]
    return held["transaction"]


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
async def test_the_transaction_of_a_client_that_vanished_stays_open_until_it_is_aborted_g13(place, stop):
    async with place.connect() as other:
        await table(place, other)
        with client(place, "BEGIN", "UPDATE t SET n = 7") as process:
            process.send_signal(stop)
            if stop == signal.SIGKILL:
                process.wait()
            waiter = asyncio.ensure_future(place.rows(other, "UPDATE t SET n = n + 1"))
            await until(waiting(place, "T"))
            await asyncio.sleep(0.3)
            assert not waiter.done()
            async with place.connect() as operator:
                number = await holder(place)
                await place.rows(operator, f"SELECT SYSTEM$ABORT_TRANSACTION({number})")
            await waiter
            assert await place.rows(other, "SELECT n FROM t") == [(1,)]


async def test_a_detached_transaction_is_found_by_the_tag_of_its_session(place):
    async with place.connect() as other:
        await table(place, other)
        with client(place, "BEGIN", "UPDATE t SET n = 7", QUERY_TAG=f"run-{place.database}") as process:
            process.kill()
            process.wait()
            found = await place.rows(
                other,
                "SELECT DISTINCT session_id FROM TABLE(INFORMATION_SCHEMA.QUERY_HISTORY(RESULT_LIMIT => 1000))"
                " WHERE query_tag = ?",
                f"run-{place.database}",
            )
            [(session,)] = found
            transactions = await place.rows(other, "SHOW TRANSACTIONS IN ACCOUNT")
            [number] = [row[0] for row in transactions if row[2] == session]
            await place.rows(other, f"SELECT SYSTEM$ABORT_TRANSACTION({number})")
            await place.rows(other, "UPDATE t SET n = n + 1")
            assert await place.rows(other, "SELECT n FROM t") == [(1,)]


async def test_an_idle_transaction_that_blocks_another_is_aborted_after_a_while(place):
    async with place.connect() as one, place.connect() as two:
        await table(place, one)
        with settings(place, idle_seconds=0.5):
            await place.rows(one, "BEGIN")
            await place.rows(one, "UPDATE t SET n = 7")
            await asyncio.sleep(0.8)
            assert len(locks(place, "T")) == 1, "idle, and blocks nobody"
            await place.rows(two, "UPDATE t SET n = n + 1")
            assert await place.rows(two, "SELECT n FROM t") == [(1,)]


async def test_a_transaction_that_works_is_not_idle(place):
    async with place.connect() as one, place.connect() as two:
        await table(place, one)
        with settings(place, idle_seconds=2):
            await place.rows(one, "BEGIN")
            await place.rows(one, "UPDATE t SET n = 7")
            waiter = asyncio.ensure_future(place.rows(two, "UPDATE t SET n = n + 1"))
            await until(waiting(place, "T"))
            await place.rows(one, "SELECT SYSTEM$WAIT(3)")
            await place.rows(one, "COMMIT")
            await waiter
            assert await place.rows(two, "SELECT n FROM t") == [(8,)]


async def aborted_behind_its_back(place, one, two) -> None:
    await table(place, one)
    await place.rows(one, "BEGIN")
    await place.rows(one, "UPDATE t SET n = 7")
    await place.rows(two, f"SELECT SYSTEM$ABORT_TRANSACTION({await holder(place)})")


async def test_a_session_whose_transaction_was_aborted_gets_errors_until_it_ends_it(place):
    async with place.connect() as one, place.connect() as two:
        await aborted_behind_its_back(place, one, two)
        assert "was aborted" in str(await fails(place.rows(one, "INSERT INTO t VALUES (1, 1)")))
        await place.rows(one, "COMMIT")
        assert await place.rows(one, "SELECT k, n FROM t") == [(0, 0)]
        await place.rows(one, "INSERT INTO t VALUES (1, 1)")


async def test_or_it_goes_on_as_if_it_had_none(place):
    async with place.connect() as one, place.connect() as two:
        with settings(place, after_abort="autocommit"):
            await aborted_behind_its_back(place, one, two)
            assert await transaction(place, one) is None
            await place.rows(one, "INSERT INTO t VALUES (1, 1)")
            await place.rows(one, "ROLLBACK")
            assert await place.rows(one, "SELECT k, n FROM t ORDER BY k") == [(0, 0), (1, 1)]


async def test_a_statement_that_runs_in_an_aborted_transaction_is_cancelled(place):
    async with place.connect() as one, place.connect() as two:
        await table(place, one)
        await place.rows(one, "BEGIN")
        await place.rows(one, "UPDATE t SET n = 7")
        running = asyncio.ensure_future(place.rows(one, "SELECT SYSTEM$WAIT(60)"))
        number = await holder(place)
        await asyncio.sleep(0.2)
        await place.rows(two, f"SELECT SYSTEM$ABORT_TRANSACTION({number})")
        assert (await fails(running)).errno == 604
        assert await place.rows(two, "SELECT n FROM t") == [(0,)]


async def test_aborting_a_transaction_that_has_ended_changes_nothing(place):
    async with place.connect() as one, place.connect() as two:
        await table(place, one)
        await place.rows(one, "BEGIN")
        await place.rows(one, "UPDATE t SET n = 7")
        number = await transaction(place, one)
        await place.rows(one, "COMMIT")
        await place.rows(two, f"SELECT SYSTEM$ABORT_TRANSACTION({number})")
        assert await place.rows(two, "SELECT n FROM t") == [(7,)]


@pytest.mark.parametrize("abort", [True, False])
async def test_what_runs_when_its_client_vanishes_is_aborted_or_completed_n5(place, abort):
    async with place.connect() as other:
        await table(place, other)
        await place.rows(other, "BEGIN")
        await place.rows(other, "UPDATE t SET n = 1")
        with settings(place, detached_seconds=0.3):
            with client(place, ">UPDATE t SET n = n + 10", ABORT_DETACHED_QUERY=abort) as process:
                await until(waiting(place, "T"))
                process.kill()
                process.wait()
                if abort:
                    await until(waiting(place, "T", 0))
                else:
                    await asyncio.sleep(1)
                    assert waiting(place, "T")()
            await place.rows(other, "COMMIT")
            expected = 1 if abort else 11
            await until(lambda: locks(place, "T") == [])
            assert await place.rows(other, "SELECT n FROM t") == [(expected,)]
