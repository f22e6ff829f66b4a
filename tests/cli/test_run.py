"""Commands that load, on a real pipeline from files into DuckDB: what they say, what they leave, how they end."""

from __future__ import annotations

import re
import sqlite3
from contextlib import contextmanager

import pytest

from service import exit_codes
from service.cli.reference import JSON_KEYS, RUN_KEYS
from state.errors import RestartAttempt
from state.model import Phase, RunStatus
from tests.cli.shell import Pipeline
from tests.lifecycle.world import at_start_of, events

FIRST, SECOND = "events_20251115_00h_run1", "events_20251115_01h_run1"


def rows(pipeline: Pipeline) -> int:
    return pipeline.world.query("SELECT count(*) FROM events")[0][0]


def statuses(pipeline: Pipeline) -> list[RunStatus]:
    return [run.status for run in pipeline.world.runs()]


def user_function(pipeline: Pipeline, source: str, phase: str) -> None:
    """Put a module beside the configuration and name its function `run` in it."""
    name = f"own_{pipeline.root.name}_{phase}".replace("-", "_")
    (pipeline.root / f"{name}.py").write_text(source)
    pipeline.save(phases={phase: {"function": f"{name}:run"}})


def test_run_loads_what_is_due_and_ends_with_one_table_and_the_next_command(ready: Pipeline):
    answer = ready.do("run")
    assert answer.code == exit_codes.OK
    head, first, second, total, following = answer.out.splitlines()
    assert head.split() == ["window", "rows", "inserted", "updated", "older", "unchanged", "seconds", "proof"]
    for line, window in (
        (first, "[2025-11-15T00:00Z, 2025-11-15T01:00Z)"),
        (second, "[2025-11-15T01:00Z, 2025-11-15T02:00Z)"),
    ):
        assert line.startswith(window)
        found = line.removeprefix(window).split()
        assert found[:5] + found[6:] == ["60", "60", "0", "0", "0", "PASSED"]
    assert total.split()[:4] == ["2", "windows", "120", "120"]
    assert following == f"Next: sluiceway windows -c {ready.config}"
    assert rows(ready) == 120


def test_progress_goes_to_stderr_as_plain_lines_where_there_is_no_terminal(ready: Pipeline):
    answer = ready.do("run")
    assert f"{FIRST}: COMPLETED, 60 rows" in answer.err
    assert "COMPLETED" not in answer.out
    assert "\x1b" not in answer.out + answer.err


def test_run_when_nothing_is_due(ready: Pipeline):
    ready.do("run")
    answer = ready.do("run")
    assert (answer.code, answer.out.splitlines()[0]) == (exit_codes.OK, "Nothing is due.")


def test_run_of_one_window_leaves_the_others(ready: Pipeline):
    answer = ready.do("run", "--window", "2025-11-15T01:00Z/2025-11-15T02:00Z")
    assert answer.code == exit_codes.OK
    assert [run.name for run in ready.world.runs()] == [SECOND]
    assert rows(ready) == 60


def test_without_a_drive_table_nothing_starts_and_the_command_is_named(pipeline: Pipeline):
    answer = pipeline.do("run")
    assert answer.code == exit_codes.CONFIG
    assert "there is no drive table" in answer.said
    assert "sluiceway drive init" in answer.said
    assert not (pipeline.root / "warehouse.duckdb").exists()


def test_backfill_loads_a_span_again_as_run_two(ready: Pipeline):
    ready.do("run")
    ready.world.write("day", events(120, version=2))
    answer = ready.do("backfill", "--from", "2025-11-15T00:00Z", "--to", "2025-11-15T01:00Z", "--json")
    assert answer.code == exit_codes.OK
    [run] = answer.json["runs"]
    assert run["pipeline_id"] == "events_20251115_00h_run2"
    assert ready.world.query("SELECT version, count(*) FROM events GROUP BY 1 ORDER BY 1") == [(1, 60), (2, 60)]
    assert [event.action for event in ready.actions()] == ["backfill", "settings"]


