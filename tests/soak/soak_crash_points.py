"""Every effect of a run, not only the first and last of its kind: killed before, after, and its answer lost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.integration.mysql_source import MysqlPlace
from tests.lifecycle.ports import Point
from tests.lifecycle.test_crash import MODES, WITH_FUNCTION, crash, from_files, points_at
from tests.lifecycle.test_mysql_crash import from_table
from tests.servers.mariadb import MariaServer


def every_point(times: Counter[str]) -> list[Point]:
    return points_at(times, lambda name: range(1, times[name] + 1))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("settings", [*MODES.values(), WITH_FUNCTION], ids=[*MODES, "with a function"])
def test_killed_at_every_effect_of_a_run(tmp_path: Path, settings: dict, capsys: pytest.CaptureFixture[str]):
    crash(tmp_path, "files", from_files(settings), every_point, capsys)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", MODES)
def test_killed_at_every_effect_of_a_run_from_mysql(
    mariadb: MariaServer, tmp_path: Path, mode: str, capsys: pytest.CaptureFixture[str]
):
    crash(tmp_path, f"MariaDB, {mode}", from_table(MysqlPlace(mariadb), tmp_path, mode), every_point, capsys)
