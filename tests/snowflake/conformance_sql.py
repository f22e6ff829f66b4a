"""Clauses about sessions, values, queries and DML."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time
from decimal import Decimal

from tests.snowflake.conformance import Site, clause, fails, records, rows, run_all, value

PARAMETERS, SHOW_PARAMETERS = "sql-reference/parameters", "sql-reference/sql/show-parameters"
MERGE, NUMBERS, TIMES = (
    "sql-reference/sql/merge",
    "sql-reference/data-types-numeric",
    "sql-reference/data-types-datetime",
)
VARIANT, CONTEXT = "sql-reference/data-types-semistructured", "sql-reference/functions-context"


@clause("ALTER SESSION SET is read back by SHOW PARAMETERS, UNSET brings the default back", PARAMETERS)
async def session_parameters_are_read_back(site: Site) -> None:
    async with site.connect() as connection:
        show = "SHOW PARAMETERS LIKE 'LOCK_TIMEOUT' IN SESSION"
        [before] = await records(connection, show)
        assert (before["key"], before["default"], before["type"]) == ("LOCK_TIMEOUT", "43200", "NUMBER")
        await rows(connection, "ALTER SESSION SET LOCK_TIMEOUT = 77")
        [during] = await records(connection, show)
        assert (during["value"], during["level"]) == ("77", "SESSION")
        await rows(connection, "ALTER SESSION UNSET LOCK_TIMEOUT")
        [after] = await records(connection, show)
        assert after["value"] == before["value"]


@clause("Parameters that come with the login are in force, and shown", SHOW_PARAMETERS)
async def login_parameters_are_in_force(site: Site) -> None:
    wanted = {"TIMEZONE": "UTC", "STATEMENT_TIMEOUT_IN_SECONDS": 77, "TRANSACTION_ABORT_ON_ERROR": True}
    async with site.connect(session_parameters=wanted) as connection:
        found = {row["key"]: row["value"] for row in await records(connection, "SHOW PARAMETERS")}
        assert found["TIMEZONE"] == "UTC"
        assert found["STATEMENT_TIMEOUT_IN_SECONDS"] == "77"
        assert found["TRANSACTION_ABORT_ON_ERROR"] == "true"


@clause("A parameter that does not exist is refused with 001006, a value that cannot be with 001008", PARAMETERS)
async def unknown_parameters_are_refused(site: Site) -> None:
    async with site.connect() as connection:
        await fails(connection, 1006, "ALTER SESSION SET NO_SUCH_PARAMETER = 1")
        await fails(connection, 1008, "ALTER SESSION SET LOCK_TIMEOUT = 'soon'")
        await fails(connection, 1008, f"ALTER SESSION SET QUERY_TAG = '{'x' * 2001}'")


@clause("The session tells its warehouse, role, user, database, schema and number", CONTEXT)
async def the_session_tells_itself(site: Site) -> None:
    async with site.connect() as connection:
        [found] = await rows(
            connection,
            "SELECT CURRENT_WAREHOUSE(), CURRENT_ROLE(), CURRENT_USER(), CURRENT_DATABASE(), CURRENT_SCHEMA(),"
            " CURRENT_SESSION()",
        )
        assert all(found)
        assert found[3:5] == (site.database, site.schema)
        assert str(connection.session_id) == found[5]


@clause("CURRENT_TIMESTAMP() is the instant of each statement, also inside a transaction", CONTEXT)
async def the_clock_goes_on_in_a_transaction(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (at TIMESTAMP_LTZ)")
        await run_all(connection, ["BEGIN", *["INSERT INTO t SELECT CURRENT_TIMESTAMP()"] * 2, "COMMIT"])
        assert await value(connection, "SELECT COUNT(DISTINCT at) FROM t") == 2


@clause("LTZ values are shown in the session's TIMEZONE, NTZ values as they are", TIMES)
async def timezone_moves_ltz_only(site: Site) -> None:
    async with site.connect(session_parameters={"TIMEZONE": "UTC"}) as connection:
        await rows(connection, "CREATE TABLE t (l TIMESTAMP_LTZ, n TIMESTAMP_NTZ)")
        await rows(
            connection, "INSERT INTO t SELECT '2020-06-01 12:00:00 +0000'::TIMESTAMP_LTZ, '2020-06-01 12:00:00'"
        )
        await rows(connection, "ALTER SESSION SET TIMEZONE = 'America/New_York'")
        [(ltz, ntz)] = await rows(connection, "SELECT l, n FROM t")
        assert ltz == datetime(2020, 6, 1, 12, tzinfo=UTC)
        assert await value(connection, "SELECT TO_VARCHAR(l, 'HH24:MI') FROM t") == "08:00"
        assert (ntz, ntz.tzinfo) == (datetime(2020, 6, 1, 12), None)


@clause("Instants of year 1 and 9999 come back to the microsecond, and NULL as None", TIMES)
async def instants_at_the_edges(site: Site) -> None:
    first, last = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)
    async with site.connect(session_parameters={"TIMEZONE": "UTC"}) as connection:
        await rows(connection, "CREATE TABLE t (n TIMESTAMP_NTZ(6), l TIMESTAMP_LTZ(6), d DATE, c TIME(6))")
        for moment in (first, datetime(1969, 12, 31, 23, 59, 59, 999999), last):
            await rows(
                connection,
                "INSERT INTO t VALUES (?, ?, ?, ?)",
                f"{moment}",
                f"{moment}",
                f"{moment.date()}",
                f"{moment.time()}",
            )
        await rows(connection, "INSERT INTO t VALUES (NULL, NULL, NULL, NULL)")
        found = await rows(connection, "SELECT n, l, d, c FROM t ORDER BY n NULLS LAST")
        assert [row[0] for row in found] == [first, datetime(1969, 12, 31, 23, 59, 59, 999999), last, None]
        assert [row[1] and row[1].replace(tzinfo=None) for row in found] == [row[0] for row in found]
        assert found[0][2:] == (date(1, 1, 1), time(0))
        assert found[2][2:] == (date(9999, 12, 31), time(23, 59, 59, 999999))
        assert found[3] == (None, None, None, None)


@clause("A TIME as text shows whole seconds, unless a format asks for more", TIMES)
async def a_time_as_text_has_whole_seconds(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (c TIME(9))")
        await rows(connection, "INSERT INTO t VALUES ('23:59:58.000004')")
        assert await value(connection, "SELECT CAST(c AS VARCHAR) FROM t") == "23:59:58"
        assert await value(connection, "SELECT TO_VARCHAR(c, 'HH24:MI:SS.FF9') FROM t") == "23:59:58.000004000"


@clause("Numbers of 38 digits are exact; NUMBER without digits is NUMBER(38,0)", NUMBERS)
async def numbers_are_exact(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (a NUMBER, b NUMBER(38,10), c NUMBER(38,37))")
        await rows(
            connection,
            f"INSERT INTO t VALUES ({10**38 - 1}, {'9' * 28}.{'9' * 10}, 1.{'3' * 37}),"
            " (9007199254740993, -1, NULL)",
        )
        assert await rows(connection, "SELECT a, b, c FROM t ORDER BY a") == [
            (9007199254740993, Decimal(-1), None),
            (10**38 - 1, Decimal(f"{'9' * 28}.{'9' * 10}"), Decimal(f"1.{'3' * 37}")),
        ]
        assert await value(connection, "SELECT SUM(a) FROM t WHERE a < 1e20") == 9007199254740993


@clause("A number that does not fit its column is refused", NUMBERS)
async def numbers_that_do_not_fit(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (a NUMBER(5,0))")
        await fails(connection, 100046, "INSERT INTO t VALUES (123456)")
        await fails(connection, 100038, "INSERT INTO t SELECT 'abc'")


@clause("FLOAT keeps NaN and infinities; NaN equals itself", NUMBERS)
async def floats_have_nan(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (id NUMBER, f FLOAT)")
        await rows(connection, "INSERT INTO t VALUES (1, 'NaN'), (2, 'inf'), (3, '-inf'), (4, 0.1)")
        found = [row[0] for row in await rows(connection, "SELECT f FROM t ORDER BY id")]
        assert math.isnan(found[0])
        assert found[1:] == [math.inf, -math.inf, 0.1]
        assert await value(connection, "SELECT COUNT(*) FROM t WHERE f = 'NaN'::FLOAT") == 1


@clause("VARIANT paths answer values, NULL where there is none; numbers above 2^53 stay exact", VARIANT)
async def variant_paths(site: Site) -> None:
    document = '{"a": 9007199254740993, "b": [1, {"c": "x"}], "n": null, "Key": true}'
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (v VARIANT)")
        await rows(connection, "INSERT INTO t SELECT PARSE_JSON(?)", document)
        [found] = await rows(
            connection,
            'SELECT v:a::NUMBER, v:b[1].c::VARCHAR, v:nothing, v:key, v:"Key"::BOOLEAN, v:n IS NULL,'
            " v:b[0]::NUMBER FROM t",
        )
        assert found == (9007199254740993, "x", None, None, True, False, 1)
        assert json.loads(await value(connection, "SELECT v FROM t")) == json.loads(document)


@clause("PARSE_JSON refuses what is no JSON with 100069, TRY_PARSE_JSON answers NULL", VARIANT)
async def json_is_checked(site: Site) -> None:
    async with site.connect() as connection:
        await fails(connection, 100069, "SELECT PARSE_JSON('{')")
        assert await rows(connection, "SELECT TRY_PARSE_JSON('{'), TYPEOF(PARSE_JSON('1'))") == [(None, "INTEGER")]


@clause(
    "IS [NOT] DISTINCT FROM and EQUAL_NULL compare NULL as a value", "sql-reference/functions/is-distinct-from"
)
async def null_compares_as_a_value(site: Site) -> None:
    async with site.connect() as connection:
        assert await rows(
            connection,
            "SELECT NULL IS NOT DISTINCT FROM NULL, 1 IS DISTINCT FROM NULL, EQUAL_NULL(NULL, NULL), NULL = NULL",
        ) == [(True, True, True, None)]


@clause(
    "QUALIFY keeps rows by a window function; NULLs sort last ascending and first descending",
    "sql-reference/constructs/qualify",
)
async def qualify_keeps_one_row_per_key(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (k NUMBER, v NUMBER)")
        await rows(connection, "INSERT INTO t VALUES (1, 1), (1, 2), (2, NULL), (2, 5)")
        pick = "SELECT k, v FROM t QUALIFY ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC {}) = 1 ORDER BY k"
        assert await rows(connection, pick.format("NULLS LAST")) == [(1, 2), (2, 5)]
        assert await rows(connection, pick.format("")) == [(1, 2), (2, None)]


@clause("INSERT, UPDATE and DELETE answer the number of rows they touched", "sql-reference/sql/update")
async def dml_counts_rows(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (a NUMBER)")
        assert await records(connection, "INSERT INTO t VALUES (1), (2), (3)") == [{"number of rows inserted": 3}]
        assert await records(connection, "UPDATE t SET a = a + 10 WHERE a < 3") == [
            {"number of rows updated": 2, "number of multi-joined rows updated": 0}
        ]
        assert await records(connection, "DELETE FROM t WHERE a > 10") == [{"number of rows deleted": 2}]
        assert await records(connection, "DELETE FROM t WHERE a > 10") == [{"number of rows deleted": 0}]


async def pairs(connection) -> None:
    await run_all(
        connection,
        [
            "CREATE TABLE t (k NUMBER, v NUMBER, s VARCHAR)",
            "CREATE TABLE src (k NUMBER, v NUMBER)",
            "INSERT INTO t VALUES (1, 1, 'old'), (2, 2, 'old'), (3, 3, 'old')",
        ],
    )


@clause("MERGE takes the first WHEN clause that fits a row, and answers a count for each kind it names", MERGE)
async def merge_takes_the_first_clause(site: Site) -> None:
    async with site.connect() as connection:
        await pairs(connection)
        await rows(connection, "INSERT INTO src VALUES (1, 10), (2, 0), (4, 4)")
        found = await records(
            connection,
            "MERGE INTO t USING src s ON t.k = s.k"
            " WHEN MATCHED AND s.v > t.v THEN UPDATE SET v = s.v, s = 'newer'"
            " WHEN MATCHED THEN UPDATE SET s = 'same'"
            " WHEN NOT MATCHED THEN INSERT (k, v, s) VALUES (s.k, s.v, ?)",
            "fresh",
        )
        assert found == [{"number of rows inserted": 1, "number of rows updated": 2}]
        assert await rows(connection, "SELECT * FROM t ORDER BY k") == [
            (1, 10, "newer"),
            (2, 2, "same"),
            (3, 3, "old"),
            (4, 4, "fresh"),
        ]
        deleted = await records(connection, "MERGE INTO t USING src s ON t.k = s.k WHEN MATCHED THEN DELETE")
        assert deleted == [{"number of rows deleted": 3}]


@clause(
    "MERGE fails with 100090 where several source rows would update one target row, and changes nothing", MERGE
)
async def merge_refuses_duplicate_keys(site: Site) -> None:
    async with site.connect() as connection:
        await pairs(connection)
        await rows(connection, "INSERT INTO src VALUES (1, 10), (1, 11), (9, 9)")
        statement = (
            "MERGE INTO t USING src s ON t.k = s.k WHEN MATCHED THEN UPDATE SET v = s.v"
            " WHEN NOT MATCHED THEN INSERT (k, v) VALUES (s.k, s.v)"
        )
        assert "Duplicate row" in await fails(connection, 100090, statement)
        assert await rows(connection, "SELECT k, v FROM t ORDER BY k") == [(1, 1), (2, 2), (3, 3)]
        await rows(connection, "ALTER SESSION SET ERROR_ON_NONDETERMINISTIC_MERGE = FALSE")
        await rows(connection, statement)
        assert await value(connection, "SELECT v FROM t WHERE k = 1") in (10, 11)


@clause("Duplicate source rows are no error where at most one of them fits a WHEN MATCHED clause", MERGE)
async def merge_allows_duplicates_that_do_not_count(site: Site) -> None:
    async with site.connect() as connection:
        await pairs(connection)
        await rows(connection, "INSERT INTO src VALUES (1, 10), (1, 0), (8, 1), (8, 2)")
        await rows(
            connection,
            "MERGE INTO t USING src s ON t.k = s.k WHEN MATCHED AND s.v > t.v THEN UPDATE SET v = s.v"
            " WHEN NOT MATCHED THEN INSERT (k, v) VALUES (s.k, s.v)",
        )
        found = await rows(connection, "SELECT k, v FROM t ORDER BY k, v")
        assert found == [(1, 10), (2, 2), (3, 3), (8, 1), (8, 2)]


@clause("NULL never equals NULL in ON: a row with a NULL key is inserted again", MERGE)
async def merge_inserts_null_keys_again(site: Site) -> None:
    async with site.connect() as connection:
        await pairs(connection)
        await rows(connection, "INSERT INTO src VALUES (NULL, 1)")
        for _ in range(2):
            await rows(
                connection,
                "MERGE INTO t USING src s ON t.k = s.k WHEN MATCHED THEN UPDATE SET v = s.v"
                " WHEN NOT MATCHED THEN INSERT (k, v) VALUES (s.k, s.v)",
            )
        assert await value(connection, "SELECT COUNT(*) FROM t WHERE k IS NULL") == 2


@clause(
    "Errors bear Snowflake's codes: 001003 syntax, 002003 no such object, 000904 no such column",
    "user-guide/querying-error-messages",
)
async def errors_bear_codes(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (a NUMBER)")
        await fails(connection, 1003, "SELEC 1")
        await fails(connection, 2003, "SELECT * FROM nowhere")
        await fails(connection, 904, "SELECT b FROM t")


@clause("RESULT_SCAN answers an earlier statement's result", "sql-reference/functions/result_scan")
async def results_can_be_queried(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (a NUMBER)")
        await rows(connection, f"SHOW TABLES IN SCHEMA {site.database}.{site.schema}")
        assert await rows(connection, 'SELECT "name" FROM TABLE(RESULT_SCAN(LAST_QUERY_ID()))') == [("T",)]


@clause(
    "Rows bound as a batch are inserted as one statement",
    "developer-guide/python-connector/python-connector-example",
)
async def batches_are_one_statement(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (a NUMBER, b VARCHAR)")
        cursor = connection.cursor()
        try:
            await cursor.executemany("INSERT INTO t VALUES (?, ?)", [(number, str(number)) for number in range(5)])
        finally:
            cursor.close()
        assert await value(connection, "SELECT COUNT(*) FROM t") == 5


@clause("Text is not taken for a VARIANT (002023), and VALUES takes no PARSE_JSON (002014)", VARIANT)
async def text_is_no_variant(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (a NUMBER, v VARIANT)")
        await fails(connection, 2023, "INSERT INTO t SELECT 1, '{}'")
        await fails(connection, 2014, "INSERT INTO t VALUES (1, PARSE_JSON('{}'))")
        await rows(connection, "INSERT INTO t SELECT 1, PARSE_JSON(?)", '{"k": 1}')
        await fails(connection, 2023, "UPDATE t SET v = '{}'")
        merge = "MERGE INTO t USING (SELECT 1 AS a) s ON s.a = t.a WHEN MATCHED THEN UPDATE SET v = 'x'"
        await fails(connection, 2023, merge)
        assert await rows(connection, "SELECT v:k::NUMBER FROM t") == [(1,)]
