"""A stage that takes nothing for five minutes, five times a MySQL server's own patience with its reader.

Row 26 of reliability §12.1, M-8: the reader's own patience is longer, so the part is read once, and whole.
"""

from __future__ import annotations

import asyncio

import pytest

from loaders.duckdb.loader import DuckDBLoader
from service.events import Event, PhaseRetried
from state.model import RunStatus
from tests.integration.mysql_source import MysqlPlace
from tests.integration.mysql_world import MysqlPipeline
from tests.lifecycle.world import HOUR, START

STALLED_SECONDS = 300
ROWS, TIMES = 8_000, 375
"""Some 96 MB in chunks of a thousand rows: the server has most of it still to send when the stage stalls."""


@pytest.mark.timeout(3 * STALLED_SECONDS)
def test_a_stage_that_stalls_for_five_minutes_costs_no_second_read(mariadb, tmp_path, monkeypatch):
    place = MysqlPlace(mariadb)
    assert place.sql("SELECT @@GLOBAL.net_write_timeout") == [(60,)]
    place.sql("CREATE TABLE t (id INT PRIMARY KEY, at TIMESTAMP(6) NOT NULL, note TEXT, KEY (at))")
    place.sql(
        f"INSERT INTO t SELECT seq, FROM_UNIXTIME({START.timestamp()} + seq / 10), REPEAT(MD5(seq), {TIMES})"
        f" FROM seq_1_to_{ROWS}"
    )
    settings = {
        "windows": {"end": (START + HOUR).isoformat()},
        "target_system": {"version": "read_at"},
        "phases": {"source_to_stage_transfer": {"rows_per_part": 1_000_000, "chunk_rows": 1_000}},
    }
    world = MysqlPipeline(tmp_path, settings, place)
    put, stalled = DuckDBLoader.put, []

    async def slow(self, *given):
        if not stalled:
            stalled.append(given)
            await asyncio.sleep(STALLED_SECONDS)
        return await put(self, *given)

    monkeypatch.setattr(DuckDBLoader, "put", slow)
    heard: list[Event] = []
    [run] = world.run(emit=heard.append)
    assert stalled
    assert [event for event in heard if isinstance(event, PhaseRetried)] == []
    assert run.status is RunStatus.COMPLETED
    assert world.query("SELECT count(*), sum(length(note)) FROM events") == [(ROWS, ROWS * 32 * TIMES)]
