"""Roles and privileges, and warehouses that do not work: each with the error that Snowflake documents."""

from __future__ import annotations

import asyncio

import pytest
from snowflake.connector import errors
from snowflake.connector.constants import QueryStatus

from tests.snowflake.accounts import fails, until

TABLE = [("USAGE", "DATABASE", "{db}"), ("USAGE", "SCHEMA", "{db}.S")]
USE = ("USAGE", "WAREHOUSE", "{db}_WH")


def role(place, *grants) -> dict:
    """A role with exactly these privileges, and keywords of `connect` for it."""
    name = f"R_{place.database}"
    wanted = [[privilege, kind, text.format(db=place.database)] for privilege, kind, text in grants]
    place.server.put(f"/test/roles/{name}", wanted)
    return {"role": name, "warehouse": f"{place.database}_WH"}


async def prepared(place) -> None:
    async with place.connect() as connection:
        await place.rows(connection, "CREATE TABLE t (k NUMBER, n NUMBER)")
        await place.rows(connection, "INSERT INTO t VALUES (1, 1)")
        await place.rows(connection, "CREATE TABLE u (k NUMBER, n NUMBER)")
        await place.rows(connection, "CREATE STAGE st")


MERGE = (
    "MERGE INTO t USING u ON t.k = u.k"
    " WHEN MATCHED THEN UPDATE SET n = u.n WHEN NOT MATCHED THEN INSERT (k, n) VALUES (u.k, u.n)"
)
ON_T = ("TABLE", "{db}.S.T")
ON_U = ("TABLE", "{db}.S.U")
ON_ST = ("STAGE", "{db}.S.ST")
STATEMENTS = {
    "SELECT n FROM t": [("SELECT", *ON_T)],
    "SELECT t.n FROM t JOIN (SELECT * FROM u) x ON x.k = t.k": [("SELECT", *ON_T), ("SELECT", *ON_U)],
    "WITH w AS (SELECT * FROM u) SELECT * FROM w": [("SELECT", *ON_U)],
    "INSERT INTO t VALUES (2, 2)": [("INSERT", *ON_T)],
    "INSERT INTO t SELECT * FROM u": [("INSERT", *ON_T), ("SELECT", *ON_U)],
    "UPDATE t SET n = 3": [("UPDATE", *ON_T), ("SELECT", *ON_T)],
    "DELETE FROM t WHERE k = 9": [("DELETE", *ON_T), ("SELECT", *ON_T)],
    MERGE: [("INSERT", *ON_T), ("UPDATE", *ON_T), ("SELECT", *ON_T), ("SELECT", *ON_U)],
    "TRUNCATE TABLE t": [("TRUNCATE", *ON_T)],
    "ALTER TABLE t ADD COLUMN extra NUMBER": [("OWNERSHIP", *ON_T)],
    "DROP TABLE t": [("OWNERSHIP", *ON_T)],
    "LIST @st": [("READ", *ON_ST)],
    "REMOVE @st/nothing": [("WRITE", *ON_ST)],
    "CREATE TABLE new (a NUMBER)": [("CREATE TABLE", "SCHEMA", "{db}.S")],
    "CREATE TRANSIENT TABLE new (a NUMBER)": [("CREATE TABLE", "SCHEMA", "{db}.S")],
    "CREATE STAGE new": [("CREATE STAGE", "SCHEMA", "{db}.S")],
    "CREATE TEMPORARY TABLE new (a NUMBER)": [],
}
"""Each statement with all that it needs beside USAGE on database, schema and warehouse."""

LACKS = [(sql, lacking) for sql, needed in STATEMENTS.items() for lacking in needed]


@pytest.mark.parametrize("sql", STATEMENTS)
async def test_a_role_with_what_a_statement_needs_may(place, sql):
    await prepared(place)
    async with place.connect(**role(place, *TABLE, USE, *STATEMENTS[sql])) as connection:
        await place.rows(connection, sql)


