"""Clauses about tables: DDL, comments, SHOW and DESCRIBE, temporary and transient ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.snowflake.conformance import Site, clause, fails, records, rows, run_all, value

CREATE, ALTER = "sql-reference/sql/create-table", "sql-reference/sql/alter-table"
SHOW_TABLES, DESCRIBE = "sql-reference/sql/show-tables", "sql-reference/sql/desc-table"
SHOW_COLUMNS, TRANSACTIONS = "sql-reference/sql/show-columns", "sql-reference/transactions"
IDENTIFIERS = "sql-reference/identifiers-syntax"
ALL_TYPES = (
    "a NUMBER(38,0) NOT NULL, b NUMBER(20,5), c FLOAT, d VARCHAR, e VARCHAR(10), f BINARY, g BOOLEAN, h DATE,"
    " i TIME(6), j TIMESTAMP_NTZ(6), k TIMESTAMP_LTZ(6), l TIMESTAMP_TZ(6), m VARIANT, n INT, o TIMESTAMP_NTZ"
)
DESCRIBED = {
    "A": "NUMBER(38,0)",
    "B": "NUMBER(20,5)",
    "C": "FLOAT",
    "D": "VARCHAR(16777216)",
    "E": "VARCHAR(10)",
    "F": "BINARY(8388608)",
    "G": "BOOLEAN",
    "H": "DATE",
    "I": "TIME(6)",
    "J": "TIMESTAMP_NTZ(6)",
    "K": "TIMESTAMP_LTZ(6)",
    "L": "TIMESTAMP_TZ(6)",
    "M": "VARIANT",
    "N": "NUMBER(38,0)",
    "O": "TIMESTAMP_NTZ(9)",
}


@clause(
    "DESCRIBE TABLE tells each column's type as declared, defaults filled in, and whether it takes NULL", DESCRIBE
)
async def describe_tells_types(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, f"CREATE TABLE t ({ALL_TYPES})")
        found = await records(connection, "DESCRIBE TABLE t")
        assert {one["name"]: one["type"] for one in found} == DESCRIBED
        assert {one["name"]: one["null?"] for one in found}["A"] == "N"
        assert {one["kind"] for one in found} == {"COLUMN"}
        await fails(connection, 2003, "DESCRIBE TABLE nowhere")


@clause("INFORMATION_SCHEMA.COLUMNS tells the same columns in their order", "sql-reference/info-schema/columns")
async def information_schema_tells_columns(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (a NUMBER(20,5) NOT NULL, b VARCHAR(7), c TIMESTAMP_LTZ(6))")
        found = await rows(
            connection,
            "SELECT column_name, data_type, is_nullable, numeric_scale FROM INFORMATION_SCHEMA.COLUMNS"
            " WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position",
            site.schema,
            "T",
        )
        assert found == [
            ("A", "NUMBER", "NO", 5),
            ("B", "TEXT", "YES", None),
            ("C", "TIMESTAMP_LTZ", "YES", None),
        ]


@clause("SHOW TABLES LIKE … IN SCHEMA tells created_on, kind and comment; LIKE does not mind case", SHOW_TABLES)
async def show_tables_tells_tables(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TRANSIENT TABLE stage_one (a NUMBER) COMMENT = 'made'")
        await rows(connection, "CREATE TABLE other (a NUMBER)")
        found = await records(connection, f"SHOW TABLES LIKE 'STAGE%' IN SCHEMA {site.database}.{site.schema}")
        assert [(one["name"], one["kind"], one["comment"]) for one in found] == [
            ("STAGE_ONE", "TRANSIENT", "made")
        ]
        assert abs(found[0]["created_on"] - datetime.now(UTC)) < timedelta(days=1)
        assert (
            len(await rows(connection, f"SHOW TABLES LIKE 'stage%' IN SCHEMA {site.database}.{site.schema}")) == 1
        )
        await fails(connection, 2043, f"SHOW TABLES IN SCHEMA {site.database}.NOWHERE")


@clause("created_on changes when a table is made again under its name", SHOW_TABLES)
async def created_on_tells_a_table_made_again(site: Site) -> None:
    async with site.connect() as connection:
        seen = []
        for _ in range(2):
            await rows(connection, "CREATE OR REPLACE TABLE t (a NUMBER)")
            [record] = await records(connection, f"SHOW TABLES LIKE 'T' IN SCHEMA {site.database}.{site.schema}")
            seen.append(record["created_on"])
        assert seen[0] != seen[1]


@clause("Comments of tables and columns are kept and told", "sql-reference/sql/comment")
async def comments_are_told(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (a NUMBER COMMENT 'first', b NUMBER)")
        await run_all(
            connection, ["COMMENT ON TABLE t IS 'it''s mine'", "COMMENT ON COLUMN t.b IS '{\"json\": true}'"]
        )
        found = await records(connection, "DESCRIBE TABLE t")
        assert {one["name"]: one["comment"] for one in found} == {"A": "first", "B": '{"json": true}'}
        [table] = await records(connection, f"SHOW TABLES LIKE 'T' IN SCHEMA {site.database}.{site.schema}")
        assert table["comment"] == "it's mine"
        columns = await records(connection, "SHOW COLUMNS IN TABLE t")
        assert {one["column_name"]: one["comment"] for one in columns}["B"] == '{"json": true}'


@clause("Unquoted names are upper-case, quoted ones as they stand; both answer under their name", IDENTIFIERS)
async def names_fold_to_upper_case(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, 'CREATE TABLE "Some table" (a NUMBER, "b c" NUMBER)')
        await rows(connection, 'INSERT INTO "Some table" (A, "b c") VALUES (1, 2)')
        assert await records(connection, 'SELECT * FROM "Some table"') == [{"a": 1, "b c": 2}]
        [record] = await records(connection, f"SHOW TABLES IN SCHEMA {site.database}.{site.schema}")
        assert record["name"] == "Some table"


@clause("CREATE TABLE of a name that is taken fails with 002002; IF NOT EXISTS leaves the table as it is", CREATE)
async def create_table_keeps_what_there_is(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (a NUMBER)")
        await rows(connection, "INSERT INTO t VALUES (1)")
        await fails(connection, 2002, "CREATE TABLE t (b NUMBER)")
        assert "already exists" in await value(connection, "CREATE TABLE IF NOT EXISTS t (b NUMBER)")
        assert await rows(connection, "SELECT a FROM t") == [(1,)]


@clause("ALTER TABLE ADD COLUMN IF NOT EXISTS adds what is missing; old rows have NULL there", ALTER)
async def columns_are_added(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (a NUMBER)")
        await rows(connection, "INSERT INTO t VALUES (1)")
        await rows(connection, "ALTER TABLE t ADD COLUMN IF NOT EXISTS a NUMBER, b TIMESTAMP_LTZ(6), c VARIANT")
        assert await rows(connection, "SELECT * FROM t") == [(1, None, None)]
        await fails(connection, 1430, "ALTER TABLE t ADD COLUMN b NUMBER")


@clause("A column's type may become a number of more digits, and not another kind", ALTER)
async def types_only_widen(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (a NUMBER(10,2), b VARCHAR(5))")
        await rows(connection, "ALTER TABLE t ALTER COLUMN a SET DATA TYPE NUMBER(20,2)")
        await rows(connection, "ALTER TABLE t ALTER COLUMN b SET DATA TYPE VARCHAR(50)")
        found = await records(connection, "DESCRIBE TABLE t")
        assert {one["name"]: one["type"] for one in found} == {"A": "NUMBER(20,2)", "B": "VARCHAR(50)"}
        await fails(connection, 2108, "ALTER TABLE t ALTER COLUMN a SET DATA TYPE VARCHAR")


@clause("DDL commits the open transaction: a later ROLLBACK undoes nothing of it", TRANSACTIONS)
async def ddl_ends_a_transaction(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (a NUMBER)")
        await run_all(
            connection, ["BEGIN", "INSERT INTO t VALUES (1)", "CREATE TABLE other (a NUMBER)", "ROLLBACK"]
        )
        assert await rows(connection, "SELECT a FROM t") == [(1,)]
        assert await value(connection, "SELECT CURRENT_TRANSACTION()") is None


@clause("A temporary table hides one of its name, is seen by its session only, and goes with it", CREATE)
async def temporary_tables_belong_to_a_session(site: Site) -> None:
    async with site.connect() as one, site.connect() as other:
        await rows(one, "CREATE TABLE t (a NUMBER)")
        await rows(one, "INSERT INTO t VALUES (1)")
        await rows(one, "CREATE TEMPORARY TABLE t AS SELECT 2 AS a")
        assert await rows(one, "SELECT a FROM t") == [(2,)]
        assert await rows(other, f"SELECT a FROM {site.database}.{site.schema}.t") == [(1,)]
        await rows(one, "DROP TABLE t")
        assert await rows(one, "SELECT a FROM t") == [(1,)]


@clause("NULL in a NOT NULL column fails with 100072", CREATE)
async def not_null_is_enforced(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (a NUMBER NOT NULL)")
        await fails(connection, 100072, "INSERT INTO t VALUES (NULL)")


@clause("Primary and unique keys are not enforced", "sql-reference/constraints-overview")
async def keys_are_not_enforced(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (a NUMBER PRIMARY KEY, b NUMBER UNIQUE)")
        await rows(connection, "INSERT INTO t VALUES (1, 1), (1, 1)")
        assert await value(connection, "SELECT COUNT(*) FROM t") == 2


@clause("DROP TABLE of what is not there fails with 002003; IF EXISTS does not", "sql-reference/sql/drop-table")
async def drop_table_wants_a_table(site: Site) -> None:
    async with site.connect() as connection:
        await fails(connection, 2003, "DROP TABLE t")
        await rows(connection, "DROP TABLE IF EXISTS t")


@clause("A view shows what its query finds; DROP TABLE refuses it", "sql-reference/sql/create-view")
async def views_are_no_tables(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (a NUMBER)")
        await rows(connection, "INSERT INTO t VALUES (1), (2)")
        await rows(connection, "CREATE OR REPLACE VIEW v COMMENT = 'x' AS SELECT SUM(a) AS total FROM t")
        assert await rows(connection, "SELECT total FROM v") == [(3,)]
        await fails(connection, 2203, "DROP TABLE v")
        assert await rows(connection, f"SHOW TABLES LIKE 'V' IN SCHEMA {site.database}.{site.schema}") == []
