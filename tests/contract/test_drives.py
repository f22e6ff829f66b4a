"""The drive tables against their contract; what the contract itself is worth, against broken ones."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from state.sqlite import SqliteDrive
from tests.contract.drive import CLAUSES, Clock
from tests.contract.drive_broken import twin
from tests.contract.drive_mutants import MUTANTS
from tests.contract.kill_matrix import prove


async def test_the_contract_of_drive_tables_has_teeth():
    await prove("drive table", CLAUSES, twin, MUTANTS)


@pytest.mark.parametrize("name", CLAUSES)
async def test_sqlite_keeps_the_contract(name, tmp_path):
    async def make(clock: Clock) -> SqliteDrive:
        path = Path(tempfile.mkdtemp(dir=tmp_path)) / "drive.sqlite"
        await SqliteDrive.init(path)
        return await SqliteDrive.open(path, clock=clock)

    await CLAUSES[name](make)
