"""The Snowflake loader against the contract of loaders, through the unmodified connector, on the test server."""

from __future__ import annotations

import pytest

from tests.contract.loader_snowflake import CLAUSES, SnowflakePlace


@pytest.mark.parametrize("name", CLAUSES)
async def test_snowflake_keeps_the_contract(name, snowflake_server):
    places = []

    def make(_folder):
        places.append(SnowflakePlace(snowflake_server.place()))
        return places[-1]

    try:
        await CLAUSES[name](make)
    finally:
        for place in places:
            await place.aclose()
