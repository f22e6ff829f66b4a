"""The clauses about Snowflake on an account: the referee of our test server. Not part of `make test`.

    SLUICEWAY_TEST_SNOWFLAKE_ACCOUNT=… SLUICEWAY_TEST_SNOWFLAKE_USER=… \
    SLUICEWAY_TEST_SNOWFLAKE_PRIVATE_KEY_FILE=… pytest tests/live/live_conformance.py

Other variables: ROLE, WAREHOUSE, DATABASE (one that the role may create schemas in), PRIVATE_KEY_FILE_PWD, TOKEN
(a programmatic access token, instead of the key), PASSWORD (instead of both), and HOST, PORT, PROTOCOL for another
endpoint. Each clause works in a schema that is made for it and dropped afterwards.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.snowflake.conformance import clauses, rows

PREFIX = "SLUICEWAY_TEST_SNOWFLAKE_"
NEEDED = ("ACCOUNT", "USER", "DATABASE", "WAREHOUSE")


def connection(environment: Mapping[str, str]) -> dict[str, Any]:
    """Keywords of `connect` from the variables. Raises UsageError naming those that are missing."""
    given = {key.removeprefix(PREFIX): value for key, value in environment.items() if key.startswith(PREFIX)}
    if missing := [PREFIX + name for name in NEEDED if not given.get(name)]:
        raise pytest.UsageError(f"set {', '.join(missing)}")
    keywords: dict[str, Any] = {name.lower(): value for name, value in given.items()}
    if "PORT" in given:
        keywords["port"] = int(given["PORT"])
    if "TOKEN" in given:
        keywords["authenticator"] = "PROGRAMMATIC_ACCESS_TOKEN"
    elif "PRIVATE_KEY_FILE" in given:
        keywords["authenticator"] = "SNOWFLAKE_JWT"
    return {
        **keywords,
        "paramstyle": "qmark",
        "login_timeout": 60,
        "request_timeout": 300,
        "enable_server_session_keep_alive_auto_detection": False,
    }


@dataclass(frozen=True)
class LiveSite:
    """A schema of an account."""

    keywords: dict[str, Any]
    schema: str
    folder: Path

    @property
    def database(self) -> str:
        return str(self.keywords["database"]).upper()

    @asynccontextmanager
    async def connect(self, **other: Any) -> AsyncIterator[Any]:
        from snowflake.connector import aio

        connected = await aio.connect(**{**self.keywords, "schema": self.schema, **other})
        try:
            yield connected
        finally:
            await connected.close()


@pytest.mark.parametrize("name", clauses())
async def test_live_conformance(name: str, tmp_path: Path) -> None:
    site = LiveSite(connection(os.environ), f"SLUICEWAY_CONFORMANCE_{uuid.uuid4().hex[:12].upper()}", tmp_path)
    async with site.connect(schema=None) as connected:
        await rows(connected, f"CREATE SCHEMA {site.database}.{site.schema}")
    try:
        await clauses()[name].run(site)
    finally:
        async with site.connect(schema=None) as connected:
            await rows(connected, f"DROP SCHEMA {site.database}.{site.schema}")
