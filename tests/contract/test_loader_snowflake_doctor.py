"""`sluiceway doctor` on Snowflake: each missing object or privilege is named with its GRANT (N-10, N-11)."""

from __future__ import annotations

import pytest

from state.errors import ConfigurationError
from tests.contract.loader_desk import CONTRACT, attempt, desk, rows
from tests.contract.loader_snowflake import SnowflakePlace


@pytest.fixture
async def snowflake_place(snowflake_server):
    place = SnowflakePlace(snowflake_server.place())
    yield place
    await place.aclose()


@pytest.fixture
async def d(snowflake_place):
    async with desk(lambda _folder: snowflake_place) as made:
        yield made


class Rights:
    """A role with exactly the privileges that the loader needs; some are taken away by what they are for."""

    def __init__(self, place):
        self.place = place
        self.role = f"LIMITED_{place.place.database}"
        database, schema = place.place.database, place.schema
        objects = ("EVENTS", "EVENTS__SLUICEWAY_LOADS", "EVENTS_STAGE_EMPTY")
        self.all = {
            "warehouse": [["USAGE", "WAREHOUSE", "LOADING"]],
            "database": [["USAGE", "DATABASE", database]],
            "schema": [["USAGE", "SCHEMA", schema]],
            "create": [["CREATE TABLE", "SCHEMA", schema]],
            "stage": [["READ", "STAGE", f"{schema}.LANDING"], ["WRITE", "STAGE", f"{schema}.LANDING"]],
            **{
                privilege.lower(): [[privilege, "TABLE", f"{schema}.{name}"] for name in objects]
                for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE")
            },
        }

    def without(self, *names):
        """The role without what these names stand for; the account that logs in with it."""
        grants = [grant for name, grants in self.all.items() if name not in names for grant in grants]
        self.place.place.server.put(f"/test/roles/{self.role}", grants)
        return self.place.another_account(role=self.role)


async def looked(d, place, *missing):
    """What the doctor finds, by name, for a role without some privileges in a place that is all prepared."""
    await d.loader().prepare(CONTRACT)
    account = Rights(place).without(*missing)
    return [check for check in await d.loader(account=account).check() if not check.ok]


async def test_a_role_with_what_grants_sql_gives_is_enough_n11(d, snowflake_place):
    assert await looked(d, snowflake_place) == []
    account = snowflake_place.another_account(role=Rights(snowflake_place).role)
    loader = d.loader(account=account)
    await d.load(loader, attempt(), rows(("a", 1, 1)))
    assert d.values() == {"a": 1}


@pytest.mark.parametrize(
    ("missing", "name", "grant"),
    [
        ("warehouse", "snowflake_connection.warehouse", "GRANT USAGE ON WAREHOUSE"),
        ("database", "target_system.table: database", 'GRANT USAGE ON DATABASE "{0}" TO ROLE "{1}";'),
        ("schema", "target_system.table: schema", 'ON SCHEMA "{0}"."S" TO ROLE "{1}";'),
        ("stage", "stage_system.stage", 'GRANT READ, WRITE ON STAGE "{0}"."S"."LANDING" TO ROLE "{1}";'),
        ("create", "stage_system.table", 'GRANT CREATE TABLE ON SCHEMA "{0}"."S" TO ROLE "{1}";'),
        ("insert", "target_system.table", 'GRANT INSERT ON TABLE "{0}"."S"."EVENTS" TO ROLE "{1}";'),
        ("update", "target_system.table", 'GRANT UPDATE ON TABLE "{0}"."S"."EVENTS" TO ROLE "{1}";'),
        ("delete", "target_system.table", 'GRANT DELETE ON TABLE "{0}"."S"."EVENTS" TO ROLE "{1}";'),
    ],
)
async def test_what_is_missing_is_named_with_its_grant_n11(d, snowflake_place, missing, name, grant):
    found = await looked(d, snowflake_place, missing)
    [check] = [check for check in found if check.name == name]
    assert grant.format(snowflake_place.place.database, Rights(snowflake_place).role) in check.hint


@pytest.mark.parametrize(("name", "setting"), [("NOWHERE.S.T", "database"), ("{0}.NOWHERE.T", "schema")])
async def test_a_database_or_schema_that_is_not_there_is_named(d, snowflake_place, name, setting):
    table = name.format(snowflake_place.place.database)
    found = [check for check in await d.loader(table=table).check() if not check.ok]
    [check] = [check for check in found if check.name == f"target_system.table: {setting}"]
    assert "NOWHERE" in check.found + check.hint


async def test_what_the_role_may_not_make_is_named_before_it_is_needed(d, snowflake_place):
    account = Rights(snowflake_place).without("create", "stage", "select", "insert", "update", "delete")
    found = {check.name: check for check in await d.loader(account=account).check() if not check.ok}
    assert set(found) == {"stage_system.stage", "stage_system.table", "target_system.table"}
    assert "GRANT CREATE STAGE ON SCHEMA" in found["stage_system.stage"].hint
    assert "GRANT READ, WRITE ON STAGE" in found["stage_system.stage"].hint
    assert snowflake_place.untouched()


async def test_a_view_is_no_target(d, snowflake_place):
    snowflake_place.query("CREATE TABLE T (ID VARCHAR)")
    snowflake_place.query("CREATE VIEW EVENTS AS SELECT * FROM T")
    [check] = [check for check in await d.loader().check() if not check.ok]
    assert "view" in check.found
    with pytest.raises(ConfigurationError, match="view"):
        await d.loader().prepare(CONTRACT)


async def test_a_server_that_is_not_there_is_a_finding_and_no_crash(d, snowflake_place):
    account = snowflake_place.another_account(port=9)
    [check] = await d.loader(account=account).check()
    assert (check.name, check.ok) == ("snowflake_connection", False)
    assert check.hint


async def test_the_doctor_leaves_no_file(d, snowflake_place):
    await d.loader().prepare(CONTRACT)
    assert all(check.ok for check in await d.loader().check())
    assert d.place.files() == []
    tables = snowflake_place.query("SHOW TABLES")
    assert not [row["name"] for row in tables if "DOCTOR" in row["name"]]
