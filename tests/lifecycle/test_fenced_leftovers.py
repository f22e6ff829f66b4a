"""What a worker that lost its lease brings to the stage after its run was completed and cleaned up by another one.

It is swept by a later run, which finds it from the stage and judges it by the drive table (design §5.7).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service.phases.leftovers import is_done_with, windows_of
from state.model import (
    MergeCounts,
    Phase,
    PhaseRecord,
    PhaseStatus,
    Receipt,
    Run,
    RunId,
    RunKind,
    RunStatus,
    Window,
)
from tests.lifecycle.snowflake_world import SnowflakeWorld, once_at, world_at
from tests.lifecycle.world import HOUR, START, World, events
from tests.snowflake.running import Place


def settings(hours: int, spool: str = "spool", **more: Any) -> dict[str, Any]:
    """The first `hours` windows are due, one chunk of one part each."""
    return {
        "windows": {"end": (START + hours * HOUR).isoformat()},
        "phases": {"source_to_stage_transfer": {"rows_per_part": 1_000, "chunk_rows": 1_000}, **more},
        "limits": {"spool_directory": spool},
    }


class DuckDB:
    """Workers of a pipeline with a DuckDB target."""

    EFFECTS = ("spool.rename",)
    """Effects that a fenced worker may still carry out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.world(1).write("day", events(240))

    def world(self, hours: int, spool: str = "spool", **more: Any) -> World:
        return World(self.root, settings(hours, str(self.root / spool), **more))

    def left(self) -> list[str]:
        stage = [path.name for path in (self.root / "stage").rglob("*") if path.is_file()]
        sql = "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'events_stage_%'"
        return [*stage, *(name for (name,) in self.world(1).query(sql))]


class Snowflake(DuckDB):
    """Workers of a pipeline with a Snowflake target."""

    EFFECTS = ("loader.put.upload", "loader.copy.create")

    def __init__(self, root: Path, place: Place) -> None:
        self.place = place
        world_at(place, root, {})
        super().__init__(root)

    def world(self, hours: int, spool: str = "spool", **more: Any) -> SnowflakeWorld:
        wanted = settings(hours, str(self.root / spool), **more)
        return SnowflakeWorld(self.root, wanted, self.place.connection)

    def left(self) -> list[str]:
        return self.world(1).left_in_stage()


EXPIRED = (
    "UPDATE pipeline_execution_drive SET lease_expires_at = '2000-01-01 00:00:00.000000'"
    " WHERE pipeline_status = 'RUNNING'"
)


def taken_over(workers: DuckDB) -> Callable[[], None]:
    """The lease of whoever works ends, and another worker does the run from its start to its end meanwhile."""
    seen: list[object] = []

    def other() -> None:
        with closing(sqlite3.connect(workers.root / "drive.sqlite", isolation_level=None)) as drive:
            drive.execute(EXPIRED)
        [run] = workers.world(1, spool="other").run()
        seen.extend([run.status, run.attempts, workers.left()])

    def act() -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert seen == [RunStatus.COMPLETED, 2, []]

    return act


def swept_by_a_later_run(workers: DuckDB, effect: str) -> None:
    workers.world(1).run(once_at(effect, taken_over(workers)))
    assert workers.left(), "the fenced worker left nothing"
    [second] = workers.world(2).run()
    assert second.status is RunStatus.COMPLETED
    assert second.phases[Phase.STALE_PIPELINE_HANDLING].figures["orphans_removed"] == 1
    assert workers.left() == []
    assert {run.status for run in workers.world(2).runs()} == {RunStatus.COMPLETED}
    assert [count for (count,) in workers.world(2).query("SELECT count(*) FROM events")] == [120]


@pytest.mark.parametrize("effect", DuckDB.EFFECTS)
def test_what_a_fenced_worker_brings_to_a_cleaned_run_is_swept_by_a_later_run(tmp_path, effect):
    swept_by_a_later_run(DuckDB(tmp_path), effect)


@pytest.mark.parametrize("effect", Snowflake.EFFECTS)
def test_what_a_fenced_worker_brings_to_a_cleaned_run_in_snowflake_is_swept_by_a_later_run(
    place, tmp_path, effect
):
    swept_by_a_later_run(Snowflake(tmp_path, place), effect)


WINDOWS = [Window(START + n * HOUR, START + (n + 1) * HOUR) for n in range(5)]


def test_runs_are_found_by_their_windows_the_newest_first():
    runs = [RunId("d", "p", WINDOWS[1], 1), RunId("d", "p", WINDOWS[3], 2)]
    theirs = [RunId("e", "p", WINDOWS[0], 1), RunId("d", "q", WINDOWS[0], 1)]
    hashes = [run.hash for run in runs + theirs]
    assert windows_of("d", "p", WINDOWS, hashes) == [WINDOWS[3], WINDOWS[1]]


def finished(status: RunStatus, cleaning: PhaseStatus | None, **figures: Any) -> Run:
    record = {} if cleaning is None else {Phase.STAGE_CLEANING: PhaseRecord(cleaning, figures=figures)}
    return Run(RunId("d", "p", WINDOWS[0], 1), "p", RunKind.SCHEDULED, START, START, status=status, phases=record)


def test_what_a_finished_run_left_is_of_no_use_only_if_it_was_cleaned_or_skipped():
    receipt = Receipt(RunId("d", "p", WINDOWS[0], 1), 1, "", "", MergeCounts(0, 0, 0), START)
    merged_and_skipped = msgspec.structs.replace(finished(RunStatus.SKIPPED, None), receipt=receipt)
    told = {
        "cleaned": finished(RunStatus.COMPLETED, PhaseStatus.COMPLETED, files_removed=1),
        "cleaned by a user": finished(RunStatus.COMPLETED, PhaseStatus.COMPLETED, function="m:f"),
        "not cleaned": finished(RunStatus.COMPLETED, PhaseStatus.FAILED),
        "told to keep": finished(RunStatus.COMPLETED, PhaseStatus.DISABLED),
        "known from its receipt": finished(RunStatus.COMPLETED, None),
        "skipped": finished(RunStatus.SKIPPED, None),
        "merged and skipped": merged_and_skipped,
    }
    assert [name for name, run in told.items() if is_done_with(run)] == ["cleaned", "skipped"]
