"""`sluiceway doctor` on a drive table in Snowflake: each missing privilege is named with its GRANT (N-11)."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from state.snowflake.drive_checks import check
from state.snowflake.session import Account
from tests.contract.drive_snowflake import drive_at, schema_of, settings

NEEDED = {
    "SLUICEWAY_DRIVE": ("SELECT", "UPDATE"),
    "PIPELINE_TOKENS": ("SELECT", "INSERT", "UPDATE"),
    "PIPELINE_EXECUTION_DRIVE": ("SELECT", "INSERT", "UPDATE"),
    "PIPELINE_EVENTS": ("SELECT", "INSERT"),
}


async def looked(place, *without):
    """What the doctor finds wrong for a role that has all that is needed but for one privilege."""
    role, schema = f"LIMITED_{place.database}", schema_of(place.connection)
    grants = [
        ["USAGE", "WAREHOUSE", "LOADING"],
        ["USAGE", "DATABASE", place.database],
        ["USAGE", "SCHEMA", schema],
        *(
            [privilege, "TABLE", f"{schema}.{table}"]
            for table, privileges in NEEDED.items()
            for privilege in privileges
            if (table, privilege) != without
        ),
    ]
    async with drive_at(place.connection):
        pass  # it is made
    place.server.put(f"/test/roles/{role}", grants)
    async with aclosing(Account(settings({**place.connection, "role": role}))) as account:
        return [found for found in await check(account, schema) if not found.ok]


async def test_what_grants_sql_gives_is_enough_for_the_drive_table(place):
    assert await looked(place) == []


@pytest.mark.parametrize(
    ("table", "privilege"), [(table, one) for table, privileges in NEEDED.items() for one in privileges]
)
async def test_a_missing_privilege_on_the_drive_table_is_named_with_its_grant(place, table, privilege):
    [found] = await looked(place, table, privilege)
    at = f'"{place.database}"."S"."{table}"'
    assert table in found.found
    assert f"ON TABLE {at} TO ROLE" in found.hint
    assert privilege in found.hint
