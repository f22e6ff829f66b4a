"""The contract of loaders on an account: the same clauses as everywhere, in Snowflake itself. Not part of
`make test`.

Variables as for `live_drive.py`. Each clause works in a schema that is made for it and dropped afterwards.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import pytest
import snowflake.connector

from state.snowflake.names import Name
from state.snowflake.session import Account
from tests.contract.loader_snowflake import CLAUSES, SnowflakeSchema
from tests.live.live_conformance import connection
from tests.live.live_drive import settings


class LiveSchema(SnowflakeSchema):
    """A schema of an account, made for one clause. Open sessions may see late what others committed."""

    def __init__(self) -> None:
        keywords = connection(os.environ)
        schema = f"SLUICEWAY_LOADER_{uuid.uuid4().hex[:12].upper()}"
        own = {"database": str(keywords["database"]).upper(), "schema": schema}
        with snowflake.connector.connect(**keywords) as hand, hand.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA {Name((own['database'], own['schema'])).sql}")
        super().__init__({**keywords, **own}, Account(settings(os.environ)))

    def query(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        self.hand.close()
        self.hand = self.opened()
        return super().query(sql, *values)

    async def aclose(self) -> None:
        self.query(f"DROP SCHEMA {Name((self.connection['database'], self.name)).sql}")
        await super().aclose()


@pytest.mark.parametrize("name", CLAUSES)
async def test_live_loader(name: str) -> None:
    places: list[LiveSchema] = []

    def make(_folder: Path) -> LiveSchema:
        places.append(LiveSchema())
        return places[-1]

    try:
        await CLAUSES[name](make)
    finally:
        for place in places:
            await place.aclose()
