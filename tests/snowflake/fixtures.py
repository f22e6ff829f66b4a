"""Fixtures of the tests on the Snowflake test server; how to use them: `tests/snowflake/running.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.snowflake.running import Place, SnowflakeServer


@pytest.fixture(scope="session")
def snowflake_server() -> Iterator[SnowflakeServer]:
    """The one server process of the session."""
    server = SnowflakeServer()
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def place(snowflake_server: SnowflakeServer) -> Place:
    """A fresh database and schema."""
    return snowflake_server.place()
