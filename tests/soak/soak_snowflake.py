"""Every effect of runs from a search server into Snowflake, with either drive table: killed before, after, and its
answer lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tests.lifecycle.ports import Moment, Point
from tests.lifecycle.snowflake_scenarios import LOGIN, SCENARIOS
from tests.lifecycle.snowflake_world import DRIVES
from tests.lifecycle.test_snowflake_crash import Ground, no_fault, survives, wrong_at
from tests.servers.search import ES8, SearchServer
from tests.snowflake.accounts import settings
from tests.snowflake.running import Place


@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("drive", DRIVES)
@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("server", [ES8], indirect=True, ids=str)
def test_killed_at_every_effect(place: Place, server: SearchServer, tmp_path, name: str, drive: str):
    """Two windows where there are rows at all."""
    scenario = SCENARIOS[name]
    if name == "a run":
        scenario = replace(scenario, windows=2)
    ground = Ground(scenario, place.server, server, tmp_path, drive)
    with settings(place, idle_seconds=scenario.idle):
        times, expected = no_fault(ground)
        todo = every_point(times, scenario.effects)
        wrong = wrong_at(todo, lambda point: survives(ground, point, expected))
    print(f"\n{ground}: {len(todo)} crash points, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)


def every_point(times: Counter[str], names: frozenset[str]) -> list[Point]:
    """How often a session is opened is a matter of luck: of the logins those are tried that happen in any case."""
    often = {**times, LOGIN: (times[LOGIN] + 1) // 2}
    return [Point(name, n + 1, moment) for name in sorted(names) for n in range(often[name]) for moment in Moment]
