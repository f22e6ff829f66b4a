"""A table of MariaDB on its way: from the source to the target through all phases, and what the source refuses."""

from __future__ import annotations

import pytest

from state.model import Phase, RunStatus, SnapshotKind
from tests.contract.connector import SECOND, START
from tests.integration.mysql_source import MysqlPlace
from tests.integration.mysql_world import MysqlPipeline


@pytest.fixture
def place(mariadb) -> MysqlPlace:
    return MysqlPlace(mariadb)


def test_a_table_is_merged_into_the_target_window_by_window(place, tmp_path):
    """Each row once, the newest version of one that changed, the links of the proof all equal."""
    place.sql(
        "CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, at TIMESTAMP(6) NOT NULL, version INT NOT NULL,"
        " note VARCHAR(40), KEY (at)) CHARSET latin1"
    )
    rows = [(n, START + 30 * SECOND * n, 1, f"é {n}") for n in range(240)]
    place.many("INSERT INTO t VALUES (%s, %s, %s, %s)", rows)
    world = MysqlPipeline(tmp_path, {"target_system": {"version": "version"}}, place)
    runs = world.run()
    assert [(run.status, run.failure) for run in runs] == [(RunStatus.COMPLETED, None)] * 2
    audits = [run.phases[Phase.AUDIT].figures for run in runs]
    assert [(audit["validation_status"], audit["source_count"]) for audit in audits] == [("PASSED", 120)] * 2
    assert {part.kind for run in runs for part in run.manifest.parts} == {SnapshotKind.TRANSACTION}
    assert all(len(run.manifest.parts) == 3 for run in runs)
    assert world.query('SELECT id, "at", version, note FROM events ORDER BY id') == rows
    assert world.run() == []
