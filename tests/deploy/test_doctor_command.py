"""`sluiceway doctor` itself, as the workers' user: what is missing is named with its GRANT (N-11)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import yaml

from tests.cli.shell import sluiceway
from tests.contract.snowflake_rights import grants_in
from tests.deploy.test_grants import Granted, granted, wanted  # noqa: F401 fixtures
from tests.lifecycle.snowflake_world import snowflake_defaults
from tests.lifecycle.world import merged


async def doctor(granted: Granted) -> dict[str, str]:  # noqa: F811 the fixture's own name
    """What fails, each check with its hint."""
    settings = merged(snowflake_defaults(granted.world), granted.world.settings)
    config = granted.folder / "sluiceway.yaml"
    config.write_text(yaml.safe_dump(settings))
    answer = await asyncio.to_thread(sluiceway, "doctor", "--json", "--config", config)
    assert answer.code == (0 if answer.json["ok"] else 1), answer.err
    return {check["name"]: check["hint"] for check in answer.json["checks"] if not check["ok"]}


@asynccontextmanager
async def admin_of(granted: Granted) -> AsyncIterator:  # noqa: F811
    async with granted.drive.connect() as session:
        yield lambda sql: granted.drive.rows(session, sql)


def lost(granted: Granted) -> dict[tuple[str, str], str]:  # noqa: F811
    """What is taken away, and the name of the check that tells."""
    schema = f"{granted.drive.database}.S"
    return {
        ("USAGE", f"SCHEMA {schema}"): "drive_table.database_schema: schema",
        ("USAGE", f"DATABASE {granted.drive.database}"): "drive_table.database_schema: database",
        ("SELECT", f"TABLE {schema}.SLUICEWAY_DRIVE"): "drive_table privileges",
        ("UPDATE", f"TABLE {schema}.PIPELINE_TOKENS"): "drive_table privileges",
        ("USAGE", "WAREHOUSE LOADING"): "snowflake_connection.warehouse",
    }


async def test_the_command_names_the_one_grant_that_is_missing_n11(granted):  # noqa: F811
    assert await doctor(granted) == {}
    async with admin_of(granted) as does:
        for (privilege, on), check in lost(granted).items():
            await does(f"REVOKE {privilege} ON {on} FROM ROLE {granted.role}")
            found = await doctor(granted)
            assert set(found) == {check}
            kind, name = on.split(" ")
            parts = ".".join(f'"{part}"' for part in name.split("."))
            grant = f'GRANT {privilege} ON {kind} {parts} TO ROLE "{granted.role}"'
            assert grants_in(found[check])[0] == grant
            await does(grant)
            assert await doctor(granted) == {}


async def test_the_command_names_role_and_user_where_the_role_is_not_granted_n11(wanted):  # noqa: F811
    await wanted.give(leave_out=lambda statement: statement.startswith("GRANT ROLE"))
    grant = f'GRANT ROLE "{wanted.role}" TO USER "{wanted.names["sluiceway_user"]}";'
    assert await doctor(wanted) == {"drive_table": grant, "snowflake_connection": grant}


@pytest.mark.parametrize("privilege", ["INSERT", "DELETE"])
async def test_a_privilege_is_missed_also_while_somebody_holds_the_table_n11(granted, privilege):  # noqa: F811
    table = f"{granted.load.database}.S.EVENTS"
    given = {"SELECT", "INSERT", "UPDATE", "DELETE"} - {privilege}
    async with admin_of(granted) as does:
        await does(f'CREATE TABLE {table} (id VARCHAR, "AT" TIMESTAMP_NTZ, version NUMBER, value FLOAT)')
        await does(f"INSERT INTO {table} (version) VALUES (1)")
        await does(f"GRANT {', '.join(sorted(given))} ON TABLE {table} TO ROLE {granted.role}")
        await does("BEGIN")
        await does(f"UPDATE {table} SET version = 2")
        found = await doctor(granted)
        await does("ROLLBACK")
    parts = ".".join(f'"{part}"' for part in table.split("."))
    assert f'GRANT {privilege} ON TABLE {parts} TO ROLE "{granted.role}";' == found["target_system.table"]
