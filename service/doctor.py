"""The checklist before a pipeline goes live: every check is made, what is written is removed, all is reported."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from loaders.archive import Archive
from loaders.archive_settings import SETTING as ARCHIVE
from loaders.duckdb.settings import DuckDBStage
from loaders.snowflake.settings import SnowflakeStage, SnowflakeTarget
from service import functions
from service.app import account_of, connect, spool_directory, target_of
from service.settings import PipelineConfig
from state.checks import Check
from state.errors import SluicewayError
from state.model import Phase
from state.port import direct
from state.registry import backend
from state.snowflake.drive_settings import SnowflakeDriveSettings

CLOCKS_APART = timedelta(seconds=30)
"""A worker's clock only stamps records, but one that is further off makes them misleading."""

Probe = Callable[[PipelineConfig], Awaitable[Sequence[Check]]]


async def checkup(config: PipelineConfig) -> list[Check]:
    """All checks of a pipeline. An error of one becomes a failed check and never stops the others."""
    found: list[Check] = []
    for name, probe in PROBES:
        try:
            found.extend(await probe(config))
        except SluicewayError as error:
            found.append(Check(name, False, error.message, error.hint))
    return found


async def user_functions(config: PipelineConfig) -> list[Check]:
    checks = []
    for phase in Phase:
        reference = config.phases.of(phase).function
        if reference is None:
            continue
        name = f"phases.{phase}.function"
        try:
            functions.resolve(reference)
        except SluicewayError as error:
            checks.append(Check(name, False, error.message, error.hint))
        else:
            checks.append(Check(name, True, f"{reference} can be imported"))
    return checks


async def drive_table(config: PipelineConfig) -> list[Check]:
    async with account_of(config) as account:
        found: list[Check] = []
        if account is not None and isinstance(config.drive_table, SnowflakeDriveSettings):
            from state.snowflake import drive_checks  # noqa: PLC0415 its library only where it is used

            found = await drive_checks.check(account, config.drive_table.database_schema)
        if not all(check.ok for check in found):
            return found
        async with aclosing(await backend(config.drive_table, account).open()) as drive:
            opened = Check("drive_table", True, f"open, id {drive.id}")
            return [*found, opened, clock("drive_table clock", await drive.now())]


def clock(name: str, there: datetime) -> Check:
    apart = abs(datetime.now(UTC) - there)
    return Check(
        name,
        apart <= CLOCKS_APART,
        f"{apart.total_seconds():.1f} s from this machine's",
        "Set this machine's clock (NTP): times in logs and records mislead.",
    )


async def spool(config: PipelineConfig) -> list[Check]:
    wanted = config.limits.spool_quota_bytes
    there = existing(spool_directory(config).absolute())
    free = shutil.disk_usage(there).free
    return [
        Check(
            "limits.spool_quota_bytes",
            free >= wanted,
            f"{free:,} bytes are free at {there}, the quota is {wanted:,}",
            "Free disk space, lower limits.spool_quota_bytes, or set limits.spool_directory elsewhere.",
        )
    ]


def existing(path: Path) -> Path:
    """`path` or its nearest parent that exists."""
    return path if path.exists() else existing(path.parent)


async def source(config: PipelineConfig) -> list[Check]:
    async with aclosing(connect(config)) as there:
        return list(await there.check())


async def contract(config: PipelineConfig) -> list[Check]:
    async with aclosing(connect(config)) as there:
        declared = await there.contract()
    cursor = f"cursor {declared.cursor}" if declared.cursor else "read whole"
    return [Check("contract", True, f"{len(declared.schema)} columns, {cursor}")]


async def source_clock(config: PipelineConfig) -> list[Check]:
    async with aclosing(connect(config)) as there:
        return [clock("source clock", await there.now())]


async def stage_and_target(config: PipelineConfig) -> list[Check]:
    async with target_of(config) as there:
        return list(await there.check())


async def archive(config: PipelineConfig) -> list[Check]:
    place, pipeline = config.phases.stage_cleaning.place, config.pipeline_metadata.pipeline_name
    if place is None:
        return []
    if place.stage is not None:
        return await archive_stage(config, place.stage)
    if in_its_own_stage(config):
        hint = f"Give {ARCHIVE} another folder."
        return [Check(ARCHIVE, False, "it is the stage that is cleaned: nothing would be kept", hint)]
    return [await Archive(place, direct).check(pipeline)]


def in_its_own_stage(config: PipelineConfig) -> bool:
    """Whether chunks are archived in the folder that they are removed from."""
    stage, place = config.stage_system, config.phases.stage_cleaning.archive
    return isinstance(stage, DuckDBStage) and stage.directory.absolute() == Path(place or "").absolute()


async def archive_stage(config: PipelineConfig, place: str) -> list[Check]:
    """An archive in the warehouse itself, which only a target there can have."""
    target, stage = config.target_system, config.stage_system
    if not isinstance(target, SnowflakeTarget) or not isinstance(stage, SnowflakeStage):
        return []
    from loaders.snowflake import checks_archive  # noqa: PLC0415 its library only where it is used
    from loaders.snowflake.names import names  # noqa: PLC0415

    async with account_of(config) as account:
        if account is None:
            return []
        pipeline = config.pipeline_metadata.pipeline_name
        return await checks_archive.check_archive(account, names(target, stage), place, pipeline)


PROBES: Sequence[tuple[str, Probe]] = (
    ("user functions", user_functions),
    ("drive_table", drive_table),
    ("spool", spool),
    ("source_system", source),
    ("contract", contract),
    ("source clock", source_clock),
    ("target_system", stage_and_target),
    (ARCHIVE, archive),
)
