"""A process killed at any of its effects between MariaDB and DuckDB: nothing is lost, nothing is twice (G-2, G-8).

As in `test_crash.py` the points come from a recorded run. Each kind of effect is tried once per moment, and those
of the source at their first and last time; the soak test tries every one. All worlds read one table. What a killed
worker was reading ends in the server when it sees that nobody takes it any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from service.config import parse_config
from service.settings import PipelineConfig
from tests.integration.mysql_source import MysqlPlace
from tests.lifecycle.ports import Point
from tests.lifecycle.test_crash import MODES, Make, crash, first_and_last, once_per_moment
from tests.lifecycle.world import World, defaults, events, merged
from tests.servers.mariadb import PASSWORD, MariaServer

TABLE = (
    "CREATE TABLE t (id VARCHAR(20) PRIMARY KEY, at TIMESTAMP(6) NOT NULL, version BIGINT NOT NULL,"
    " value DOUBLE NOT NULL, KEY (at)) CHARSET utf8mb4"
)


@dataclass(frozen=True)
class TableWorld(World):
    """A world whose `source_system` is a table; it can be sent to a process."""

    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> PipelineConfig:
        return parse_config(merged(defaults(self.root) | {"source_system": dict(self.source)}, self.settings))


def from_table(place: MysqlPlace, base: Path, mode: str) -> Make:
    """Worlds that read one table with the rows that `test_crash.py` has in a file."""
    place.sql(TABLE)
    place.many("INSERT INTO t VALUES (%s, %s, %s, %s)", [tuple(row.values()) for row in events(100).to_pylist()])
    password = base / "password"
    password.write_text(PASSWORD)
    source = place.source(password={"file": str(password)})
    return lambda root: TableWorld(root, MODES[mode], source)


def some_points(times: Counter[str]) -> list[Point]:
    """Each effect once per moment, and those of the source at their first and last time."""
    source = Counter({name: n for name, n in times.items() if name.startswith("source.")})
    return sorted({*once_per_moment(times), *first_and_last(source)}, key=str)


@pytest.mark.parametrize("mode", MODES)
def test_killed_at_any_kind_of_effect_the_target_equals_the_run_without_fault(
    mariadb: MariaServer, tmp_path: Path, mode: str, capsys: pytest.CaptureFixture[str]
):
    place = MysqlPlace(mariadb)
    crash(tmp_path, f"MariaDB, {mode}", from_table(place, tmp_path, mode), some_points, capsys)
    assert place.held() == []
