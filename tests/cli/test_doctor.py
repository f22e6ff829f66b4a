"""doctor: each check can fail and says what to do, all are shown, nothing is written (K-9)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from connectors.files.connector import FilesConnector
from service import exit_codes
from service.cli.reference import JSON_KEYS
from state.sqlite import SqliteDrive
from tests.cli.shell import Pipeline, sluiceway, tree
from tests.lifecycle.world import START, events

Break = Callable[[Pipeline, pytest.MonkeyPatch], None]


def no_drive_table(pipeline: Pipeline, _patch) -> None:
    (pipeline.root / "drive.sqlite").unlink()


def old_clock(owner: type) -> Break:
    async def an_hour_ago(_self) -> datetime:
        return datetime.now(UTC) - timedelta(hours=1)

    return lambda _pipeline, patch: patch.setattr(owner, "now", an_hour_ago)


def setting(section: str, **values: object) -> Break:
    return lambda pipeline, _patch: pipeline.save(**{section: values})


def no_cursor_in_a_row(pipeline: Pipeline, _patch) -> None:
    table = events(2)
    at = pa.array([START, None], table.schema.field("at").type)
    pipeline.world.write("hole", table.set_column(1, "at", at))


def below_a_file(section: str, key: str) -> Break:
    def broken(pipeline: Pipeline, _patch) -> None:
        (pipeline.root / "file").touch()
        pipeline.save(**{section: {key: str(pipeline.root / "file" / "x")}})

    return broken


def no_database(pipeline: Pipeline, _patch) -> None:
    pipeline.world.database.write_text("this is no DuckDB file")


def a_view(pipeline: Pipeline, _patch) -> None:
    pipeline.world.execute("DROP TABLE events; CREATE VIEW events AS SELECT 1 AS id")


def a_module_with_a_slip(pipeline: Pipeline, _patch) -> None:
    (pipeline.root / "own_slip.py").write_text("def run(:\n")
    pipeline.save(phases={"audit": {"function": "own_slip:run"}})


def no_archive(pipeline: Pipeline, _patch) -> None:
    (pipeline.root / "file").touch()
    pipeline.save(phases={"stage_cleaning": {"archive": str(pipeline.root / "file" / "x")}})


def the_stage_as_archive(pipeline: Pipeline, _patch) -> None:
    pipeline.save(phases={"stage_cleaning": {"archive": str(pipeline.root / "stage")}})


BROKEN: dict[str, list[tuple[Break, str, str]]] = {
    "phases.audit.function": [
        (setting("phases", audit={"function": "nowhere:run"}), "cannot import the user function", "PYTHONPATH"),
        (setting("phases", audit={"function": "json:run"}), "'json' has no function 'run'", "Define run in json"),
        (a_module_with_a_slip, "SyntaxError", "Mend the module"),
    ],
    "drive_table": [(no_drive_table, "there is no drive table", "sluiceway drive init")],
    "drive_table clock": [(old_clock(SqliteDrive), "3600.0 s from this machine's", "Set this machine's clock")],
    "limits.spool_quota_bytes": [
        (setting("limits", spool_quota_bytes=10**18), "the quota is 1,000,000,000,000,000,000", "Free disk space")
    ],
    "source files": [(setting("source_system", path="none/*.parquet"), "none/*.parquet", "")],
    "source cursor": [(no_cursor_in_a_row, "1 of them without a value in 'at'", "null_cursor: ignore")],
    "source columns": [(setting("source_system", cursor="updated"), "updated", "source_system.cursor")],
    "contract": [(setting("source_system", cursor="updated"), "updated", "source_system.cursor")],
    "source clock": [(old_clock(FilesConnector), "3600.0 s from this machine's", "Set this machine's clock")],
    "stage_system.directory": [(below_a_file("stage_system", "directory"), "cannot be made", "may write to")],
    "target_system.database": [
        (below_a_file("target_system", "database"), "cannot be made", "may write to"),
        (no_database, "warehouse.duckdb", ""),
    ],
    "target_system.table": [(a_view, "events is a view", "Name a table")],
    "phases.stage_cleaning.archive": [
        (no_archive, "cannot be made", "may write to"),
        (the_stage_as_archive, "nothing would be kept", "another folder"),
    ],
}
TELLING = {"configuration", "duckdb", "target_system columns"}
"""Lines that only tell: what would make them fail fails another check, or the command."""


def section(name: str) -> str:
    """What a check is about: a check that fails may stand for the others of its section."""
    return re.split(r"[ ._]", name)[0]


@pytest.fixture
def loaded(ready: Pipeline) -> Pipeline:
    (ready.root / "own_audit.py").write_text("def run(config, record):\n    return {}\n")
    archive = {"archive": str(ready.root / "archive")}
    ready.save(phases={"audit": {"function": "own_audit:run"}, "stage_cleaning": archive})
    assert ready.do("run").code == 0
    return ready


def test_all_checks_pass_before_the_first_run_and_after(pipeline: Pipeline):
    pipeline.do("drive", "init")
    for _ in range(2):
        answer = pipeline.do("doctor")
        assert answer.code == exit_codes.OK
        assert "checks passed" in answer.out
        assert "Next: sluiceway run" in answer.out
        pipeline.do("run")


def test_no_check_is_without_a_way_to_fail(loaded: Pipeline):
    names = {check["name"] for check in loaded.do("doctor", "--json").json["checks"]}
    assert names - TELLING <= set(BROKEN)
    assert names >= set(BROKEN) - {"source columns"} | TELLING  # that one is only there when it fails


@pytest.mark.parametrize(
    ("name", "case"),
    [(name, case) for name, cases in BROKEN.items() for case in cases],
    ids=[f"{name} {number}" for name, cases in BROKEN.items() for number in range(len(cases))],
)
def test_a_check_that_fails_says_what_to_do_and_never_hides_the_others(loaded: Pipeline, monkeypatch, name, case):
    break_it, found, hint = case
    names = [check["name"] for check in loaded.do("doctor", "--json").json["checks"]]
    break_it(loaded, monkeypatch)
    before = tree(loaded.root)
    answer, shown = loaded.do("doctor", "--json"), loaded.do("doctor")
    assert answer.code == shown.code == exit_codes.FAILED
    assert set(answer.json) == set(JSON_KEYS["doctor"])
    checks = {check["name"]: check for check in answer.json["checks"]}
    assert not answer.json["ok"]
    assert not checks[name]["ok"]
    assert found in checks[name]["found"]
    assert hint in checks[name]["hint"]
    assert f"FAILED {name}" in shown.said
    assert {section(each) for each in names} == {section(each) for each in checks}
    assert tree(loaded.root) == before


def test_a_broken_configuration_is_shown_as_validate_does(pipeline: Pipeline):
    pipeline.save(windows={"max_open": 0})
    answer = pipeline.do("doctor")
    assert answer.code == exit_codes.CONFIG
    assert "windows.max_open" in answer.said


@pytest.mark.parametrize("command", ["doctor", "plan", "windows", "validate events.yaml", "schema"])
def test_commands_that_look_write_nothing(pipeline: Pipeline, command):
    """Before anything was made, and after a load: every file and folder is as it was."""
    words = command.split()
    for _ in range(2):
        before = tree(pipeline.root)
        options = [] if words[0] in ("validate", "schema") else ["-c", pipeline.config]
        assert sluiceway(*words, *options).code in (exit_codes.OK, exit_codes.FAILED)
        assert tree(pipeline.root) == before
        pipeline.do("drive", "init")
        pipeline.do("run")


def test_show_writes_nothing(loaded: Pipeline):
    before = tree(loaded.root)
    assert loaded.do("show", "events_20251115_00h_run1").code == exit_codes.OK
    assert tree(loaded.root) == before
