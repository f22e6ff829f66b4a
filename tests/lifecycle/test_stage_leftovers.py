"""Who removes what was staged: a finished run's own clean-up or nobody, a superseded run's next run (G-7)."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from service.app import drive_of, opened
from state.drive import Event
from state.model import Phase, PhaseStatus, Run, RunStatus
from state.owner import owner_name
from tests.lifecycle.world import HOUR, START, World, at_start_of, events, merged, stop

AGE_SECONDS = 3 * 3600
"""Long before the hour that what is young is left alone."""


def world_of(root: Path, hours: int, cleaning: dict | None = None) -> World:
    """A source of two hours, of which the windows of the first `hours` are due."""
    end = (START + hours * HOUR).isoformat()
    world = World(root, {"windows": {"end": end}, "phases": {"stage_cleaning": cleaning or {}}})
    world.write("day", events(120))
    return world


def stage_files(world: World) -> list[str]:
    stage = world.root / "stage"
    return sorted(str(path.relative_to(stage)) for path in stage.rglob("*") if path.is_file())


def stage_tables(world: World) -> list[str]:
    found = world.query("SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'events_stage_%' ORDER BY 1")
    return [name for (name,) in found]


def grow_old(world: World) -> tuple[list[str], list[str]]:
    """Make everything that is staged now look old; returns files and tables."""
    files, tables = stage_files(world), stage_tables(world)
    then = time.time() - AGE_SECONDS
    for name in files:
        os.utime(world.root / "stage" / name, (then, then))
    for name in tables:
        world.execute(f"COMMENT ON TABLE {name} IS NULL")  # one without its instant counts as old
    assert files
    assert tables
    return files, tables


def remove_a_target_row(world: World) -> None:
    world.execute("DELETE FROM events WHERE id = (SELECT min(id) FROM events)")


def retry(world: World, run: Run) -> None:
    """What an operator's retry does to the drive table."""
    event = Event(datetime.now(UTC), "anna", "retry", "events", run.name)

    async def reopen() -> None:
        async with opened(world.config, lambda _event: None) as worker:
            await worker.drive.reopen(run.id, from_phase=None, run_floor=0, event=event)

    asyncio.run(reopen())


def test_what_a_completed_run_was_told_to_keep_survives_the_next_runs_g7(tmp_path):
    cleaning = {"enabled": False}
    world_of(tmp_path, 1, cleaning).run()
    world = world_of(tmp_path, 2, cleaning)
    files, tables = grow_old(world)
    [second] = world.run()
    assert second.status is RunStatus.COMPLETED
    assert second.phases[Phase.STALE_PIPELINE_HANDLING].figures["orphans_removed"] == 0
    assert set(files) < set(stage_files(world))
    assert set(tables) < set(stage_tables(world))


def test_what_could_not_be_archived_survives_the_next_runs_g7(tmp_path):
    cleaning = {"archive": str(tmp_path / "blocked")}
    (tmp_path / "blocked").write_text("a file where the archive should be")
    [first] = world_of(tmp_path, 1, cleaning).run()
    assert first.status is RunStatus.COMPLETED
    assert first.phases[Phase.STAGE_CLEANING].status is PhaseStatus.FAILED
    world = world_of(tmp_path, 2, cleaning)
    files, tables = grow_old(world)
    world.run()
    assert set(files) < set(stage_files(world))
    assert set(tables) < set(stage_tables(world))


def test_what_is_not_proven_survives_the_next_runs_g7(tmp_path):
    unproven = {"phases": {"audit": {"enabled": False}}}
    first = world_of(tmp_path, 1)
    [run] = World(tmp_path, merged(first.settings, unproven)).run()
    assert run.status is RunStatus.COMPLETED
    world = world_of(tmp_path, 2)
    files, tables = grow_old(world)
    world.run()
    assert (stage_files(world), stage_tables(world)) == (files, tables)


def test_what_a_superseded_run_left_is_removed_by_the_next_run_g7(tmp_path):
    world = world_of(tmp_path, 1)
    [failed] = world.run(emit=at_start_of(Phase.AUDIT, lambda: remove_a_target_row(world)))
    assert failed.status is RunStatus.FAILED
    files, tables = grow_old(world)
    retry(world, failed)
    [again] = world.run()
    assert (again.id.number, again.status) == (2, RunStatus.COMPLETED)
    assert world.runs()[0].superseded_by == 2
    assert again.phases[Phase.STALE_PIPELINE_HANDLING].figures["orphans_removed"] == len(files) + len(tables)
    assert (stage_files(world), stage_tables(world)) == ([], [])


def test_what_a_failed_run_needs_to_go_on_is_kept_however_old_g7(tmp_path):
    first = world_of(tmp_path, 1)
    first.run(emit=at_start_of(Phase.AUDIT, lambda: remove_a_target_row(first)))
    world = world_of(tmp_path, 2)
    files, tables = grow_old(world)
    [second] = world.run()
    assert second.status is RunStatus.COMPLETED
    assert (stage_files(world), stage_tables(world)) == (files, tables)


def test_what_a_live_attempt_stages_is_left_alone_by_other_runs_however_old_f19(tmp_path):
    first = world_of(tmp_path, 1)
    first.run(emit=at_start_of(Phase.STAGE_TO_TARGET_TRANSFER, stop))  # attempt 1 is over
    held = asyncio.run(taken(first))
    assert (held.attempts, held.status) == (2, RunStatus.RUNNING)
    table = f"events_stage_{held.id.hash}_A{held.token}"  # attempt 2 fills it, and writes it down then
    first.execute(f"CREATE TABLE {table} AS SELECT 1 AS one")
    world = world_of(tmp_path, 2)
    [second] = world.run()
    assert second.status is RunStatus.COMPLETED
    assert table in stage_tables(world)


async def taken(world: World) -> Run:
    """The oldest run, in the hands of a worker that lives."""
    async with drive_of(world.config) as drive:
        claim = await drive.claim("events", owner_name(), timedelta(hours=3))
        assert claim is not None
        return claim.run
