"""What a killed process left behind, and what the next one made of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from loaders.duckdb.look import look
from service.demo.pipeline import database_of
from service.demo.process import runs_of
from service.settings import PipelineConfig
from state.model import Phase, Run, RunStatus


class Interrupted(msgspec.Struct, frozen=True):
    """A run as the dead process left it, and the first phase that it had not done."""

    run: Run
    phase: Phase

    @property
    def parts_read(self) -> int:
        return sum(part.is_read for part in self.run.manifest.parts)


class Leftovers(msgspec.Struct, frozen=True):
    """`in_target`: rows in the warehouse. `spooled`: files that had not reached the stage: they are lost."""

    completed: int
    waiting: int
    interrupted: tuple[Interrupted, ...]
    in_target: int
    spooled: int


def leftovers(config: PipelineConfig) -> Leftovers:
    """Look at everything a crash could have hurt. Nothing is changed."""
    runs = runs_of(config)
    spool = config.limits.spool_directory
    return Leftovers(
        completed=sum(run.status is RunStatus.COMPLETED for run in runs),
        waiting=sum(run.status is RunStatus.PENDING for run in runs),
        interrupted=tuple(interrupted(run) for run in runs if run.status is RunStatus.RUNNING),
        in_target=rows_in(database_of(config), config.target_system.table),
        spooled=sum(1 for file in spool.rglob("*.parquet*") if file.is_file()),
    )


def interrupted(run: Run) -> Interrupted:
    return Interrupted(run, next((phase for phase in Phase if not run.done(phase)), Phase.TARGET_CLEANING))


def rows_in(database: Path, name: str) -> int:
    return int(look(database, f"SELECT count(*) AS rows FROM {name}")["rows"][0].as_py())


class Continued(msgspec.Struct, frozen=True):
    """An interrupted run after the next process had it.

    `parts_kept`: parts that are still exactly what the dead process read, snapshot and chunks alike.
    """

    before: Run
    after: Run

    @property
    def parts_kept(self) -> int:
        pairs = zip(self.before.manifest.parts, self.after.manifest.parts, strict=False)
        return sum(old.is_read and old == new for old, new in pairs)


def continued(found: Sequence[Interrupted], runs: Sequence[Run]) -> list[Continued]:
    """What became of the interrupted runs."""
    now = {run.id: run for run in runs}
    return [Continued(one.run, now[one.run.id]) for one in found]
