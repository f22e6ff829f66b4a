"""plan and windows: what they tell, for a person and for a script, on a real pipeline."""

from __future__ import annotations

from connectors.files.connector import FilesConnector
from service import exit_codes
from service.cli.reference import JSON_KEYS
from state.errors import TransientError
from state.sqlite import SqliteDrive
from tests.cli.shell import Pipeline

FIRST = "[2025-11-15T00:00Z, 2025-11-15T01:00Z)"
SECOND = "[2025-11-15T01:00Z, 2025-11-15T02:00Z)"


def skips_the_first(pipeline: Pipeline) -> None:
    """A function that leaves the first window out on purpose."""
    (pipeline.root / "own_skip.py").write_text(
        "def run(config, record):\n    return {'skip_dag_run': record['query_window_start_timestamp'].hour == 0}\n"
    )
    pipeline.save(phases={"pre_validation": {"function": "own_skip:run"}})


def test_plan_tells_windows_parts_and_rows(pipeline: Pipeline):
    answer = pipeline.do("plan")
    assert answer.code == exit_codes.OK
    lines = [line.split() for line in answer.out.splitlines()]
    assert lines[1][-3:] == ["2", "60", "new"]
    assert lines[3] == ["2", "windows", "4", "120"]


def test_plan_tells_a_script(pipeline: Pipeline):
    answer = pipeline.do("plan", "--json")
    assert set(answer.json) == set(JSON_KEYS["plan"])
    assert [(one["rows"], one["parts"], one["run"]) for one in answer.json["windows"]] == [(60, 2, "")] * 2
    assert answer.json["windows"][0]["window"] == {"start": "2025-11-15T00:00:00Z", "end": "2025-11-15T01:00:00Z"}


def test_plan_shows_as_many_as_are_asked_for(pipeline: Pipeline):
    assert len(pipeline.do("plan", "--limit", "1", "--json").json["windows"]) == 1


def test_plan_is_empty_after_a_run(ready: Pipeline):
    ready.do("run")
    answer = ready.do("plan")
    assert (answer.code, answer.out) == (exit_codes.OK, "Nothing is due.\n")


def test_plan_knows_what_the_target_proves_when_the_drive_table_is_lost(ready: Pipeline):
    ready.do("run")
    for file in ready.root.glob("drive.sqlite*"):
        file.unlink()
    assert ready.do("plan").out == "Nothing is due.\n"


def test_plan_names_the_run_that_it_goes_on_with(ready: Pipeline):
    (ready.root / "own_wait.py").write_text("def run(config, record):\n    return {'transfer_completed': False}\n")
    waits = {"tries_per_phase": 1, "retry_base_seconds": 1000.0, "retry_cap_seconds": 1000.0}
    ready.save(phases={"pre_validation": {"function": "own_wait:run"}}, limits=waits)
    assert ready.do("run").code == exit_codes.TRANSIENT
    assert "goes on with events_20251115_00h_run1" in ready.do("plan").out


def test_windows_shows_the_ledger_without_gaps(ready: Pipeline):
    ready.do("run")
    answer = ready.do("windows")
    assert answer.code == exit_codes.OK
    assert f"{FIRST} loaded 60 PASSED events_20251115_00h_run1" in answer.said
    assert "no gaps" in answer.said
    assert "closed up to 2025-11-15T02:00Z" in answer.said


def test_windows_shows_what_was_skipped_or_never_loaded_as_gaps(ready: Pipeline):
    skips_the_first(ready)
    ready.do("run", "--window", "2025-11-15T00:00Z/2025-11-15T01:00Z")
    answer = ready.do("windows")
    assert f"{FIRST} skipped" in answer.said
    assert f"{SECOND} missing - - 1 window" in answer.said
    assert "gap [2025-11-15T00:00Z, 2025-11-15T02:00Z)" in answer.said
    told = ready.do("windows", "--json").json
    assert set(told) == set(JSON_KEYS["windows"])
    assert [entry["fate"] for entry in told["entries"]] == ["skipped", "missing"]
    assert told["gaps"] == [{"start": "2025-11-15T00:00:00Z", "end": "2025-11-15T02:00:00Z"}]


def test_windows_of_a_span(ready: Pipeline):
    ready.do("run")
    told = ready.do("windows", "--from", "2025-11-15T01:00Z", "--json").json
    assert [entry["run"] for entry in told["entries"]] == ["events_20251115_01h_run1"]
    told = ready.do("windows", "--to", "2025-11-15T01:00Z", "--json").json
    assert [entry["run"] for entry in told["entries"]] == ["events_20251115_00h_run1"]
    assert ready.do("windows", "--to", "2025-11-14T01:00Z").code == exit_codes.CONFIG


def test_windows_can_be_looked_at_while_the_source_is_away(ready: Pipeline, monkeypatch):
    """That is when an operator looks."""
    ready.do("run")

    async def away(_self):
        raise TransientError("nobody answers", code="connect")

    monkeypatch.setattr(FilesConnector, "now", away)
    answer = ready.do("windows")
    assert answer.code == exit_codes.OK
    assert "the source does not tell its time (nobody answers)" in answer.err
    assert f"{FIRST} loaded" in answer.said


def test_what_is_not_available_has_its_own_exit_code_and_names_the_pipeline(ready: Pipeline, monkeypatch):
    async def away(_self):
        raise TransientError("nobody answers", hint="Look whether it runs.", code="connect")

    monkeypatch.setattr(FilesConnector, "now", away)
    answer = ready.do("run")
    assert answer.code == exit_codes.TRANSIENT
    assert "what nobody answers where sluiceway run, pipeline events" in answer.said
    assert "the same command goes on with them" in answer.said
    assert "do Look whether it runs." in answer.said


def test_a_run_is_found_by_its_name_without_reading_a_long_ledger(ready: Pipeline, monkeypatch):
    ready.do("run")
    read = []

    def watched(method):
        async def asked(self, *words, **options):
            found = await method(self, *words, **options)
            read.append((method.__name__, len(found)))
            return found

        return asked

    ready.save(windows={"end": "2025-11-17T00:00:00Z"})
    ready.do("run")
    for method in (SqliteDrive.runs, SqliteDrive.summaries):
        monkeypatch.setattr(SqliteDrive, method.__name__, watched(method))
    assert ready.do("show", "events_20251116_00h_run1", "--json").json["pipeline_id"] == "events_20251116_00h_run1"
    assert read == [("runs", 1)]
    read.clear()
    assert ready.do("show", "events_20251116_00h", "--json").json["pipeline_id"] == "events_20251116_00h_run1"
    assert read == [("runs", 0), ("summaries", 24), ("runs", 1)]
