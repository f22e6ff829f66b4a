"""Every clause about Snowflake's behaviour, on our test server. Green here means: as we read the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.snowflake.conformance import clauses
from tests.snowflake.running import Place


@dataclass
class LocalSite:
    """A fresh database of the test server."""

    place: Place
    folder: Path

    @property
    def database(self) -> str:
        return self.place.database

    @property
    def schema(self) -> str:
        return self.place.schema

    def connect(self, **other: Any) -> AbstractAsyncContextManager[Any]:
        return self.place.connect(**other)


@pytest.fixture
def site(place: Place, tmp_path: Path) -> Iterator[LocalSite]:
    return LocalSite(place, tmp_path)


@pytest.mark.parametrize("name", clauses())
async def test_conformance(name: str, site: LocalSite) -> None:
    await clauses()[name].run(site)
