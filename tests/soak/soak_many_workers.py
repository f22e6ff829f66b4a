"""100 windows of five pipelines, in one process and in three that die and stop, with either drive table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.test_many_workers import SIZES, shared_once
from tests.snowflake.running import SnowflakeServer


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("drive", SIZES)
def test_a_hundred_windows_are_loaded_once_by_one_process_and_by_three(
    snowflake_server: SnowflakeServer, tmp_path: Path, drive: str, request
):
    mariadb = request.getfixturevalue("mariadb") if drive == "mysql" else None
    taken = shared_once(
        snowflake_server, tmp_path, drive, replace(SIZES[drive], one=20, three=20, max_open=2), mariadb
    )
    print(f"\nDrive table in {drive}, 100 windows: {taken}")
    assert taken.refused
