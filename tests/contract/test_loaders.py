"""Loaders against their contract; what the contract itself is worth, against broken ones."""

from __future__ import annotations

import pytest

from tests.contract.loader import CLAUSES
from tests.contract.loader_worlds import DuckDBPlace, MemoryPlace


@pytest.mark.parametrize("name", CLAUSES)
async def test_duckdb_keeps_the_contract(name):
    await CLAUSES[name](DuckDBPlace)


@pytest.mark.parametrize("name", CLAUSES)
async def test_twin(name):
    await CLAUSES[name](MemoryPlace)
