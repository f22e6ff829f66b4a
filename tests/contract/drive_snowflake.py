"""Drive tables in a schema of the Snowflake test server, for the tests of `SnowflakeDrive`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from state.settings import Secret
from state.snowflake.drive import SnowflakeDrive
from state.snowflake.session import Account
from state.snowflake.settings import SnowflakeConnection

os.environ.setdefault("SLUICEWAY_TEST_PASSWORD", "secret")


def settings(place: Mapping[str, Any]) -> SnowflakeConnection:
    """Our settings of a connection to the test server; `place`: what `Place.connection` gives."""
    return SnowflakeConnection(
        account=place["account"],
        user=place["user"],
        role=place["role"],
        warehouse=place["warehouse"],
        host=place["host"],
        port=place["port"],
        protocol="http",
        password=Secret(env="SLUICEWAY_TEST_PASSWORD"),
        allow_password=True,
    )


def schema_of(place: Mapping[str, Any]) -> str:
    return f"{place['database']}.{place['schema']}"


class OwningDrive(SnowflakeDrive):
    """A drive table that closes its account too."""

    account: Account

    async def aclose(self) -> None:
        await super().aclose()
        await self.account.aclose()


async def opened(place: Mapping[str, Any], **more: Any) -> OwningDrive:
    """The drive table there, on an account of its own."""
    account = Account(settings(place))
    try:
        drive = await OwningDrive.open(account, schema_of(place), **more)
    except BaseException:
        await account.aclose()
        raise
    drive.account = account
    return drive


async def made(place: Mapping[str, Any]) -> str:
    """`drive init` there."""
    account = Account(settings(place))
    try:
        return await SnowflakeDrive.init(account, schema_of(place))
    finally:
        await account.aclose()


@asynccontextmanager
async def drive_at(place: Mapping[str, Any], **more: Any) -> AsyncIterator[OwningDrive]:
    """The drive table there, made if need be."""
    await made(place)
    drive = await opened(place, **more)
    try:
        yield drive
    finally:
        await drive.aclose()
