"""The contract of a source: it has teeth on the twin, and files in every format keep it."""

from __future__ import annotations

import pytest

from tests.contract.connector import CLAUSES
from tests.contract.connector_mutants import MUTANTS
from tests.contract.connector_worlds import WRITERS, files, memory
from tests.contract.kill_matrix import prove


async def test_the_contract_of_a_source_has_teeth():
    mutants = {mutant.__doc__.partition("\n")[0]: memory(mutant) for mutant in MUTANTS}
    await prove("connectors", CLAUSES, memory(), mutants)


@pytest.mark.parametrize("clause", CLAUSES)
@pytest.mark.parametrize("format_", WRITERS)
async def test_files_keep_the_contract(tmp_path, format_, clause):
    await CLAUSES[clause](files(tmp_path, format_))
