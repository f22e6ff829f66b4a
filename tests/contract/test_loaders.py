"""Loaders against their contract; what the contract itself is worth, against broken ones."""

from __future__ import annotations

import pytest

from tests.contract.kill_matrix import prove
from tests.contract.loader import CLAUSES
from tests.contract.loader_mutants import MUTANTS
from tests.contract.loader_worlds import DuckDBPlace, MemoryPlace


async def test_the_contract_of_loaders_has_teeth():
    await prove("loader", CLAUSES, MemoryPlace, MUTANTS)


@pytest.mark.parametrize("name", CLAUSES)
async def test_duckdb_keeps_the_contract(name):
    await CLAUSES[name](DuckDBPlace)
