"""`sluiceway doctor` on a drive table in Snowflake: what is missing is named with its GRANT (N-10, N-11)."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from state.snowflake.drive_checks import check
from state.snowflake.session import Account
from tests.contract.drive_snowflake import drive_at, made, schema_of, settings
from tests.contract.snowflake_rights import failed, grants_in, limited, shown

NEEDED = {
    "SLUICEWAY_DRIVE": ("SELECT", "UPDATE"),
    "PIPELINE_TOKENS": ("SELECT", "INSERT", "UPDATE"),
    "PIPELINE_EXECUTION_DRIVE": ("SELECT", "INSERT", "UPDATE"),
    "PIPELINE_EVENTS": ("SELECT", "INSERT"),
}
ON_TABLES = [(one, "TABLE", f"{{db}}.S.{table}") for table, privileges in NEEDED.items() for one in privileges]
ABOVE = {
    ("USAGE", "WAREHOUSE", "LOADING"): "snowflake_connection.warehouse",
    ("USAGE", "DATABASE", "{db}"): "drive_table.database_schema: database",
    ("USAGE", "SCHEMA", "{db}.S"): "drive_table.database_schema: schema",
}
ALL = {**ABOVE, **dict.fromkeys(ON_TABLES, "drive_table privileges")}
"""Each privilege, and the check that names it."""


def given(place, grants):
    """The role has exactly these grants."""
    limited(place).has((privilege, kind, name.format(db=place.database)) for privilege, kind, name in grants)


async def found_by(place):
    async with aclosing(Account(settings({**place.connection, "role": limited(place).name}))) as account:
        return failed(await check(account, schema_of(place.connection)))


async def test_what_grants_sql_gives_is_enough_for_the_drive_table(place):
    await made(place.connection)
    given(place, ALL)
    assert await found_by(place) == []


@pytest.mark.parametrize("missing", ALL, ids=[f"{p} {n.split('.')[-1]}" for p, _, n in ALL])
async def test_a_missing_privilege_is_named_alone_and_its_grant_is_all_it_takes_n11(place, missing):
    role, lost = limited(place), (*missing[:2], missing[2].format(db=place.database))
    async with drive_at(place.connection), place.connect() as admin:
        given(place, [grant for grant in ALL if grant != missing])
        [found] = await found_by(place)
        assert found.name == ALL[missing]
        assert grants_in(found.hint) == [shown(lost, role.name)]
        await place.rows(admin, grants_in(found.hint)[0])
        assert await found_by(place) == []


async def test_a_table_without_any_privilege_is_named_with_all_it_takes(place):
    async with drive_at(place.connection), place.connect() as admin:
        given(place, [grant for grant in ALL if not grant[2].endswith("PIPELINE_TOKENS")])
        [found] = await found_by(place)
        assert f'GRANT SELECT, INSERT, UPDATE ON TABLE "{place.database}"."S"."PIPELINE_TOKENS"' in found.hint
        await place.rows(admin, grants_in(found.hint)[0])
        assert await found_by(place) == []


async def test_a_drive_table_that_was_never_made_is_told_apart(place):
    given(place, ABOVE)
    [found] = await found_by(place)
    assert found.name == "drive_table"
    assert "sluiceway drive init" in found.hint
    assert "sluiceway drive sql grants" in found.hint
