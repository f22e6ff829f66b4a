"""What a role sees, what stages take, and what becomes of grants when an object is made again."""

from __future__ import annotations

from tests.snowflake.accounts import fails
from tests.snowflake.test_grants import ON_ST, ON_T, TABLE, USE, prepared, role


async def test_information_schema_tells_a_role_of_nothing_that_it_has_no_privilege_on(place):
    await prepared(place)
    asked = "SELECT TABLE_NAME FROM INFORMATION_SCHEMA.{} WHERE TABLE_SCHEMA = 'S' ORDER BY 1"
    async with place.connect(**role(place, *TABLE, USE, ("REFERENCES", *ON_T))) as connection:
        assert await place.rows(connection, asked.format("TABLES")) == [("T",)]
        assert set(await place.rows(connection, asked.format("COLUMNS"))) == {("T",)}
    async with place.connect(**role(place, TABLE[0], USE, ("REFERENCES", *ON_T))) as connection:
        assert await place.rows(connection, asked.format("TABLES")) == []
    async with place.connect(**role(place, USE, ("REFERENCES", *ON_T))) as connection:
        of_db = asked.format("TABLES").replace("INFORMATION", f"{place.database}.INFORMATION")
        assert (await fails(place.rows(connection, of_db))).errno == 2003


async def test_an_external_stage_has_usage_and_an_internal_one_read_and_write(place, tmp_path):
    await prepared(place)
    how = role(place, *TABLE, USE, ("READ", *ON_ST), ("WRITE", *ON_ST))
    to = f"ON STAGE {place.database}.S.{{}} TO ROLE {how['role']}"
    async with place.connect() as admin, place.connect(**how) as worker:
        await place.rows(admin, f"CREATE STAGE ex URL = 'file://{tmp_path}'")
        await place.rows(admin, f"GRANT REFERENCES {to.format('ex')}")
        for refused in ("LIST @ex", "COPY FILES INTO @ex FROM @st", "REMOVE @ex"):
            assert (await fails(place.rows(worker, refused))).errno == 3001
        for wrong in ("USAGE {st}", "READ {ex}", "WRITE {ex}"):
            grant = wrong.format(st=to.format("st"), ex=to.format("ex"))
            assert (await fails(place.rows(admin, f"GRANT {grant}"))).errno == 3001
        await place.rows(admin, f"GRANT USAGE {to.format('ex')}")
        for allowed in ("LIST @ex", "COPY FILES INTO @ex FROM @st", "REMOVE @ex"):
            assert await place.rows(worker, allowed) == []


async def test_write_on_a_stage_never_stands_without_read(place):
    await prepared(place)
    how = role(place, *TABLE)
    on = f"ON STAGE {place.database}.S.ST"
    async with place.connect() as admin:
        assert (await fails(place.rows(admin, f"GRANT WRITE {on} TO ROLE {how['role']}"))).errno == 3001
        await place.rows(admin, f"GRANT WRITE, READ {on} TO ROLE {how['role']}")
        assert (await fails(place.rows(admin, f"REVOKE READ {on} FROM ROLE {how['role']}"))).errno == 3001
        await place.rows(admin, f"REVOKE READ, WRITE {on} FROM ROLE {how['role']}")
        assert len(await place.rows(admin, f"SHOW GRANTS TO ROLE {how['role']}")) == len(TABLE)


async def test_what_is_replaced_was_owned_and_its_grants_go(place):
    await prepared(place)
    how = role(place, *TABLE, USE, ("CREATE TABLE", "SCHEMA", "{db}.S"), ("SELECT", *ON_T))
    replaced = "CREATE OR REPLACE TABLE t (k NUMBER)"
    async with place.connect() as admin, place.connect(**how) as worker:
        assert (await fails(place.rows(worker, replaced))).errno == 3001
        await place.rows(worker, "CREATE TABLE IF NOT EXISTS t (k NUMBER)")  # nothing is made, and nobody owns it
        assert (await fails(place.rows(worker, replaced))).errno == 3001
        await place.rows(admin, replaced)
        assert (await fails(place.rows(worker, "SELECT * FROM t"))).errno == 2003
        await place.rows(admin, f"GRANT SELECT ON TABLE {place.database}.S.T TO ROLE {how['role']}")
        await place.rows(admin, "CREATE OR REPLACE TABLE t COPY GRANTS (k NUMBER)")
        assert await place.rows(worker, "SELECT * FROM t") == []


async def test_a_name_that_is_taken_is_told_to_whoever_may_make_others(place):
    await prepared(place)
    make = [("CREATE TABLE", "SCHEMA", "{db}.S"), ("CREATE STAGE", "SCHEMA", "{db}.S")]
    async with place.connect(**role(place, *TABLE, USE, *make)) as worker:
        assert (
            await fails(place.rows(worker, "CREATE TABLE t (k NUMBER NOT NULL) AS SELECT 1 / 0"))
        ).errno == 2002
        assert (await fails(place.rows(worker, "CREATE STAGE st URL = 'nowhere://x'"))).errno == 2002
        assert (
            await fails(place.rows(worker, "CREATE TABLE v (k NUMBER NOT NULL) AS SELECT 1 / 0"))
        ).errno != 2002
        assert (await fails(place.rows(worker, "CREATE STAGE x URL = 'nowhere://x'"))).errno == 1011
        assert await place.rows(worker, "SHOW TABLES") == await place.rows(worker, "SHOW STAGES") == []
