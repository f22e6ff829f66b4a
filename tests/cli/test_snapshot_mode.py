"""Commands on a pipeline that loads its table whole: what can be loaded again, and what is said of the rest."""

from __future__ import annotations

import pytest

from service import exit_codes
from tests.cli.shell import Pipeline, sluiceway

TWO = ("--from", "2025-11-15T00:00Z", "--to", "2025-11-15T02:00Z")
OLD = ("--from", "2025-11-15T00:00Z", "--to", "2025-11-15T01:00Z")
NEWEST = ("--from", "2025-11-15T01:00Z", "--to", "2025-11-15T02:00Z")


@pytest.fixture
def whole(pipeline: Pipeline) -> Pipeline:
    """Two windows are closed, and the newest one is loaded: all 120 rows."""
    pipeline.save(target_system={"mode": "snapshot", "version": "read_at"}, source_system={"cursor": None})
    assert pipeline.do("drive", "init").code == exit_codes.OK
    assert pipeline.do("run").code == exit_codes.OK
    return pipeline


def rows(whole: Pipeline) -> int:
    [(found,)] = whole.world.query("SELECT count(*) FROM events")
    return found


@pytest.mark.parametrize(
    "words", [("backfill", *OLD), ("backfill", *TWO), ("run", "--window", "/".join(OLD[1::2]))]
)
def test_an_old_window_is_refused_and_the_newest_is_named(whole: Pipeline, words):
    answer = whole.do(*words)
    assert answer.code == exit_codes.CONFIG
    assert "only its newest window can be loaded, [2025-11-15T01:00Z, 2025-11-15T02:00Z)" in answer.said
    assert len(whole.world.receipts()) == 1


def test_the_newest_window_is_loaded_again_as_run_2_where_the_target_was_dropped(whole: Pipeline):
    whole.world.execute("DROP TABLE events")
    assert whole.do("run").code == exit_codes.OK
    answer = whole.do("backfill", *NEWEST, "--json")
    assert (answer.code, answer.json["runs"][0]["pipeline_id"]) == (exit_codes.OK, "events_20251115_01h_run2")
    assert rows(whole) == 120


def test_the_ledger_says_why_the_older_window_is_none_and_plan_counts_the_whole_table(whole: Pipeline):
    answer = whole.do("windows")
    assert "1 window, superseded: only the newest window is loaded" in answer.said
    assert "no gaps" in answer.said
    whole.save(windows={"end": "2025-11-15T09:00:00Z"})
    [planned] = whole.do("plan", "--json").json["windows"]
    assert (planned["rows"], planned["parts"]) == (120, 1)
    assert whole.do("doctor").code == exit_codes.OK
    tried = sluiceway("test-phase", whole.config, "audit", "--json")
    assert (tried.code, tried.json["figures"]["target_count"]) == (exit_codes.OK, 120)
