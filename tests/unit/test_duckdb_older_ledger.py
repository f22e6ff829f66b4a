"""A load table from before rows could be set aside is read as it is, and extended by the next claim."""

from __future__ import annotations

from pathlib import Path

import duckdb

from loaders.duckdb.ledger import COUNTS, NEWER
from tests.contract.loader_desk import CONTRACT, attempt, bad, desk, rows
from tests.contract.loader_worlds import DuckDBPlace


async def test_receipts_of_an_older_version_are_read_and_new_ones_count_what_is_set_aside():
    async with desk(DuckDBPlace) as d:
        loader = d.loader()
        old = await d.load(loader, attempt(), rows(("a", 1, 1)))
        make_older(d.place.database)
        assert (await loader.loads("p")).receipts == (old,)
        staged = await d.stage_aside(d.loader(), attempt(2, number=2), rows(("a", 1, 1)), bad("x"))
        new = await staged.merge()
        assert [receipt.counts.quarantined for receipt in (await loader.loads("p")).receipts] == [0, 1]
        assert new.counts.quarantined == 1
        await loader.prepare(CONTRACT)


def make_older(database: Path) -> None:
    with duckdb.connect(database) as connection:
        connection.execute(f"ALTER TABLE SLUICEWAY_LOADS DROP COLUMN {NEWER}")
        assert NEWER in COUNTS
