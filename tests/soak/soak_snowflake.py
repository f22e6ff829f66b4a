"""Every effect of runs into Snowflake, with either drive table: killed before, after, and its answer lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lifecycle.ports import Moment
from tests.lifecycle.snowflake_world import DRIVES
from tests.lifecycle.test_snowflake_crash import IDLE_SECONDS, LOGIN, Point, no_fault, survives, wrong_at
from tests.snowflake.accounts import settings
from tests.snowflake.running import Place


@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("drive", DRIVES)
def test_killed_at_every_effect_of_two_windows(place: Place, tmp_path: Path, drive: str):
    """How often a session is opened is a matter of luck: of the logins those are tried that happen in any case."""
    times, expected = no_fault(place.server, tmp_path, drive, windows=2)
    times[LOGIN] = (times[LOGIN] + 1) // 2
    todo = [Point(name, n + 1, moment) for name in sorted(times) for n in range(times[name]) for moment in Moment]
    with settings(place, idle_seconds=IDLE_SECONDS):
        wrong = wrong_at(todo, lambda point: survives(place.server, tmp_path, drive, point, expected))
    print(f"\nSnowflake, drive {drive}: {len(todo)} crash points, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)
