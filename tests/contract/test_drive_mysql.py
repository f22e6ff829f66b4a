"""The drive table in a real MariaDB: its contract, and what only a server can do to it."""

from __future__ import annotations

import pytest

from state.mysql import MysqlDrive
from tests.contract.drive import CLAUSES, Clock


@pytest.mark.parametrize("name", CLAUSES)
async def test_mariadb_keeps_the_contract(name, mariadb):
    async def make(clock: Clock) -> MysqlDrive:
        settings = mariadb.database()
        await MysqlDrive.init(settings)
        return await MysqlDrive.open(settings, clock=clock)

    await CLAUSES[name](make)
