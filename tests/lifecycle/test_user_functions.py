"""A user's own phase functions: run unchanged by the contract, and what they cut from the proof is `asserted`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent

import pytest

from service.report import report
from state.model import Phase, PhaseStatus, RunStatus
from tests.lifecycle.world import World, events

TRANSFER = """
    import duckdb

    def run(config: dict, record: dict) -> dict:
        start, end = record["query_window_start_timestamp"], record["query_window_end_timestamp"]
        source = config["source_system"]["path"]
        table = config["stage_system"]["table"]
        with duckdb.connect(config["target_system"]["database"]) as db:
            db.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT * FROM read_parquet('{source}') "
                       'WHERE "at" >= ? AND "at" < ?', [start, end])
            [count] = db.execute(f"SELECT count(*) FROM {table}").fetchone()
        return {"transfer_completed": True, "stage_count": count}
"""


@pytest.fixture
def user(tmp_path: Path, monkeypatch):
    """Writes a user's module and returns its `module:function`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = []

    def write(source: str) -> str:
        name = f"user_scripts_{len(made)}_{tmp_path.name.replace('-', '_')}"
        (tmp_path / f"{name}.py").write_text(dedent(source))
        made.append(name)
        return f"{name}:run"

    yield write
    for name in made:
        sys.modules.pop(name, None)


def world_with(tmp_path: Path, phases: dict) -> World:
    world = World(tmp_path, {"windows": {"width": "2h"}, "phases": phases})
    world.write("day", events(100))
    return world


def test_a_transfer_that_follows_the_contract_runs_and_its_proof_is_asserted(tmp_path, user):
    world = world_with(tmp_path, {"source_to_stage_transfer": {"function": user(TRANSFER)}})
    [run] = world.run()
    assert run.status is RunStatus.COMPLETED
    assert world.query("SELECT count(*) FROM events") == [(100,)]
    shown = report(run, datetime.now(UTC))
    assert shown.validation_status == "UNPROVEN"
    asserted = [link["name"] for link in shown.proof if link["how"] == "asserted"]
    assert asserted == ["source_count", "rows_read"]
    assert run.phases[Phase.STAGE_CLEANING].status is PhaseStatus.FAILED
    assert "allow_unproven" in run.phases[Phase.STAGE_CLEANING].figures["hint"]


def test_clean_up_after_an_asserted_proof_needs_the_explicit_setting(tmp_path, user):
    phases = {
        "source_to_stage_transfer": {"function": user(TRANSFER)},
        "stage_cleaning": {"allow_unproven": True},
    }
    [run] = world_with(tmp_path, phases).run()
    assert run.phases[Phase.STAGE_CLEANING].status is PhaseStatus.COMPLETED


def test_a_transfer_that_staged_another_number_than_it_says_never_reaches_the_target(tmp_path, user):
    lying = TRANSFER.replace('"stage_count": count', '"stage_count": count + 1')
    world = world_with(tmp_path, {"source_to_stage_transfer": {"function": user(lying)}})
    [run] = world.run()
    assert (run.status, run.phase_failed) == (RunStatus.FAILED, Phase.STAGE_TO_TARGET_TRANSFER)
    assert report(run, datetime.now(UTC)).broken_link == "stage_rows"
    assert world.query("SELECT count(*) FROM events") == [(0,)]


def test_beyond_the_tolerance_the_live_count_decides_over_an_assertion(tmp_path, user):
    half = TRANSFER.replace("WHERE ", "WHERE version = 1 AND value < 25 AND ")
    world = world_with(tmp_path, {"source_to_stage_transfer": {"function": user(half)}})
    [run] = world.run()
    assert (run.status, run.phase_failed) == (RunStatus.FAILED, Phase.AUDIT)
    assert run.failure.code == "source_count_live"


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        ("{'error_message': 'no rights'}", RunStatus.FAILED, "reported: no rights"),
        ("{'transfer_completed': True}", RunStatus.FAILED, "must return stage_count"),
        ("{'stage_count': '7'}", RunStatus.FAILED, "stage_count as str instead of int"),
        ("None", RunStatus.FAILED, "returned NoneType instead of a dict"),
        ("1 / 0", RunStatus.FAILED, "raised ZeroDivisionError"),
    ],
)
def test_a_wrong_answer_is_permanent_and_names_the_function(tmp_path, user, answer, status, words):
    function = user(f"def run(config, record):\n    return {answer}\n")
    world = world_with(tmp_path, {"source_to_stage_transfer": {"function": function}})
    [run] = world.run()
    assert run.status is status
    assert run.quarantined_at is not None
    assert function in run.failure.message
    assert words in run.failure.message


