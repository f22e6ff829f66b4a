"""Loaders against their contract; what the contract itself is worth, against broken ones."""

from __future__ import annotations

import pytest

from tests.contract import loader_swap
from tests.contract.kill_matrix import prove
from tests.contract.loader import CLAUSES, IN_ANY_MODE
from tests.contract.loader_mutants import MUTANTS, SNAPSHOT_MUTANTS
from tests.contract.loader_worlds import DuckDBPlace, MemoryPlace


async def test_the_contract_of_loaders_has_teeth():
    await prove("loader", IN_ANY_MODE, MemoryPlace, MUTANTS)


async def test_the_contract_of_loaders_in_mode_snapshot_has_teeth():
    """By itself: much of what is broken in other modes is broken in this one too."""
    await prove("loader, mode snapshot", loader_swap.CLAUSES, MemoryPlace, SNAPSHOT_MUTANTS)


@pytest.mark.parametrize("name", CLAUSES)
async def test_duckdb_keeps_the_contract(name):
    await CLAUSES[name](DuckDBPlace)
