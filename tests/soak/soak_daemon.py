"""200 pipelines with windows of one minute on two cores, for 90 seconds and for 30 minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lifecycle.daemon_scale import run_for
from tests.servers.search import ES8, SearchServer

PIPELINES = 200
LAG_SECONDS, MOST_MIB = 0.05, 100.0
"""99 of 100 beats of the event loop come no later; memory grows no further after the first third."""


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seconds", [90, 1800])
@pytest.mark.parametrize("server", [ES8], indirect=True)
def test_no_window_is_missed_and_the_process_stays_responsive_and_small(
    server: SearchServer, tmp_path: Path, seconds: float
):
    found = run_for(tmp_path, server, PIPELINES, seconds)
    print(f"\n{seconds} s: {found}")
    assert found.missed == 0
    assert found.most_series <= 50
    assert found.lag_p99 <= LAG_SECONDS
    if seconds > 600:
        assert found.rss[1] - found.rss[0] < MOST_MIB
