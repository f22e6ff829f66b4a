"""The contract of a source: it has teeth on the twin, and files in every format keep it."""

from __future__ import annotations

import pytest

from tests.contract.connector import CLAUSES
from tests.contract.connector_mutants import MUTANTS, WHOLE_MUTANTS
from tests.contract.connector_whole import WITHOUT_CURSOR
from tests.contract.connector_worlds import WRITERS, files, memory
from tests.contract.kill_matrix import prove


def named(mutants):
    """Worlds of mutants by what is said of them."""
    return {mutant.__doc__.partition("\n")[0]: memory(mutant) for mutant in mutants}


async def test_the_contract_of_a_source_has_teeth():
    await prove("connectors", CLAUSES, memory(), named(MUTANTS))


async def test_the_contract_of_a_source_that_is_read_whole_has_teeth():
    await prove("connectors, whole tables", WITHOUT_CURSOR, memory(), named(WHOLE_MUTANTS))


@pytest.mark.parametrize("clause", CLAUSES | WITHOUT_CURSOR)
@pytest.mark.parametrize("format_", WRITERS)
async def test_files_keep_the_contract(tmp_path, format_, clause):
    await (CLAUSES | WITHOUT_CURSOR)[clause](files(tmp_path, format_))