def test_backfill_of_a_span_that_is_not_closed_is_refused(ready: Pipeline):
    """It would pass for loaded, and the rows that come later would never be read."""
    answer = ready.do("backfill", "--from", "2025-11-15T01:00Z", "--to", "2025-11-15T03:00Z")
    assert answer.code == exit_codes.CONFIG
    assert "is not closed yet" in answer.said
    assert "Windows are closed up to 2025-11-15T02:00Z" in answer.said
    assert ready.world.runs() == []


def test_backfill_before_the_first_window_is_refused(ready: Pipeline):
    answer = ready.do("backfill", "--from", "2025-11-14T00:00Z", "--to", "2025-11-15T00:00Z")
    assert answer.code == exit_codes.CONFIG
    assert "Windows begin at 2025-11-15T00:00Z (windows.start)" in answer.said


def test_a_failed_audit_names_link_cause_and_command_and_retry_makes_run_two(ready: Pipeline, monkeypatch):
    lose = "DELETE FROM events WHERE id = (SELECT min(id) FROM events)"

    @contextmanager
    def losing_a_row(_console):
        yield at_start_of(Phase.AUDIT, lambda: ready.world.execute(lose))

    with monkeypatch.context() as patched:
        patched.setattr("service.cli.operate.narrator", losing_a_row)
        answer = ready.do("run", "--window", "2025-11-15T00:00Z/2025-11-15T01:00Z")
    assert answer.code == exit_codes.AUDIT_MISMATCH
    for said in (answer.said, ready.do("show", FIRST).said):
        assert "the proof breaks at 'target_rows': expected 60, found 59" in said
        assert "do not rely on this window yet" in said
        assert f"sluiceway retry {FIRST} -c" in said
    assert "target_rows 59 60 FAILED" in ready.do("show", FIRST).said
    again = ready.do("retry", FIRST)
    assert again.code == exit_codes.OK
    assert [run.superseded_by for run in ready.world.runs()] == [2, 0]
    assert rows(ready) == 60
    assert "Run 2 of the same window does it again" in ready.do("show", FIRST).said


def test_a_run_that_was_lost_to_another_worker_is_to_be_tried_again_later(ready: Pipeline, monkeypatch):
    """It is not loaded, as far as this command knows: 0 would say that it is."""

    def take_over() -> None:
        with sqlite3.connect(ready.root / "drive.sqlite") as drive:
            drive.execute("UPDATE pipeline_execution_drive SET token = token + 1, owner = 'another'")
        drive.close()

    @contextmanager
    def taking_over(_console):
        yield at_start_of(Phase.AUDIT, take_over)

    with monkeypatch.context() as patched:
        patched.setattr("service.cli.operate.narrator", taking_over)
        answer = ready.do("run", "--window", "2025-11-15T00:00Z/2025-11-15T01:00Z")
    assert answer.code == exit_codes.TRANSIENT
    assert "RUNNING" in answer.out
    assert f"Next: sluiceway run -c {ready.config}" in answer.out
    assert statuses(ready) == [RunStatus.RUNNING]


def test_a_run_that_failed_and_went_on_by_itself_counts_once_as_it_ended(ready: Pipeline, monkeypatch):
    def doubt() -> None:
        raise RestartAttempt("what is staged is not what was read", code="stage_rows")

    @contextmanager
    def doubting(_console):
        yield at_start_of(Phase.STAGE_TO_TARGET_TRANSFER, doubt)

    with monkeypatch.context() as patched:
        patched.setattr("service.cli.operate.narrator", doubting)
        answer = ready.do("run", "--window", "2025-11-15T00:00Z/2025-11-15T01:00Z", "--json")
    [run] = answer.json["runs"]
    assert (answer.code, run["status"], run["attempts"], run["token"]) == (exit_codes.OK, "COMPLETED", 2, 2)
    assert rows(ready) == 60


