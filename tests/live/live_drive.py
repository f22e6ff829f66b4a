"""The contract of drive tables on an account: the same clauses as everywhere, in Snowflake itself. Not part of
`make test`.

Variables as for `live_conformance.py`, and ROLE, which our own settings want named. Each clause works in a schema
that is made for it and dropped afterwards.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping

import pytest

from state.settings import Secret
from state.snowflake.names import Name
from state.snowflake.session import Account
from state.snowflake.settings import SnowflakeConnection
from state.snowflake.tag import Tag
from tests.contract.drive import CLAUSES, Clock
from tests.contract.drive_snowflake import OwningDrive
from tests.live.live_conformance import PREFIX, connection


def settings(environment: Mapping[str, str]) -> SnowflakeConnection:
    """Our settings from the variables. Raises UsageError naming those that are missing."""
    given = connection(environment)
    if "role" not in given:
        raise pytest.UsageError(f"set {PREFIX}ROLE")
    plain = {
        name: given[name]
        for name in ("account", "user", "role", "warehouse", "host", "port", "protocol")
        if name in given
    }
    if "token" in given:
        return SnowflakeConnection(**plain, programmatic_access_token=Secret(env=f"{PREFIX}TOKEN"))
    if "private_key_file" in given:
        phrase = Secret(env=f"{PREFIX}PRIVATE_KEY_FILE_PWD") if "private_key_file_pwd" in given else None
        key = Secret(file=given["private_key_file"])
        return SnowflakeConnection(**plain, private_key=key, private_key_passphrase=phrase)
    return SnowflakeConnection(**plain, password=Secret(env=f"{PREFIX}PASSWORD"), allow_password=True)


@pytest.mark.parametrize("name", CLAUSES)
async def test_live_drive_table(name: str) -> None:
    database = os.environ.get(f"{PREFIX}DATABASE", "").upper()
    schema = Name((database, f"SLUICEWAY_DRIVE_{uuid.uuid4().hex[:12].upper()}"))

    async def make(clock: Clock) -> OwningDrive:
        account = Account(settings(os.environ))
        async with account.session(Tag()) as session:
            await session.rows(f"CREATE SCHEMA {schema.sql}")
        await OwningDrive.init(account, str(schema))
        drive = await OwningDrive.open(account, str(schema), clock=clock)
        drive.account = account
        return drive

    try:
        await CLAUSES[name](make)
    finally:
        account = Account(settings(os.environ))
        async with account.session(Tag()) as session:
            await session.rows(f"DROP SCHEMA IF EXISTS {schema.sql}")
        await account.aclose()