@pytest.mark.parametrize(("sql", "lacking"), LACKS, ids=[f"{one[1][0]}: {one[0][:30]}" for one in LACKS])
async def test_a_role_without_one_of_them_is_refused_n11(place, sql, lacking):
    """Where it has another privilege on the object: 003001, and the message names the object."""
    await prepared(place)
    rest = [need for need in STATEMENTS[sql] if need != lacking]
    other = ("REFERENCES", *lacking[1:])
    async with place.connect(**role(place, *TABLE, USE, *rest, other)) as connection:
        error = await fails(place.rows(connection, sql))
    assert (error.errno, error.sqlstate) == (3001, "42501")
    assert f"on {lacking[1].lower()} '{lacking[2].rsplit('.', 1)[-1]}'" in str(error)


@pytest.mark.parametrize(
    ("sql", "state", "words"),
    [
        ("SELECT n FROM t", "42S02", "Object '{db}.S.T'"),
        ("UPDATE t SET n = 1", "42S02", "Object '{db}.S.T'"),
        ("LIST @st", "02000", "Stage '{db}.S.ST'"),
        ("DESCRIBE TABLE t", "42S02", "Object '{db}.S.T'"),
    ],
)
async def test_what_a_role_has_nothing_on_does_not_exist_for_it_n11(place, sql, state, words):
    await prepared(place)
    async with place.connect(**role(place, *TABLE, USE)) as connection:
        error = await fails(place.rows(connection, sql))
    assert (error.errno, error.sqlstate) == (2003, state)
    assert f"{words.format(db=place.database)} does not exist or not authorized" in str(error)


@pytest.mark.parametrize(("missing", "words"), [(0, "Database '{db}'"), (1, "Schema '{db}.S'")])
async def test_without_usage_on_database_or_schema_they_do_not_exist_n11(place, missing, words):
    await prepared(place)
    grants = [grant for number, grant in enumerate(TABLE) if number != missing]
    async with place.connect(**role(place, *grants, USE, ("SELECT", *ON_T))) as connection:
        error = await fails(place.rows(connection, f"SELECT n FROM {place.database}.S.t"))
    assert error.errno == 2003
    assert f"{words.format(db=place.database)} does not exist or not authorized" in str(error)


async def test_without_usage_on_the_warehouse_a_session_has_none_n10_n11(place):
    await prepared(place)
    async with place.connect(**role(place, *TABLE, ("SELECT", *ON_T))) as connection:
        assert await place.rows(connection, "SELECT CURRENT_WAREHOUSE()") == [(None,)]
        error = await fails(place.rows(connection, "SELECT n FROM t"))
        assert (error.errno, error.sqlstate) == (606, "57P03")
        assert (await fails(place.rows(connection, f"USE WAREHOUSE {place.database}_WH"))).errno == 2043


async def test_a_grant_is_in_force_at_once_and_a_revoke_too(place):
    await prepared(place)
    how = role(place, *TABLE, USE)
    async with place.connect(**how) as worker, place.connect() as admin:
        assert (await fails(place.rows(worker, "SELECT n FROM t"))).errno == 2003
        await place.rows(admin, f"GRANT SELECT, INSERT ON TABLE {place.database}.S.T TO ROLE {how['role']}")
        assert await place.rows(worker, "SELECT n FROM t") == [(1,)]
        await place.rows(admin, f"REVOKE SELECT ON TABLE {place.database}.S.T FROM ROLE {how['role']}")
        assert (await fails(place.rows(worker, "SELECT n FROM t"))).errno == 3001


async def test_grants_on_all_and_on_future_tables(place):
    await prepared(place)
    how = role(place, *TABLE, USE)
    async with place.connect(**how) as worker, place.connect() as admin:
        await place.rows(admin, f"GRANT SELECT ON ALL TABLES IN SCHEMA {place.database}.S TO ROLE {how['role']}")
        assert await place.rows(worker, "SELECT count(*) FROM t, u") == [(0,)]
        await place.rows(admin, "CREATE TABLE later (a NUMBER)")
        assert (await fails(place.rows(worker, "SELECT * FROM later"))).errno == 2003
        await place.rows(
            admin, f"GRANT SELECT ON FUTURE TABLES IN SCHEMA {place.database}.S TO ROLE {how['role']}"
        )
        await place.rows(admin, "CREATE TABLE latest (a NUMBER)")
        assert await place.rows(worker, "SELECT * FROM latest") == []


