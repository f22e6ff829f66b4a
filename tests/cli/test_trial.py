"""test-phase: real rows, a scratch world, and nothing left of it (docs/decisions/0007)."""

from __future__ import annotations

import pytest

from service import exit_codes
from service.cli.reference import JSON_KEYS
from state.model import Phase
from tests.cli.shell import Pipeline, sluiceway, tree

SPY = """
import pathlib

def run(config, record):
    written = [
        config["target_system"]["database"],
        config["stage_system"]["directory"],
        config["drive_table"]["path"],
        config["limits"]["spool_directory"],
        config["phases"]["stage_cleaning"]["archive"] or "",
    ]
    pathlib.Path("seen").write_text("\\n".join(written))
    return {"hour": record["query_window_start_timestamp"].hour}
"""


def trial(pipeline: Pipeline, *words: object):
    return sluiceway("test-phase", *words)


@pytest.mark.parametrize("phase", Phase)
def test_each_phase_can_be_tried_and_nothing_is_left(ready: Pipeline, phase):
    ready.do("run")
    before = tree(ready.root)
    answer = trial(ready, ready.config, phase, "--json")
    assert answer.code == exit_codes.OK, answer.said
    assert set(answer.json) == set(JSON_KEYS["test-phase"])
    assert answer.json["status"] == "COMPLETED"
    assert answer.json["window"] == "[2025-11-15T01:00Z, 2025-11-15T02:00Z)"
    assert tree(ready.root) == before


def test_it_works_before_anything_was_made(pipeline: Pipeline):
    before = tree(pipeline.root)
    answer = trial(pipeline, pipeline.config, "audit", "--window", "2025-11-15T00:00Z/2025-11-15T00:30Z", "--json")
    assert answer.code == exit_codes.OK
    assert answer.json["figures"]["source_count"] == 30
    assert answer.json["validation_status"] == "PASSED"
    assert tree(pipeline.root) == before


def test_a_function_sees_only_scratch_places(ready: Pipeline):
    (ready.root / "own_spy.py").write_text(SPY)
    archive = str(ready.root / "archive")
    ready.save(phases={"stage_cleaning": {"archive": archive}, "audit": {"function": "own_spy:run"}})
    answer = trial(ready, ready.config, "audit", "--json")
    assert answer.json["figures"]["hour"] == 1
    seen = (ready.root / "seen").read_text().splitlines()
    assert len(seen) == 5
    assert all(".sluiceway-trial-" in path for path in seen)
    assert not (ready.root / "warehouse.duckdb").exists()


def test_later_phases_are_not_done(ready: Pipeline):
    answer = trial(ready, ready.config, "pre_validation")
    assert answer.code == exit_codes.OK
    assert "pre_validation COMPLETED" in answer.said
    assert "source_to_stage_transfer" not in answer.out


def test_a_phase_that_fails_says_why_and_that_the_target_was_not_touched(ready: Pipeline):
    (ready.root / "own_bad.py").write_text("def run(config, record):\n    return {'stage_count': '7'}\n")
    ready.save(phases={"pre_validation": {"function": "own_bad:run"}})
    answer = trial(ready, ready.config, "pre_validation")
    assert answer.code == exit_codes.FAILED
    assert "own_bad:run returned stage_count as str instead of int" in answer.said
    assert "The real target was not touched." in answer.said
    assert "retry" not in answer.out


def test_a_phase_that_an_earlier_one_does_not_reach_says_so(ready: Pipeline):
    (ready.root / "own_bad.py").write_text("def run(config, record):\n    return {'error_message': 'no'}\n")
    ready.save(phases={"pre_validation": {"function": "own_bad:run"}})
    answer = trial(ready, ready.config, "audit", "--json")
    assert answer.code == exit_codes.FAILED
    assert (answer.json["status"], answer.json["failure"]["phase"]) == ("-", "pre_validation")


def test_the_pipeline_may_be_called_by_its_name(ready: Pipeline):
    answer = sluiceway("test-phase", "events", "pre_validation", "--config", ready.config)
    assert answer.code == exit_codes.OK
    answer = sluiceway("test-phase", "evens", "pre_validation", "--config", ready.config)
    assert answer.code == exit_codes.CONFIG
    assert f"{ready.config} holds events" in answer.said


def test_a_pipeline_without_a_closed_window_asks_for_one(ready: Pipeline):
    ready.save(windows={"start": "2150-01-01T00:00:00Z", "end": None})
    answer = trial(ready, ready.config, "audit")
    assert answer.code == exit_codes.CONFIG
    assert "no window is closed yet" in answer.said
    assert "--window START/END" in answer.said
