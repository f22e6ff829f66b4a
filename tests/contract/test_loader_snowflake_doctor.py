"""`sluiceway doctor` on Snowflake: each missing object or privilege is named with its GRANT (N-10, N-11)."""

from __future__ import annotations

import re

import pytest

from loaders.snowflake.loader import SnowflakeLoader
from loaders.snowflake.settings import SnowflakeStage, SnowflakeTarget
from state.errors import ConfigurationError, PermanentError
from tests.contract.loader_desk import CONTRACT, attempt, desk, rows
from tests.contract.snowflake_rights import EMPTY, LOADS, failed, grants_in, limited, loading, shown, told


@pytest.fixture
async def d(snowflake_place):
    async with desk(lambda _folder: snowflake_place) as made:
        yield made


@pytest.fixture
def role(snowflake_place):
    return limited(snowflake_place.place)


async def looked(d, role, grants, **settings):
    """What the doctor finds for a role with these grants."""
    role.has(grants)
    account = d.place.another_account(role=role.name)
    return list(await d.loader(account=account, **settings).check())


async def test_a_role_with_what_a_loader_needs_passes_and_loads_n11(d, role):
    await d.loader().prepare(CONTRACT)
    assert failed(await looked(d, role, loading(d.place))) == []
    await d.load(d.loader(account=d.place.another_account(role=role.name)), attempt(), rows(("a", 1, 1)))
    assert d.values() == {"a": 1}


ALONE = {
    ("USAGE", "WAREHOUSE", "LOADING"): "snowflake_connection.warehouse",
    ("USAGE", "DATABASE", "{db}"): "target_system.table: database",
    ("USAGE", "SCHEMA", "{db}.S"): "target_system.table: schema",
    ("CREATE TABLE", "SCHEMA", "{db}.S"): "stage_system.table",
    ("WRITE", "STAGE", "{db}.S.LANDING"): "stage_system.stage",
    **{
        (privilege, "TABLE", "{db}.S.EVENTS"): "target_system.table"
        for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE")
    },
    **{
        (privilege, "TABLE", f"{{db}}.S.{LOADS}"): "target_system.table: load table"
        for privilege in ("SELECT", "INSERT", "UPDATE")
    },
    ("OWNERSHIP", "TABLE", f"{{db}}.S.{EMPTY}"): "stage_system.table: empty runs",
}
"""Each privilege that a role may lack alone, and the check that names it."""


def test_every_privilege_is_taken_away_once():
    place = type("Place", (), {"place": type("P", (), {"database": "{db}"}), "schema": "{db}.S"})
    assert {*ALONE, ("READ", "STAGE", "{db}.S.LANDING")} == set(loading(place))  # READ goes with WRITE, below


@pytest.mark.parametrize("missing", ALONE, ids=[f"{p} {n.split('.')[-1]}" for p, _, n in ALONE])
async def test_a_privilege_that_is_missing_is_named_alone_and_its_grant_is_all_it_takes_n11(d, role, missing):
    await d.loader().prepare(CONTRACT)
    name = ALONE[missing]
    lost = (*missing[:2], missing[2].format(db=d.place.place.database))
    [check] = failed(await looked(d, role, [grant for grant in loading(d.place) if grant != lost]))
    assert check.name == name
    assert grants_in(check.hint) == [shown(lost, role.name)]
    d.place.query(grants_in(check.hint)[0])
    account = d.place.another_account(role=role.name)
    assert failed(await d.loader(account=account).check()) == []


ALL_OF_ONE = {
    "STAGE LANDING": ("stage_system.stage", 'GRANT READ, WRITE ON STAGE "{db}"."S"."LANDING" TO ROLE "{role}"'),
    "TABLE EVENTS": (
        "target_system.table",
        'GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "{db}"."S"."EVENTS" TO ROLE "{role}"',
    ),
    f"TABLE {LOADS}": (
        "target_system.table: load table",
        f'GRANT SELECT, INSERT, UPDATE ON TABLE "{{db}}"."S"."{LOADS}" TO ROLE "{{role}}"',
    ),
}


