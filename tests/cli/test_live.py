"""Settings of a live pipeline: refused before they do harm, or counted from when docs/configuration.md says."""

from __future__ import annotations

import pytest

from service import exit_codes
from service.live import CHANGES, FIXED
from service.reference import settings
from state.model import RunStatus
from tests.cli.shell import Pipeline, sluiceway

CHANGED: dict[str, dict] = {
    "source_system.cursor": {"source_system": {"cursor": "version"}},
    "target_system.table": {"target_system": {"table": "others"}},
    "target_system.mode": {"target_system": {"mode": "append"}},
    "target_system.key": {"target_system": {"key": ["id", "value"]}},
}


@pytest.fixture
def live(ready: Pipeline) -> Pipeline:
    assert ready.do("run").code == 0
    return ready


def test_each_fixed_setting_is_tried():
    assert set(CHANGED) == set(FIXED)


@pytest.mark.parametrize("path", CHANGED)
@pytest.mark.parametrize(
    "command",
    ["run", "backfill --from 2025-11-15T00:00Z --to 2025-11-15T01:00Z", "retry events_20251115_00h_run1"],
)
def test_a_fixed_setting_that_changed_is_refused_before_anything_is_loaded(live: Pipeline, path, command):
    before = live.world.content_hash(), live.world.runs()
    live.save(**CHANGED[path])
    answer = live.do(*command.split())
    assert answer.code == exit_codes.CONFIG
    assert f"{path} of the live pipeline events was" in answer.said
    assert f"Set {path} back" in answer.said
    assert live.world.runs() == before[1]
    assert live.world.content_hash() == before[0]


def test_set_back_it_goes_on(live: Pipeline):
    live.save(target_system={"mode": "append"})
    assert live.do("run").code == exit_codes.CONFIG
    live.save(target_system={"mode": "merge"})
    assert live.do("run").code == exit_codes.OK


def test_a_new_name_and_table_load_every_window_anew(live: Pipeline):
    live.save(
        pipeline_metadata={"pipeline_name": "events2"},
        target_system={"table": "events2", "mode": "append", "cursor_immutable": True},
    )
    assert live.do("run").code == exit_codes.OK
    assert live.world.query("SELECT count(*) FROM events2") == [(120,)]


def test_a_target_that_was_dropped_is_noticed_and_a_backfill_loads_it_again(live: Pipeline):
    """Its windows pass for loaded; without a word they would stay a hole in the new table."""
    live.world.execute("DROP TABLE events")
    answer = live.do("run")
    assert answer.code == exit_codes.CONFIG
    assert "2 windows of events were loaded into another table than events is now" in answer.said
    command = "sluiceway backfill --from 2025-11-15T00:00Z --to 2025-11-15T02:00Z"
    assert command in answer.said
    assert sluiceway(*command.split()[1:], "-c", live.config).code == exit_codes.OK
    assert live.world.query("SELECT count(*) FROM events") == [(120,)]
    assert live.do("run").code == exit_codes.OK


def test_a_window_that_a_backfill_of_others_left_out_is_noticed_too(live: Pipeline):
    live.world.execute("DROP TABLE events")
    assert live.do("backfill", "--from", "2025-11-15T00:00Z", "--to", "2025-11-15T01:00Z").code == exit_codes.OK
    answer = live.do("run")
    assert answer.code == exit_codes.CONFIG
    assert "1 windows of events were loaded into another table" in answer.said
    assert "--from 2025-11-15T01:00Z --to 2025-11-15T02:00Z" in answer.said


def test_a_width_that_cuts_across_old_windows_is_refused_naming_them(live: Pipeline):
    live.save(windows={"width": "90m", "end": "2025-11-15T03:00:00Z"})
    answer = live.do("run")
    assert answer.code == exit_codes.FAILED
    assert "[2025-11-15T00:00Z, 2025-11-15T01:30Z) would overlap the scheduled window" in answer.said
    assert "go on from the end of the last one" in answer.said


def test_from_the_end_of_the_last_window_a_new_width_goes_on(live: Pipeline):
    live.save(windows={"width": "30m", "start": "2025-11-15T02:00:00Z", "end": "2025-11-15T03:00:00Z"})
    assert live.do("run").code == exit_codes.OK
    assert [run.status for run in live.world.runs()] == [RunStatus.COMPLETED] * 4
    assert "no gaps" in live.do("windows").said


def test_an_earlier_start_on_the_same_raster_opens_the_windows_before(live: Pipeline):
    live.save(windows={"start": "2025-11-14T23:00:00Z"})
    assert live.do("run").code == exit_codes.OK
    assert live.world.runs()[0].name == "events_20251114_23h_run1"


def test_a_new_drive_table_takes_over_what_the_target_proves(live: Pipeline):
    live.save(drive_table={"path": str(live.root / "new.sqlite")})
    assert live.do("drive", "init").code == exit_codes.OK
    answer = live.do("run")
    assert (answer.code, answer.out.splitlines()[0]) == (exit_codes.OK, "Nothing is due.")
    assert "2 runs taken over from the target's receipts" in answer.err


def test_the_table_of_changes_names_settings_that_exist_and_each_section():
    known = {setting.path for setting in settings()}
    named = [key for change in CHANGES for key in change.keys]
    assert [key for key in named if key not in known] == []
    assert len(named) == len(set(named))
    sections = {path.partition(".")[0] for path in known} - {"config_version", "shared"}
    assert {key.partition(".")[0] for key in named} == sections