def test_show_of_a_failed_run_names_cause_and_command(ready: Pipeline):
    user_function(ready, "def run(config, record):\n    return {'error_message': 'no rights'}\n", "pre_validation")
    answer = ready.do("run")
    assert answer.code == exit_codes.FAILED
    assert "no rights" in answer.said
    assert f"Next: sluiceway show {FIRST}" in answer.out
    shown = ready.do("show", FIRST)
    assert shown.code == exit_codes.OK
    assert "reported: no rights" in shown.said
    assert "pre_validation FAILED" in shown.said
    assert "permanent (user_function)" in shown.said
    assert "The target is unchanged" in shown.said
    assert f"sluiceway retry {FIRST} -c" in shown.said


def test_retry_goes_on_once_the_cause_is_mended(ready: Pipeline):
    user_function(ready, "def run(config, record):\n    return {'error_message': 'no rights'}\n", "pre_validation")
    ready.do("run", "--window", "2025-11-15T00:00Z/2025-11-15T01:00Z")
    ready.save(phases={"pre_validation": {"function": None}})
    assert "1 waiting for an operator" in ready.do("run", "--window", "2025-11-15T00:00Z/2025-11-15T01:00Z").out
    answer = ready.do("retry", FIRST)
    assert answer.code == exit_codes.OK
    assert statuses(ready) == [RunStatus.COMPLETED]
    assert [event.action for event in ready.actions()] == ["retry", "settings"]


def test_what_all_windows_would_meet_stops_at_the_first_and_retry_all_mends_it(ready: Pipeline):
    """A setting, a grant, a credential: one run waits for the operator, not every window that is due."""
    ready.world.execute("CREATE VIEW events AS SELECT 1 AS id")
    assert ready.do("run").code == exit_codes.FAILED
    assert statuses(ready) == [RunStatus.FAILED, RunStatus.PENDING]
    assert ready.do("run").code == exit_codes.FAILED
    failed = ready.world.runs()
    assert [run.failure.kind for run in failed] == ["configuration"] * 2
    code = failed[0].failure.code
    refused = ready.do("retry", "--all", "--code", "no_warehouse")
    assert refused.code == exit_codes.CONFIG
    assert f"They failed with: {code}." in refused.said
    again = ready.do("retry", "--all", "--code", code)
    assert again.code == exit_codes.FAILED
    assert statuses(ready) == [RunStatus.FAILED, RunStatus.PENDING]
    ready.world.execute("DROP VIEW events")
    assert ready.do("retry", "--all").code == exit_codes.OK
    assert ready.do("run").code == exit_codes.OK
    assert statuses(ready) == [RunStatus.COMPLETED] * 2
    assert rows(ready) == 120


def test_retry_all_lets_every_run_go_on_that_waits_for_an_operator(ready: Pipeline):
    user_function(ready, "def run(config, record):\n    return {'error_message': 'no'}\n", "pre_validation")
    ready.do("run")
    assert statuses(ready) == [RunStatus.FAILED] * 2
    ready.save(phases={"pre_validation": {"function": None}})
    answer = ready.do("retry", "--all", "--json")
    assert answer.code == exit_codes.OK
    assert [run["pipeline_id"] for run in answer.json["runs"]] == [FIRST, SECOND]
    assert statuses(ready) == [RunStatus.COMPLETED] * 2
    assert [event.action for event in ready.actions()] == ["retry", "retry", "settings"]
    assert "Nothing is due." in ready.do("retry", "--all").out


def test_retry_from_an_earlier_phase_reads_again(ready: Pipeline):
    user_function(
        ready, "def run(config, record):\n    return {'error_message': 'x'}\n", "stage_to_target_transfer"
    )
    ready.do("run", "--window", "2025-11-15T00:00Z/2025-11-15T01:00Z")
    [before] = ready.world.runs()
    ready.save(phases={"stage_to_target_transfer": {"function": None}})
    assert ready.do("retry", FIRST, "--from", "source_to_stage_transfer").code == exit_codes.OK
    [after] = ready.world.runs()
    reading = Phase.SOURCE_TO_STAGE_TRANSFER
    assert after.phases[reading].started_at > before.phases[reading].started_at
    assert after.phases[Phase.PRE_VALIDATION] == before.phases[Phase.PRE_VALIDATION]