@pytest.mark.parametrize("thing", ALL_OF_ONE)
@pytest.mark.parametrize("may_make", [False, True], ids=["", "may make others"])
async def test_what_the_role_does_not_see_is_found_all_the_same_n11(d, role, thing, may_make):
    """It is hidden from a role without any privilege on it, and would be taken for missing, and made in vain."""
    await d.loader().prepare(CONTRACT)
    kind, what = thing.split()
    left = [grant for grant in loading(d.place) if grant[1:] != (kind, f"{d.place.schema}.{what}")]
    left += [("CREATE STAGE", "SCHEMA", d.place.schema)] if may_make else []
    [check] = failed(await looked(d, role, left))
    name, grant = (text.format(db=d.place.place.database, role=role.name) for text in ALL_OF_ONE[thing])
    assert (check.name, grants_in(check.hint)[0]) == (name, grant)
    d.place.query(grant)
    assert failed(await d.loader(account=d.place.another_account(role=role.name)).check()) == []


async def test_a_run_that_does_not_see_the_target_says_whose_it_may_be(d, role):
    """CREATE TABLE IF NOT EXISTS is content with a table that the role may not see."""
    await d.loader().prepare(CONTRACT)
    role.has(grant for grant in loading(d.place) if not grant[2].endswith(".EVENTS"))
    with pytest.raises(PermanentError, match="another role's") as caught:
        await d.loader(account=d.place.another_account(role=role.name)).prepare(CONTRACT)
    assert "sluiceway doctor" in caught.value.hint


async def test_what_is_to_be_made_needs_the_right_to_make_it(d, role):
    """Nothing is there yet; the doctor makes nothing that stays."""
    schema = d.place.schema
    usage = [grant for grant in loading(d.place) if grant[0] == "USAGE"]
    found = told(await looked(d, role, usage))
    assert set(found) == {"stage_system.stage", "stage_system.table", "target_system.table"}
    assert d.place.untouched()
    for hint in found.values():
        d.place.query(grants_in(hint)[-1])
    assert failed(await d.loader(account=d.place.another_account(role=role.name)).check()) == []
    assert d.place.untouched()
    assert [grants_in(found["stage_system.stage"])[-1]] == [shown(("CREATE STAGE", "SCHEMA", schema), role.name)]


async def test_without_ownership_columns_are_added_by_hand_and_the_doctor_says_so(d, role):
    await d.loader().prepare(CONTRACT)
    checks = await looked(d, role, loading(d.place))
    [columns] = [check for check in checks if check.name == "target_system.table: columns"]
    assert columns.ok
    assert "by hand" in columns.found
    owner = [*loading(d.place), ("OWNERSHIP", "TABLE", f"{d.place.schema}.EVENTS")]
    [columns] = [one for one in await looked(d, role, owner) if one.name == "target_system.table: columns"]
    assert "what the source gains is added" in columns.found


@pytest.mark.parametrize("way", [0, 1], ids=["by hand", "by the role"])
async def test_a_target_without_our_columns_needs_them_or_ownership(d, role, way):
    await d.loader().prepare(CONTRACT)
    d.place.query("CREATE OR REPLACE TABLE EVENTS (ID VARCHAR, AT TIMESTAMP_LTZ, VERSION NUMBER, VALUE NUMBER)")
    [check] = failed(await looked(d, role, loading(d.place)))
    assert check.name == "target_system.table: columns"
    d.place.query(re.findall(r"(?:ALTER|GRANT) [^;]+", check.hint)[way])
    account = d.place.another_account(role=role.name)
    assert failed(await d.loader(account=account).check()) == []
    await d.load(d.loader(account=account), attempt(), rows(("a", 1, 1)))
    assert d.values() == {"a": 1}


async def test_places_of_stage_and_stage_tables_are_looked_at_too(d, role):
    d.place.query("CREATE SCHEMA FILES")
    d.place.query("CREATE SCHEMA TABLES")
    database = d.place.place.database
    usage = [grant for grant in loading(d.place) if grant[0] == "USAGE"]
    role.has([*usage, ("CREATE TABLE", "SCHEMA", d.place.schema)])
    target = SnowflakeTarget(type="snowflake", table=f"{d.place.schema}.EVENTS", key=("id",))
    stage = SnowflakeStage(stage=f"{database}.FILES.LANDING", table=f"{database}.TABLES.EVENTS_STAGE")
    account = d.place.another_account(role=role.name)
    loader = SnowflakeLoader(target, stage, account, pipeline="p", cursor="at")
    seen = []
    while found := told(await loader.check()):
        seen += found
        for hint in found.values():
            d.place.query(grants_in(hint)[-1])
    assert seen == [
        "stage_system.stage: schema",
        "stage_system.table: schema",
        "stage_system.stage",
        "stage_system.table",
    ]


