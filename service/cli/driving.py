"""Commands for the drive table itself: init, upgrade."""

from __future__ import annotations

import asyncio
from pathlib import Path

from service.cli.options import same_config
from service.cli.pipelines import about, one_pipeline
from service.console import Console
from service.settings import PipelineConfig
from state.errors import ConfigurationError
from state.sqlite import SqliteDrive


def init(config: Path, *, json: bool) -> None:
    """Make the drive table; one that is there stays."""
    pipeline = one_pipeline(config)
    with about(pipeline):
        path = file_of(pipeline)
        made = not path.exists()
        identity = asyncio.run(SqliteDrive.init(path))
    said = f"the drive table {path} is made" if made else f"the drive table {path} is there already, and current"
    answer(Console(json=json), path, identity, said)
    if not json:
        Console().line(f"Next: sluiceway doctor{same_config(config)}")


def upgrade(config: Path, *, json: bool) -> None:
    """Bring the drive table to this version."""
    pipeline = one_pipeline(config)
    with about(pipeline):
        path = file_of(pipeline)
        identity = asyncio.run(SqliteDrive.upgrade(path))
    answer(Console(json=json), path, identity, f"the drive table {path} is of this version")


def answer(console: Console, path: Path, identity: str, said: str) -> None:
    if console.json:
        console.emit({"path": str(path), "id": identity})
    else:
        console.line(f"{said}, id {identity}")


def file_of(config: PipelineConfig) -> Path:
    """Where the drive table lies. Raises `ConfigurationError` if it lies nowhere."""
    if config.drive_table.type == "memory":
        raise ConfigurationError(
            "a drive table in memory is not made beforehand",
            hint="Set drive_table.type: sqlite for one that lasts.",
            code="memory_drive",
            path="drive_table.type",
        )
    return config.drive_table.path
