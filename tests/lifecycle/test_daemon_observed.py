"""A real Prometheus scrapes a daemon in trouble: every series has the value that its events imply (O-1, O-2)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.lifecycle.implied_metrics import EXACT, NOT_EXACT, finished, lines, unfinished
from tests.lifecycle.troubled_daemon import HELD, SNOWED, Seen, Troubled
from tests.servers.prometheus import Prometheus
from tests.servers.search import ES8, SearchServer
from tests.snowflake.running import Place

REQUIRED = """
    windows_total phase_duration_seconds_count rows_total bytes_total retries_total errors_total
    window_end_timestamp_seconds oldest_open_window_timestamp_seconds lease_held quarantined_windows
    scheduler_events_total event_loop_lag_seconds_count disk_quota_bytes late_rows_total snowflake_statements_total
    build_info
"""
"""What O-2 asks for."""


def require_the_troubles(seen: Seen) -> None:
    """Everything that was meant to go wrong did: else it would be zeros that agree."""
    told = Counter(one["event"] for one in seen.lines)
    for event in ("phase_retried", "run_fenced", "run_released", "cleaning_failed", "freshness_back"):
        assert told[event], event
    assert {one["what"] for one in lines(seen, "tick_noted")} == {"missed", "overlapping"}
    quarantined = {one["pipeline"] for one in lines(seen, "run_failed") if one["quarantined"]}
    assert quarantined == {"broken", "mismatch"}
    assert {one["code"] for one in lines(seen, "phase_retried")} >= {"429", "503", "rows_read"}
    assert {run.id.pipeline for runs in seen.runs.values() for run in unfinished(runs)} == {*HELD, *quarantined}
    assert seen.runs[SNOWED][0].attempts == 2
    removed = {
        name: sum(one["removed"] for one in lines(seen, "target_cleaned", pipeline=name)) for name in seen.runs
    }
    assert removed["steady"] > 0
    assert sum(one.get("deleted", 0) for one in finished(seen, "stage_to_target_transfer", "appended")) == 60


@pytest.mark.parametrize("server", [ES8], indirect=True)
def test_every_series_that_prometheus_has_of_a_daemon_in_trouble_is_what_happened(
    tmp_path: Path, server: SearchServer, place: Place, prometheus: Prometheus
):
    seen = Troubled(tmp_path, server, place).run(prometheus)
    require_the_troubles(seen)
    names = {name.removeprefix("sluiceway_") for name, _ in seen.series}
    assert names == {*EXACT, *NOT_EXACT}
    assert names >= set(REQUIRED.split())
    for name in sorted(names):
        found = {of: value for (full, of), value in seen.series.items() if full == f"sluiceway_{name}"}
        if name in NOT_EXACT:
            NOT_EXACT[name](seen, found)
            continue
        expected = {of: value for of, value in EXACT[name](seen).items() if value}
        assert {of: value for of, value in found.items() if value} == pytest.approx(expected, abs=1e-3), name