def test_a_finished_run_is_not_retried_and_the_command_for_it_is_named(ready: Pipeline):
    ready.do("run")
    answer = ready.do("retry", FIRST)
    assert answer.code == exit_codes.CONFIG
    assert "is COMPLETED already" in answer.said
    assert "sluiceway backfill" in answer.said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("events_20251115", f"2 runs begin with 'events_20251115' where .* Say which: {FIRST}, {SECOND}."),
        ("event_20251115_00h_run1", f"there is no run .* Did you mean {FIRST}"),
    ],
)
def test_a_run_that_is_not_clear_lists_the_near_names(ready: Pipeline, name, words):
    ready.do("run")
    answer = ready.do("show", name)
    assert answer.code == exit_codes.CONFIG
    assert re.search(words, answer.said)


def test_a_beginning_that_only_one_run_has_is_enough(ready: Pipeline):
    ready.do("run")
    assert ready.do("show", "events_20251115_01", "--json").json["pipeline_id"] == SECOND


def test_a_defect_says_that_it_is_one(ready: Pipeline, monkeypatch):
    def broken(*_args):
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("service.walk.STEPS", {phase: broken for phase in Phase})
    answer = ready.do("run", "--window", "2025-11-15T00:00Z/2025-11-15T01:00Z")
    assert answer.code == exit_codes.DEFECT
    assert "ZeroDivisionError: of all things" in answer.said
    assert "This is a defect of Sluiceway" in answer.said
    assert "Traceback" not in answer.said


def test_debug_shows_the_traceback_of_a_defect_wherever_it_stands(ready: Pipeline, monkeypatch):
    def broken(*_args, **_more):
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("service.cli.operate.one_pipeline", broken)
    plain, debug = ready.do("run"), ready.do("run", "--debug")
    assert plain.code == debug.code == exit_codes.DEFECT
    assert "a defect of Sluiceway" in plain.said
    assert "Traceback" not in plain.said
    assert "Traceback" in debug.err


def test_json_of_run_has_the_documented_keys(ready: Pipeline):
    answer = ready.do("run", "--json")
    assert set(answer.json) == set(JSON_KEYS["run"])
    assert [set(run) for run in answer.json["runs"]] == [set(RUN_KEYS)] * 2
    assert set(ready.do("show", FIRST, "--json").json) == set(JSON_KEYS["show"])


def test_a_drive_table_in_memory_needs_no_init_and_is_forgotten(pipeline: Pipeline):
    pipeline.save(drive_table={"type": "memory"})
    assert pipeline.do("run").code == exit_codes.OK
    assert rows(pipeline) == 120
    assert not (pipeline.root / "drive.sqlite").exists()
    again = pipeline.do("run")
    assert "2 runs taken over from the target's receipts" in again.err
    refused = pipeline.do("drive", "init")
    assert refused.code == exit_codes.CONFIG
    assert "Set drive_table.type: sqlite for one that lasts." in refused.said


def test_drive_init_and_upgrade_tell_place_and_id(pipeline: Pipeline):
    missing = pipeline.do("drive", "upgrade")
    assert missing.code == exit_codes.CONFIG
    assert "sluiceway drive init" in missing.said
    made = pipeline.do("drive", "init", "--json")
    assert set(made.json) == set(JSON_KEYS["drive init"])
    again = pipeline.do("drive", "init")
    assert "drive.sqlite is there, and of this version" in again.said
    assert made.json["id"] in again.said
    assert pipeline.do("drive", "upgrade", "--json").json == made.json
