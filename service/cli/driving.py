"""Commands for the drive table itself: init, upgrade."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from service.app import account_of
from service.cli.options import same_config
from service.cli.pipelines import about, one_pipeline
from service.console import Console
from service.settings import PipelineConfig
from state.registry import backend
from state.snowflake import scripts


def init(config: Path, *, json: bool) -> None:
    """Make the drive table; one that is there stays."""
    pipeline = one_pipeline(config)
    with about(pipeline):
        identity = asyncio.run(done(pipeline, upgrade_only=False))
    answer(pipeline, identity, f"the drive table {place(pipeline)} is there, and of this version", json=json)
    if not json:
        Console().line(f"Next: sluiceway doctor{same_config(config)}")


def upgrade(config: Path, *, json: bool) -> None:
    """Bring the drive table to this version."""
    pipeline = one_pipeline(config)
    with about(pipeline):
        identity = asyncio.run(done(pipeline, upgrade_only=True))
    answer(pipeline, identity, f"the drive table {place(pipeline)} is of this version", json=json)


def sql(name: str) -> None:
    """One of the package's SQL scripts, as it is, to stdout."""
    typer.echo(scripts.text_of(name), nl=False)


async def done(config: PipelineConfig, *, upgrade_only: bool) -> str:
    """The id of the drive table, which is there and current afterwards."""
    async with account_of(config) as account:
        kept = backend(config.drive_table, account)
        return await (kept.upgrade() if upgrade_only else kept.init())


def answer(config: PipelineConfig, identity: str, said: str, *, json: bool) -> None:
    console = Console(json=json)
    if json:
        console.emit({"place": place(config), "id": identity})
    else:
        console.line(f"{said}, id {identity}")


def place(config: PipelineConfig) -> str:
    """Where the drive table lies, as people say it."""
    return config.drive_table.place
