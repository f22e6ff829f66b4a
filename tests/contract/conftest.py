"""What several contract tests are given."""

from __future__ import annotations

import pytest

from tests.contract.loader_snowflake import SnowflakePlace


@pytest.fixture
async def snowflake_place(snowflake_server):
    place = SnowflakePlace(snowflake_server.place())
    yield place
    await place.aclose()