def test_not_completed_without_a_message_is_transient(tmp_path, user):
    function = user("def run(config, record):\n    return {'transfer_completed': False}\n")
    world = world_with(tmp_path, {"source_to_stage_transfer": {"function": function}})
    runs = world.run()
    assert runs[0].failure.kind == "transient"
    assert runs[0].next_attempt_at is not None


def test_skip_ends_the_run_as_skipped_and_shows_a_gap(tmp_path, user):
    function = user("def run(config, record):\n    return {'skip_dag_run': True}\n")
    world = world_with(tmp_path, {"pre_validation": {"function": function}})
    [run] = world.run()
    assert run.status is RunStatus.SKIPPED
    assert Phase.SOURCE_TO_STAGE_TRANSFER not in run.phases


def test_an_extension_of_the_audit_runs_after_ours_and_keeps_its_figures(tmp_path, user):
    function = user(
        """
        async def run(config, record):
            done = record["stage_to_target_transfer_phase"]
            return {"inserted_seen": done["inserted"], "zone": str(record["created_at"].tzinfo)}
        """
    )
    [run] = world_with(tmp_path, {"audit": {"function": function}}).run()
    figures = run.phases[Phase.AUDIT].figures
    assert (figures["inserted_seen"], figures["zone"]) == (100, "UTC")
    assert figures["validation_status"] == "PASSED"


def test_target_cleaning_by_a_user_function_and_its_failure_never_fails_the_run(tmp_path, user):
    function = user("def run(config, record):\n    raise OSError('disk')\n")
    [run] = world_with(tmp_path, {"target_cleaning": {"enabled": True, "function": function}}).run()
    assert run.status is RunStatus.COMPLETED
    assert run.phases[Phase.TARGET_CLEANING].status is PhaseStatus.FAILED


@pytest.mark.parametrize("phase", ["pre_validation", "audit", "stage_cleaning", "stale_pipeline_handling"])
def test_a_phase_that_is_switched_off_is_recorded_so(tmp_path, phase):
    [run] = world_with(tmp_path, {phase: {"enabled": False}}).run()
    assert run.status is RunStatus.COMPLETED
    assert run.phases[Phase(phase)].status is PhaseStatus.DISABLED
    assert run.receipt.counts.inserted == 100


MERGE = """
    import duckdb

    def run(config: dict, record: dict) -> dict:
        staged = record["source_to_stage_transfer_phase"]["stage_table"]
        table = config["target_system"]["table"]
        with duckdb.connect(config["target_system"]["database"]) as db:
            columns = 'id, "at", version, value'
            db.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {staged}")
        return {"transfer_completed": True}
"""


def test_a_merge_by_a_user_function_is_counted_and_unproven_at_best(tmp_path, user):
    world = world_with(tmp_path, {"stage_to_target_transfer": {"function": user(MERGE)}})
    [run] = world.run()
    assert run.status is RunStatus.COMPLETED
    figures = run.phases[Phase.AUDIT].figures
    assert (figures["validation_status"], figures["target_count"]) == ("UNPROVEN", 100)
    assert [link["name"] for link in figures["proof"] if link["how"] == "asserted"] == ["receipt"]
    assert world.receipts() == []


@pytest.mark.parametrize(("tolerance", "status"), [(0.0, RunStatus.FAILED), (3.0, RunStatus.COMPLETED)])
def test_a_merge_by_a_user_function_may_miss_what_the_tolerance_allows(tmp_path, user, tolerance, status):
    lossy = MERGE.replace("FROM {staged}", "FROM {staged} WHERE value >= 1")
    phases = {
        "stage_to_target_transfer": {"function": user(lossy)},
        "audit": {"count_tolerances": {"stage_to_target_tolerance_percent": tolerance}},
    }
    [run] = world_with(tmp_path, phases).run()
    assert run.status is status
    if status is RunStatus.FAILED:
        assert (run.phase_failed, run.failure.code) == (Phase.AUDIT, "target_rows")


def test_where_the_merge_is_switched_off_nothing_is_called_proven(tmp_path):
    [run] = world_with(tmp_path, {"stage_to_target_transfer": {"enabled": False}}).run()
    assert run.phases[Phase.AUDIT].figures["validation_status"] == "UNPROVEN"
    assert run.phases[Phase.STAGE_CLEANING].status is PhaseStatus.FAILED
