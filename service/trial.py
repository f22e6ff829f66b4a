"""A scratch world for trying a phase: the real source, everything else in a folder that is removed afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loaders.archive_settings import ArchiveAccess
from loaders.duckdb.settings import DuckDBStage, DuckDBTarget
from service.app import opened
from service.doctor import existing
from service.events import Emit
from service.settings import PipelineConfig
from service.tick import closed_until, new_run
from service.worker import Worker
from state.errors import ConfigurationError
from state.model import Phase, Run, RunKind, Window, show_instant
from state.registry import backend
from state.sqlite.settings import LocalDriveSettings
from state.windows import newest


@contextmanager
def scratch(config: PipelineConfig, phase: Phase) -> Iterator[PipelineConfig]:
    """`config` with stage, target, drive table, spool and archive in a folder of their own, up to `phase`.

    It lies beside the spool, where there is room for a window; nothing of it is left when the context ends.
    """
    beside = existing(config.limits.spool_directory.absolute())
    with tempfile.TemporaryDirectory(prefix=".sluiceway-trial-", dir=beside) as folder:
        yield confined(up_to(config, phase), Path(folder))


def confined(config: PipelineConfig, folder: Path) -> PipelineConfig:
    """`config` that writes below `folder` only."""
    cleaning = config.phases.stage_cleaning
    archive = cleaning.archive and str(folder / "archive")
    cleaning = cleaning.model_copy(update={"archive": archive, "archive_access": ArchiveAccess()})
    changes = {
        "stage_system": scratch_stage(config, folder),
        "target_system": scratch_target(config, folder),
        "drive_table": LocalDriveSettings(path=folder / "drive.sqlite"),
        "snowflake_connection": None,
        "limits": config.limits.model_copy(update={"spool_directory": folder / "spool", "tries_per_phase": 1}),
        "phases": config.phases.model_copy(update={"stage_cleaning": cleaning}),
    }
    return config.model_copy(update=changes)


def scratch_stage(config: PipelineConfig, folder: Path) -> DuckDBStage:
    """A folder, with the configured stage table's own name where one is configured."""
    table = config.stage_system.table
    if table is not None and not isinstance(config.stage_system, DuckDBStage):
        table = table.rpartition(".")[2].strip('"')
    return DuckDBStage(directory=folder / "stage", table=table)


def scratch_target(config: PipelineConfig, folder: Path) -> DuckDBTarget:
    """A DuckDB file that takes what the configured target would."""
    own = config.target_system
    if isinstance(own, DuckDBTarget):
        return own.model_copy(update={"database": folder / "target.duckdb", "temp_directory": folder / "tmp"})
    return DuckDBTarget(
        type="duckdb",
        database=folder / "target.duckdb",
        table=config.pipeline_metadata.pipeline_name,
        temp_directory=folder / "tmp",
        mode=own.mode,
        key=own.key,
        version=own.version,
        cursor_immutable=own.cursor_immutable,
        on_type_conflict=own.on_type_conflict,
        snapshot=own.snapshot,
    )


def up_to(config: PipelineConfig, phase: Phase) -> PipelineConfig:
    """`config` with the phases after `phase` switched off, and `phase` itself on."""
    order = list(Phase)
    place = order.index(phase)
    switched: dict[Phase, bool] = {phase: True, **dict.fromkeys(order[place + 1 :], False)}
    phases = {
        each.value: config.phases.of(each).model_copy(update={"enabled": enabled})
        for each, enabled in switched.items()
    }
    return config.model_copy(update={"phases": config.phases.model_copy(update=phases)})


async def tried(config: PipelineConfig, window: Window | None, emit: Emit) -> Run:
    """One attempt at a run of `window` (the newest closed one without it) in the world of `scratch`."""
    await backend(config.drive_table).init()
    async with opened(config, emit) as worker:
        chosen = window or await newest_closed(worker)
        loads = await worker.repair()
        new = [new_run(config, loads, chosen, RunKind.BACKFILL)]
        [run] = await worker.drive.create(worker.pipeline, worker.owner, new)
        ended = await worker.attempt(run.id)
        return run if ended is None else ended


async def newest_closed(worker: Worker) -> Window:
    """Raises `ConfigurationError` if no window is closed yet."""
    _, until = await worker.source_clock()
    last = newest(worker.config.windows.tiling(), closed_until(worker.config, until))
    if last is None:
        raise ConfigurationError(
            f"no window is closed yet: the first begins at {show_instant(worker.config.windows.start)}",
            hint="Name a span with --window START/END.",
            code="no_window",
            path="--window",
        )
    return last
