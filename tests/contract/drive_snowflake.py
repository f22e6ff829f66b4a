"""Drive tables in a schema of the Snowflake test server, for the tests of `SnowflakeDrive`."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from snowflake.connector import connect

from state.settings import Secret
from state.snowflake import drive_write
from state.snowflake.drive import SnowflakeDrive
from state.snowflake.names import parse
from state.snowflake.session import Account
from state.snowflake.settings import SnowflakeConnection
from state.snowflake.tag import Tag

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
        request_timeout_seconds=20,
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


@dataclass(frozen=True)
class SnowflakePlace:
    """A drive table that several processes may open (`drive_places.Place`); of `connection` no secret is told."""

    connection: Mapping[str, Any]
    lease: ClassVar = timedelta(seconds=1.5)
    windows: ClassVar = 8

    def __str__(self) -> str:
        return json.dumps(self.connection)

    async def open(self, clock: Callable[[], datetime] | None = None) -> OwningDrive:
        return await opened(self.connection, clock=clock)

    def token(self) -> int:
        hand = connect(
            **self.connection,
            password="secret",
            protocol="http",
            enable_server_session_keep_alive_auto_detection=False,
        )
        try:
            with hand.cursor() as cursor:
                cursor.execute("SELECT COALESCE(MAX(token), 0) FROM pipeline_tokens")
                return int(cursor.fetchone()[0])
        finally:
            hand.close()

    def before_each_statement(self, drive: SnowflakeDrive, call: Callable[[], None]) -> None:
        session = drive._queue._session
        run = session._run

        async def wrapped(*values):
            call()
            return await run(*values)

        session._run = wrapped


@asynccontextmanager
async def drive_at(place: Mapping[str, Any], **more: Any) -> AsyncIterator[OwningDrive]:
    """The drive table there, made if need be."""
    await made(place)
    drive = await opened(place, **more)
    try:
        yield drive
    finally:
        await drive.aclose()


async def entered(drive: SnowflakeDrive, place: Mapping[str, Any]) -> SnowflakeDrive:
    """The drive's session, inside its schema: what the server does by database then reaches it too."""
    await by_hand(drive, f"USE SCHEMA {parse(schema_of(place), parts=2).sql}")
    return drive


async def by_hand(drive: SnowflakeDrive, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """A statement in the drive's own session."""
    return await drive._queue.run(Tag(), lambda session: session.rows(sql, *values))


@asynccontextmanager
async def between_look_and_write(
    monkeypatch, drive: SnowflakeDrive, act: Callable[[], Any]
) -> AsyncIterator[list]:
    """Once, `act()` is awaited after `drive` has looked and before it writes; gives what it came to."""
    told: list[Any] = []
    write = drive_write.write

    async def late(session, tables, seen, key):
        if not told and session is drive._queue._session:
            told.append(None)
            told[0] = await act()
        await write(session, tables, seen, key)

    with monkeypatch.context() as patched:
        patched.setattr(drive_write, "write", late)
        yield told
    assert told, "nothing was written"
