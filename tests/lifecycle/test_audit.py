"""What is taken away by hand, the proof names by its link (A-2, G-12); a failed gate leaves the target alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.report import report
from state.model import Phase, Run, RunStatus
from tests.lifecycle.world import World, at_start_of, events, stop


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, {"windows": {"width": "2h"}})
    world.write("day", events(100))
    return world


def stage_table(world: World) -> str:
    [(name,)] = world.query("SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'events_stage%'")
    return name


def remove_a_stage_row(world: World) -> None:
    world.execute(f"DELETE FROM {stage_table(world)} WHERE id = (SELECT min(id) FROM {stage_table(world)})")


def remove_a_chunk(world: World) -> None:
    sorted((world.root / "stage").rglob("*.parquet"))[0].unlink()


def remove_a_target_row(world: World) -> None:
    world.execute("DELETE FROM events WHERE id = (SELECT min(id) FROM events)")


def failed_at(world: World, phase: Phase, remove) -> Run:
    """The run after `remove` was done by hand as `phase` began."""
    [run] = world.run(emit=at_start_of(phase, lambda: remove(world)))
    assert (run.status, run.phase_failed) == (RunStatus.FAILED, phase)
    assert run.quarantined_at is not None
    return run


@pytest.mark.parametrize(
    ("remove", "link"),
    [(remove_a_stage_row, "stage_rows"), (remove_a_chunk, "staged_rows"), (remove_a_target_row, "target_rows")],
)
def test_the_audit_names_the_link_that_broke_a2(world, remove, link):
    run = failed_at(world, Phase.AUDIT, remove)
    shown = report(run, datetime.now(UTC))
    assert (shown.broken_link, shown.validation_status) == (link, "FAILED")
    assert run.failure.code == link
    assert link in run.failure.message
    assert "do not rely" in shown.advice.safe
    assert shown.advice.command == f"sluiceway retry {run.name}"


@pytest.mark.parametrize(("remove", "link"), [(remove_a_stage_row, "stage_rows"), (remove_a_chunk, "staged_rows")])
def test_the_gate_names_the_link_and_leaves_the_target_untouched_g12(world, remove, link):
    run = failed_at(world, Phase.STAGE_TO_TARGET_TRANSFER, remove)
    assert report(run, datetime.now(UTC)).broken_link == link
    assert world.query("SELECT count(*) FROM events") == [(0,)]
    assert world.receipts() == []


def test_a_stage_row_that_vanished_between_two_attempts_is_copied_again(world):
    """A later attempt doubts what it did not copy itself: new token, new table, COPY again."""
    world.run(emit=at_start_of(Phase.STAGE_TO_TARGET_TRANSFER, stop))
    assert [run.status for run in world.runs()] == [RunStatus.PENDING]
    remove_a_stage_row(world)
    [run] = world.run()
    assert run.status is RunStatus.COMPLETED
    assert world.query("SELECT count(*) FROM events") == [(100,)]


def test_a_chunk_that_vanished_between_two_attempts_is_read_again(world):
    world.run(emit=at_start_of(Phase.STAGE_TO_TARGET_TRANSFER, stop))
    remove_a_stage_row(world)
    remove_a_chunk(world)
    world.run()
    [run] = world.runs()
    assert run.status is RunStatus.COMPLETED
    assert world.query("SELECT count(*) FROM events") == [(100,)]


def test_finished_phases_are_not_repeated_after_a_stop(world):
    world.run(emit=at_start_of(Phase.AUDIT, stop))
    [before] = world.runs()
    [after] = world.run()
    assert after.status is RunStatus.COMPLETED
    for phase in list(Phase)[:4]:
        assert after.phases[phase] == before.phases[phase]
    assert after.receipt == before.receipt


def test_a_source_that_cannot_be_counted_any_more_does_not_fail_a_run_that_is_merged(world):
    """The live count is information; the snapshots' own counts are the proof."""
    [run] = world.run(emit=at_start_of(Phase.AUDIT, (world.root / "source" / "day.parquet").unlink))
    assert run.status is RunStatus.COMPLETED
    figures = run.phases[Phase.AUDIT].figures
    assert (figures["validation_status"], figures["source_count_live"]) == ("PASSED", None)