async def test_who_makes_a_table_owns_it(place):
    async with place.connect(**role(place, *TABLE, USE, ("CREATE TABLE", "SCHEMA", "{db}.S"))) as connection:
        await place.rows(connection, "CREATE TABLE mine (a NUMBER)")
        await place.rows(connection, "INSERT INTO mine VALUES (1)")
        await place.rows(connection, "ALTER TABLE mine ADD COLUMN b NUMBER")
        await place.rows(connection, "DROP TABLE mine")


async def test_a_role_inherits_what_was_granted_to_a_role_of_its_own(place):
    await prepared(place)
    how = role(place, *TABLE, USE)
    async with place.connect(**how) as worker, place.connect() as admin:
        await place.rows(admin, f"CREATE ROLE IF NOT EXISTS LOWER_{place.database}")
        await place.rows(admin, f"GRANT SELECT ON TABLE {place.database}.S.T TO ROLE LOWER_{place.database}")
        await place.rows(admin, f"GRANT ROLE LOWER_{place.database} TO ROLE {how['role']}")
        assert await place.rows(worker, "SELECT n FROM t") == [(1,)]


async def test_show_grants_tells_what_a_role_has(place):
    how = role(place, *TABLE)
    async with place.connect() as admin:
        rows = await place.rows(admin, f"SHOW GRANTS TO ROLE {how['role']}")
        assert sorted(row[1:4] for row in rows) == [
            ("USAGE", "DATABASE", place.database),
            ("USAGE", "SCHEMA", f"{place.database}.S"),
        ]
        await place.rows(admin, "CREATE TABLE t (a NUMBER)")
        await place.rows(admin, f"GRANT SELECT ON TABLE t TO ROLE {how['role']}")
        rows = await place.rows(admin, "SHOW GRANTS ON TABLE t")
        assert [row[1:6] for row in rows] == [("SELECT", "TABLE", f"{place.database}.S.T", "ROLE", how["role"])]


@pytest.mark.parametrize(("what", "on"), [("TABLES", ON_T), ("STAGES", ON_ST)])
async def test_show_tells_a_role_of_nothing_that_it_has_no_privilege_on(place, what, on):
    await prepared(place)
    name = on[1].rsplit(".", 1)[-1]
    async with place.connect(**role(place, *TABLE, ("REFERENCES", *on))) as connection:
        for scope in ("", f" IN SCHEMA {place.database}.S", f" IN DATABASE {place.database}"):
            assert [row[1] for row in await place.rows(connection, f"SHOW {what}{scope}")] == [name]
        assert await place.rows(connection, f"SHOW {'STAGES' if what == 'TABLES' else 'TABLES'}") == []
    async with place.connect(**role(place, TABLE[0], ("REFERENCES", *on))) as connection:
        assert (await fails(place.rows(connection, f"SHOW {what} IN SCHEMA {place.database}.S"))).errno == 2043
        assert await place.rows(connection, f"SHOW {what} IN DATABASE {place.database}") == []


async def test_a_database_without_a_privilege_is_not_shown_and_not_entered(place):
    async with place.connect(**role(place, USE)) as connection:
        assert await place.rows(connection, "SELECT CURRENT_DATABASE()") == [(None,)]
        assert [row for row in await place.rows(connection, "SHOW DATABASES") if row[1] == place.database] == []
        assert (await fails(place.rows(connection, f"USE DATABASE {place.database}"))).errno == 2003


