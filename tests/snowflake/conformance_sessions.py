"""Clauses about sessions beside each other: transactions, locks, statements by their id, timeouts, the history."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from snowflake.connector.constants import QueryStatus

from tests.snowflake.conformance import Site, clause, fails, records, rows, run_all, value

TRANSACTIONS = "sql-reference/transactions"
PARAMETERS = "sql-reference/parameters"
ASYNCHRONOUS = "developer-guide/python-connector/python-connector-example"
PATIENCE = 60.0


async def table(connection: Any, name: str = "t") -> None:
    await run_all(connection, [f"CREATE TABLE {name} (k NUMBER, n NUMBER)", f"INSERT INTO {name} VALUES (0, 0)"])


async def becomes(look: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    """Look until it is as wanted."""
    async with asyncio.timeout(PATIENCE):
        while await look() != wanted:  # noqa: ASYNC110 - a server elsewhere is looked at
            await asyncio.sleep(0.1)


async def appears(look: Callable[[], Awaitable[Any]]) -> Any:
    """Look until there is something."""
    async with asyncio.timeout(PATIENCE):
        while (found := await look()) is None:  # noqa: ASYNC110 - a server elsewhere is looked at
            await asyncio.sleep(0.1)
    return found


async def submitted(connection: Any, sql: str) -> str:
    query_id = (await connection.cursor().execute_async(sql))["queryId"]
    return str(query_id)


@clause("BEGIN in a transaction is ignored; COMMIT and ROLLBACK without one succeed", TRANSACTIONS)
async def begin_is_ignored_in_a_transaction(site: Site) -> None:
    async with site.connect() as one:
        await table(one)
        await run_all(one, ["COMMIT", "ROLLBACK", "BEGIN"])
        first = await value(one, "SELECT CURRENT_TRANSACTION()")
        await run_all(one, ["INSERT INTO t VALUES (1, 1)", "BEGIN"])
        assert await value(one, "SELECT CURRENT_TRANSACTION()") == first
        await rows(one, "ROLLBACK")
        assert await value(one, "SELECT count(*) FROM t") == 1


@clause("Each query of a transaction sees what others committed before it began: READ COMMITTED", TRANSACTIONS)
async def queries_read_what_is_committed(site: Site) -> None:
    async with site.connect() as one, site.connect() as two:
        await table(one)
        await rows(two, "BEGIN")
        assert await value(two, "SELECT n FROM t") == 0
        await rows(one, "UPDATE t SET n = 1")
        await becomes(lambda: value(two, "SELECT n FROM t"), 1)
        await rows(two, "COMMIT")


@clause("UPDATE waits for a transaction that has changed the table, and works on what it committed", TRANSACTIONS)
async def writers_wait_for_one_another(site: Site) -> None:
    async with site.connect() as one, site.connect() as two:
        await table(one)
        await run_all(one, ["BEGIN", "UPDATE t SET n = 5"])
        query_id = await submitted(two, "UPDATE t SET n = n + 1")
        await becomes(lambda: two.get_query_status(query_id), QueryStatus.BLOCKED)
        await rows(one, "COMMIT")
        await becomes(lambda: two.get_query_status(query_id), QueryStatus.SUCCESS)
        async with site.connect() as fresh:
            assert await value(fresh, "SELECT n FROM t") == 6


@clause("INSERT does not wait for a transaction that has changed other rows of the table", TRANSACTIONS)
async def inserts_do_not_wait(site: Site) -> None:
    async with site.connect() as one, site.connect() as two:
        await table(one)
        await run_all(one, ["BEGIN", "UPDATE t SET n = 5"])
        await rows(two, "INSERT INTO t VALUES (1, 1)")
        await rows(one, "COMMIT")
        async with site.connect() as fresh:
            assert await rows(fresh, "SELECT k, n FROM t ORDER BY k") == [(0, 5), (1, 1)]


@clause("A statement waits for a lock as long as LOCK_TIMEOUT and fails with 000625", PARAMETERS)
async def waiting_has_an_end(site: Site) -> None:
    async with site.connect() as one, site.connect(session_parameters={"LOCK_TIMEOUT": 2}) as two:
        await table(one)
        await run_all(one, ["BEGIN", "UPDATE t SET n = 5"])
        message = await fails(two, 625, "UPDATE t SET n = n + 1")
        assert "has locked table 'T'" in message
        await rows(one, "ROLLBACK")


@clause(
    "The statement that closes a circle of waiting transactions fails, and its transaction stays", TRANSACTIONS
)
async def a_deadlock_has_a_victim(site: Site) -> None:
    async with site.connect() as one, site.connect() as two:
        await table(one, "a")
        await table(one, "b")
        await run_all(one, ["BEGIN", "UPDATE a SET n = 1"])
        await run_all(two, ["BEGIN", "UPDATE b SET n = 2"])
        query_id = await submitted(one, "UPDATE b SET n = n + 1")
        await becomes(lambda: two.get_query_status(query_id), QueryStatus.BLOCKED)
        await fails(two, 625, "UPDATE a SET n = n + 2")
        await rows(two, "COMMIT")
        await becomes(lambda: two.get_query_status(query_id), QueryStatus.SUCCESS)
        await rows(one, "COMMIT")


@clause("A statement that fails is undone alone, and its transaction goes on", TRANSACTIONS)
async def a_failed_statement_is_undone_alone(site: Site) -> None:
    async with site.connect() as one:
        await table(one)
        await run_all(one, ["BEGIN", "INSERT INTO t VALUES (1, 1)"])
        await fails(one, 100038, "INSERT INTO t SELECT 2, CAST('x' AS NUMBER)")
        await run_all(one, ["INSERT INTO t VALUES (3, 3)", "COMMIT"])
        assert await rows(one, "SELECT k FROM t ORDER BY k") == [(0,), (1,), (3,)]


@clause(
    "TRANSACTION_ABORT_ON_ERROR: after an error all fails until COMMIT or ROLLBACK, and nothing is left",
    PARAMETERS,
)
async def abort_on_error_undoes_everything(site: Site) -> None:
    async with site.connect(session_parameters={"TRANSACTION_ABORT_ON_ERROR": True}) as one:
        await table(one)
        await run_all(one, ["BEGIN", "INSERT INTO t VALUES (1, 1)"])
        await fails(one, 100038, "INSERT INTO t SELECT 2, CAST('x' AS NUMBER)")
        await fails(one, 637, "INSERT INTO t VALUES (3, 3)")
        await rows(one, "COMMIT")
        assert await rows(one, "SELECT k FROM t ORDER BY k") == [(0,)]


@clause(
    "SHOW LOCKS tells of the tables that the session's transaction has changed", "sql-reference/sql/show-locks"
)
async def show_locks_tells_what_is_held(site: Site) -> None:
    async with site.connect() as one:
        await table(one)
        await run_all(one, ["BEGIN", "UPDATE t SET n = 5"])
        transaction = await value(one, "SELECT CURRENT_TRANSACTION()")
        [held] = await records(one, "SHOW LOCKS")
        assert held["resource"].endswith(f"{site.schema}.T")
        assert (str(held["transaction"]), held["status"]) == (str(transaction), "HOLDING")
        await rows(one, "COMMIT")
        assert await records(one, "SHOW LOCKS") == []


@clause(
    "SYSTEM$ABORT_TRANSACTION ends a transaction that SHOW TRANSACTIONS tells of, and its locks",
    "sql-reference/functions/system_abort_transaction",
)
async def a_transaction_is_aborted_from_outside(site: Site) -> None:
    async with site.connect() as one, site.connect() as two:
        await table(one)
        session = await value(one, "SELECT CURRENT_SESSION()")
        await run_all(one, ["BEGIN", "UPDATE t SET n = 5"])
        [found] = [row for row in await records(two, "SHOW TRANSACTIONS") if str(row["session"]) == str(session)]
        await rows(two, f"SELECT SYSTEM$ABORT_TRANSACTION({found['id']})")
        await rows(two, "UPDATE t SET n = n + 1")
        assert await rows(two, "SELECT n FROM t") == [(1,)]


@clause("A transaction that was aborted takes no statement before COMMIT or ROLLBACK", TRANSACTIONS)
async def an_aborted_transaction_is_not_left_by_itself(site: Site) -> None:
    """Not documented word by word: what an account answers here is worth knowing."""
    async with site.connect() as one, site.connect() as two:
        await table(one)
        await run_all(one, ["BEGIN", "UPDATE t SET n = 5"])
        transaction = await value(one, "SELECT CURRENT_TRANSACTION()")
        await rows(two, f"SELECT SYSTEM$ABORT_TRANSACTION({transaction})")
        await fails(one, 637, "INSERT INTO t VALUES (1, 1)")
        await rows(one, "ROLLBACK")
        assert await value(one, "SELECT count(*) FROM t") == 1


@clause("STATEMENT_TIMEOUT_IN_SECONDS cancels a statement that takes longer, with 000630", PARAMETERS)
async def statements_end_at_their_timeout(site: Site) -> None:
    async with site.connect(session_parameters={"STATEMENT_TIMEOUT_IN_SECONDS": 2}) as one:
        await fails(one, 630, "SELECT SYSTEM$WAIT(60)")


@clause(
    "A statement is submitted, looked at and its result fetched by its id, from another session too", ASYNCHRONOUS
)
async def results_are_fetched_by_id(site: Site) -> None:
    async with site.connect() as one, site.connect() as two:
        query_id = await submitted(one, "SELECT SYSTEM$WAIT(2)")
        assert await two.get_query_status(query_id) in (QueryStatus.RUNNING, QueryStatus.QUEUED)
        await becomes(lambda: two.get_query_status(query_id), QueryStatus.SUCCESS)
        cursor = two.cursor()
        await cursor.get_results_from_sfqid(query_id)
        assert len(await cursor.fetchall()) == 1


@clause("A failed statement's status is FAILED_WITH_ERROR", ASYNCHRONOUS)
async def the_status_of_a_failed_statement(site: Site) -> None:
    async with site.connect() as one:
        query_id = await submitted(one, "SELECT * FROM missing")
        await becomes(lambda: one.get_query_status(query_id), QueryStatus.FAILED_WITH_ERROR)


@clause(
    "SYSTEM$CANCEL_QUERY ends a statement that runs, with 000604", "sql-reference/functions/system_cancel_query"
)
async def statements_are_cancelled(site: Site) -> None:
    async with site.connect() as one, site.connect() as two:
        running = asyncio.ensure_future(fails(one, 604, "SELECT SYSTEM$WAIT(60)"))
        session = int(await value(two, "SELECT CURRENT_SESSION()"))
        which = "WHERE query_text = ? AND session_id <> ? AND execution_status = 'RUNNING'"
        sql = f"SELECT max(query_id) FROM TABLE(INFORMATION_SCHEMA.QUERY_HISTORY()) {which}"
        query_id = await appears(lambda: value(two, sql, "SELECT SYSTEM$WAIT(60)", session))
        await rows(two, f"SELECT SYSTEM$CANCEL_QUERY('{query_id}')")
        await running


@clause(
    "QUERY_HISTORY tells of statements that run and have ended, with tag, session and outcome",
    "sql-reference/functions/query_history",
)
async def the_history_is_searched_by_tag(site: Site) -> None:
    tag = f"sluiceway-{uuid.uuid4().hex}"
    async with site.connect(session_parameters={"QUERY_TAG": tag}) as one, site.connect() as two:
        session = int(await value(one, "SELECT CURRENT_SESSION()"))
        await fails(one, 2003, "SELECT * FROM missing")
        query_id = await submitted(one, "SELECT SYSTEM$WAIT(30)")
        sql = (
            "SELECT session_id, execution_status, error_code FROM TABLE(INFORMATION_SCHEMA.QUERY_HISTORY())"
            " WHERE query_tag = ? ORDER BY start_time"
        )
        outcomes = [
            (session, "SUCCESS", None),
            (session, "FAILED_WITH_ERROR", "002003"),
            (session, "RUNNING", None),
        ]
        await becomes(lambda: rows(two, sql, tag), outcomes)
        await rows(two, f"SELECT SYSTEM$CANCEL_QUERY('{query_id}')")
