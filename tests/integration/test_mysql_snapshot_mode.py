"""A small table of MySQL in mode snapshot: no cursor, deletes and all, in one transaction of the source."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from state.model import Phase, RunStatus, SnapshotKind
from tests.integration.mysql_source import MysqlPlace
from tests.integration.mysql_world import MysqlPipeline
from tests.lifecycle.world import HOUR, START

TABLE = "CREATE TABLE t (code CHAR(2) PRIMARY KEY, name VARCHAR(40), tax DECIMAL(6, 3)) CHARSET utf8mb4"


@pytest.fixture
def place(mariadb) -> MysqlPlace:
    made = MysqlPlace(mariadb)
    made.sql(TABLE)
    made.sql("INSERT INTO t VALUES ('at', 'Österreich', 20), ('be', 'België 🇧🇪', 21.005), ('xx', NULL, NULL)")
    return made


def pipeline(root: Path, place: MysqlPlace, hours: int) -> MysqlPipeline:
    """`hours` windows are closed."""
    target = {"mode": "snapshot", "key": ["code"], "version": "read_at", "table": "countries"}
    settings = {"windows": {"end": (START + hours * HOUR).isoformat()}, "target_system": target}
    return MysqlPipeline(root, settings, place, {"cursor": None, "key": ["code"]})


def test_a_table_without_a_cursor_is_mirrored_deletes_and_all(tmp_path, place):
    there = pipeline(tmp_path, place, 5)
    [run] = there.run()
    assert (run.status, run.phases[Phase.AUDIT].figures["validation_status"]) == (RunStatus.COMPLETED, "PASSED")
    assert [part.kind for part in run.manifest.parts] == [SnapshotKind.TRANSACTION]
    countries = "SELECT code, name, tax FROM countries ORDER BY code"
    assert there.query(countries) == [
        ("at", "Österreich", Decimal("20.000")),
        ("be", "België 🇧🇪", Decimal("21.005")),
        ("xx", None, None),
    ]

    place.sql("DELETE FROM t WHERE code = 'xx'")
    place.sql("UPDATE t SET tax = 6.5 WHERE code = 'at'")
    later = pipeline(tmp_path, place, 9)
    [run] = later.run()
    assert (run.receipt.counts.deleted, run.receipt.counts.inserted) == (3, 2)
    assert later.query(countries) == [
        ("at", "Österreich", Decimal("6.500")),
        ("be", "België 🇧🇪", Decimal("21.005")),
    ]


def test_a_truncated_table_is_refused(tmp_path, place):
    pipeline(tmp_path, place, 1).run()
    place.sql("TRUNCATE TABLE t")
    there = pipeline(tmp_path, place, 2)
    [run] = there.run()
    assert (run.status, run.failure.code) == (RunStatus.FAILED, "empty_source")
    assert there.query("SELECT count(*) FROM countries") == [(3,)]


def test_a_row_that_is_set_aside_is_one_link_of_the_proof_and_gone_when_it_is_mended(tmp_path, place):
    place.sql("ALTER TABLE t ADD since DATE")
    place.sql("SET STATEMENT sql_mode = '' FOR UPDATE t SET since = '0000-00-00' WHERE code = 'xx'")
    source = {"cursor": None, "key": ["code"], "columns": {"on_bad_value": {"since": "quarantine"}}}
    set_aside = 'SELECT count(*) FROM "countries__SLUICEWAY_QUARANTINE"'
    for hours, loaded, aside in ((1, 2, 1), (2, 3, 0)):
        there = MysqlPipeline(tmp_path, pipeline(tmp_path, place, hours).settings, place, source)
        [run] = there.run()
        assert (run.status, run.phases[Phase.AUDIT].figures["validation_status"]) == (
            RunStatus.COMPLETED,
            "PASSED",
        )
        assert there.query("SELECT count(*) FROM countries") == [(loaded,)]
        assert there.query(set_aside) == [(aside,)]
        place.sql("UPDATE t SET since = NULL WHERE code = 'xx'")