async def test_a_user_uses_the_roles_that_it_has(place):
    user, lower = f"U_{place.database}", f"LOWER_{place.database}"
    place.server.put(f"/test/users/{user}", {"password": "p", "roles": ["FIRST"], "default_role": "FIRST"})
    async with place.connect(user=user, password="p", role=None) as worker, place.connect() as admin:
        error = await fails(place.rows(worker, f"USE ROLE {lower}"))
        assert (error.errno, error.sqlstate) == (3013, "42501")
        await place.rows(admin, f"CREATE ROLE {lower}")
        await place.rows(admin, f"GRANT ROLE {lower} TO USER {user}")
        await place.rows(worker, f"USE ROLE {lower}")
        assert await place.rows(worker, "SELECT CURRENT_ROLE()") == [(lower,)]
        assert (lower,) in [row[1:2] for row in await place.rows(admin, f"SHOW GRANTS TO USER {user}")]


async def test_a_put_needs_write_on_its_stage(place, tmp_path):
    (tmp_path / "f.bin").write_bytes(b"x" * 100)
    await prepared(place)
    put = f"PUT 'file://{tmp_path}/f.bin' @st AUTO_COMPRESS=FALSE"
    async with place.connect(**role(place, *TABLE, ("READ", *ON_ST))) as connection:
        assert (await fails(place.rows(connection, put))).errno == 3001
    async with place.connect(**role(place, *TABLE, ("READ", *ON_ST), ("WRITE", *ON_ST))) as connection:
        await place.rows(connection, put)


# -- warehouses


def warehouse(place, **state) -> dict:
    name = f"{place.database}_WH"
    place.server.put(f"/test/warehouses/{name}", state)
    return {"warehouse": name}


@pytest.mark.parametrize(
    ("state", "errno", "sqlstate"),
    [
        ({"missing": True}, 606, "57P03"),
        ({"suspended": True, "auto_resume": False}, 606, "57P03"),
        ({"monitor": "MONTHLY"}, 90073, "22000"),
    ],
)
async def test_a_warehouse_that_does_not_work(place, state, errno, sqlstate):
    await prepared(place)
    async with place.connect(**warehouse(place, **state)) as connection:
        error = await fails(place.rows(connection, "SELECT n FROM t"))
        assert (error.errno, error.sqlstate) == (errno, sqlstate)
        await place.rows(connection, "SHOW TABLES")
        await place.rows(connection, "SELECT CURRENT_TIMESTAMP()")


async def test_a_suspended_warehouse_resumes_where_it_may(place):
    await prepared(place)
    async with place.connect(**warehouse(place, suspended=True)) as connection:
        assert await place.rows(connection, "SELECT n FROM t") == [(1,)]


async def test_statements_queue_for_a_busy_warehouse(place):
    await prepared(place)
    async with place.connect(**warehouse(place, busy=True)) as connection, place.connect() as other:
        waiter = asyncio.ensure_future(place.rows(connection, "SELECT n FROM t"))

        def queued() -> bool:
            found = [one for one in place.statements() if one["text"] == "SELECT n FROM t"]
            return bool(found) and place.server.get(f"/test/queries/{found[0]['query_id']}")["status"] == "QUEUED"

        await until(queued)
        [run] = [one for one in place.statements() if one["text"] == "SELECT n FROM t"]
        assert await other.get_query_status(run["query_id"]) == QueryStatus.QUEUED
        warehouse(place)
        assert await waiter == [(1,)]


async def test_a_statement_queues_no_longer_than_its_timeout(place):
    await prepared(place)
    how = {"session_parameters": {"STATEMENT_QUEUED_TIMEOUT_IN_SECONDS": 1}}
    async with place.connect(**warehouse(place, busy=True), **how) as connection:
        error = await fails(place.rows(connection, "SELECT n FROM t"))
        assert (error.errno, error.sqlstate, "queued" in str(error)) == (630, "57014", True)
    warehouse(place)


async def test_an_unregistered_role_may_do_everything(place):
    await prepared(place)
    async with place.connect(role="ANYBODY") as connection:
        await place.rows(connection, "DROP TABLE t")
        with pytest.raises(errors.ProgrammingError):
            await place.rows(connection, "SELECT n FROM t")