@pytest.mark.parametrize(("name", "setting"), [("NOWHERE.S.T", "database"), ("{0}.NOWHERE.T", "schema")])
async def test_a_database_or_schema_that_is_not_there_is_named(d, snowflake_place, name, setting):
    table = name.format(snowflake_place.place.database)
    [check] = failed(await d.loader(table=table).check())
    assert check.name == f"target_system.table: {setting}"
    assert f"CREATE {setting.upper()}" in check.hint
    assert "NOWHERE" in check.hint


async def test_a_view_is_no_target(d, snowflake_place):
    snowflake_place.query("CREATE TABLE T (ID VARCHAR)")
    snowflake_place.query("CREATE VIEW EVENTS AS SELECT * FROM T")
    [check] = failed(await d.loader().check())
    assert "view" in check.found
    with pytest.raises(ConfigurationError, match="view"):
        await d.loader().prepare(CONTRACT)


async def test_an_external_stage_takes_no_files(d, snowflake_place):
    snowflake_place.query("CREATE STAGE LANDING URL = 's3://bucket/landing'")
    [check] = failed(await d.loader().check())
    assert check.name == "stage_system.stage"
    assert "Name an internal stage" in check.hint


# -- the way there


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"suspended": True, "auto_resume": False}, "SET AUTO_RESUME = TRUE;"),
        ({"monitor": "M"}, "resource monitor"),
    ],
)
async def test_a_warehouse_that_does_not_work_is_named_n10(d, snowflake_place, state, words):
    warehouse = f"{snowflake_place.place.database}_WH"
    snowflake_place.place.server.put(f"/test/warehouses/{warehouse}", state)
    [check] = failed(await d.loader(account=snowflake_place.another_account(warehouse=warehouse)).check())
    assert check.name == "snowflake_connection.warehouse"
    assert words in check.hint
    snowflake_place.place.server.put(f"/test/warehouses/{warehouse}", {"suspended": True})
    account = snowflake_place.another_account(warehouse=warehouse)
    assert failed(await d.loader(account=account).check()) == []  # USAGE lets it resume


async def test_a_role_that_the_user_has_not_is_named_with_its_grant_n11(d, snowflake_place, role):
    role.has([("USAGE", "WAREHOUSE", "LOADING")])
    user = f"U_{snowflake_place.place.database}"
    snowflake_place.place.server.put(f"/test/users/{user}", {"password": "secret", "roles": ["OTHER"]})
    account = snowflake_place.another_account(user=user.lower(), role=role.name.lower())
    [check] = await d.loader(account=account).check()
    assert (check.name, check.hint) == ("snowflake_connection", f'GRANT ROLE "{role.name}" TO USER "{user}";')
    snowflake_place.query(check.hint.removesuffix(";"))
    account = snowflake_place.another_account(user=user.lower(), role=role.name.lower())
    [*_, check] = await d.loader(account=account).check()
    assert check.name == "target_system.table: database"  # logged in


async def test_a_network_policy_is_named(d, snowflake_place):
    denied = {"code": "390422", "state": "08001", "message": "Incoming request with IP is not allowed"}
    with snowflake_place.fault("error", path="login-request", times=None, **denied):
        [check] = await d.loader().check()
    assert (check.name, check.ok, "network policy" in check.hint) == ("snowflake_connection", False, True)


async def test_a_server_that_is_not_there_is_a_finding_and_no_crash(d, snowflake_place):
    account = snowflake_place.another_account(port=9)
    [check] = await d.loader(account=account).check()
    assert (check.name, check.ok) == ("snowflake_connection", False)
    assert "DNS, firewall, proxy" in check.hint


async def test_the_doctor_leaves_no_file(d, snowflake_place):
    await d.loader().prepare(CONTRACT)
    assert all(check.ok for check in await d.loader().check())
    assert d.place.files() == []
    tables = snowflake_place.query("SHOW TABLES")
    assert not [row["name"] for row in tables if "DOCTOR" in row["name"]]
