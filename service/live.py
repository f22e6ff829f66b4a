"""A pipeline that has loaded windows is live: which of its settings may change, and which are refused.

The settings that loaded rows depend on are written into the drive table with the first work, as an operator's
action; a later configuration that says something else is refused before it can do harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from loaders.base import Loads
from service.settings import PipelineConfig
from service.worker import Worker
from state.drive import Event
from state.errors import ConfigurationError
from state.model import Window, show_instant
from state.windows import gaps, reaches_into

ACTION = "settings"
FIXED = ("source_system.cursor", "target_system.table", "target_system.mode", "target_system.key")
"""Settings that a live pipeline keeps."""
EVENTS = 10_000
"""Operator's actions that are looked through for the settings."""


class Change(msgspec.Struct, frozen=True):
    """Keys of a live pipeline, when a change of them counts, and what to do instead or what to know."""

    keys: tuple[str, ...]
    when: str
    know: str


CHANGES: tuple[Change, ...] = (
    Change(
        FIXED,
        "refused",
        "`run`, `backfill` and `retry` end with code 2. Set the key back, or give a new `pipeline_name` and a new"
        " table: every window is then loaded anew.",
    ),
    Change(
        ("windows.width", "windows.timezone"),
        "refused where new windows would cut across old ones",
        "`run` ends with code 1 and names the two windows. Set `windows.start` to the end of the last loaded"
        " window with the new width; the older windows stay in the ledger.",
    ),
    Change(
        ("windows.start",),
        "at the next look",
        "An earlier start on the same raster opens the windows before; off the raster it is refused as a width is."
        " A later start opens nothing before it; to load a span once: `sluiceway backfill --from … --to …`.",
    ),
    Change(
        ("windows.end", "windows.schedule", "windows.safety_lag_seconds", "windows.ordered", "windows.max_open"),
        "at the next look",
        "Windows that were opened already are loaded all the same.",
    ),
    Change(
        ("windows.lookback_seconds",),
        "for runs opened from then on",
        "A run keeps the read range that it was opened with.",
    ),
    Change(
        ("pipeline_metadata.pipeline_name",),
        "never",
        "It cannot be told from a new pipeline, so it is one: it loads every window anew. In mode merge rows that"
        " are there already are found unchanged; in mode append they would be there twice: name a new table.",
    ),
    Change(("pipeline_metadata.owner_email", "pipeline_metadata.notifications"), "at once", "Only for people."),
    Change(
        (
            "source_system.endpoint",
            "source_system.index",
            "source_system.path",
            "source_system.auth",
            "source_system.host",
            "source_system.port",
            "source_system.user",
            "source_system.database",
            "source_system.table",
            "source_system.query",
        ),
        "with the next attempt",
        "The new place must hold the same rows: parts that are read stay read. To read a span again:"
        " `sluiceway backfill --from … --to …`.",
    ),
    Change(
        ("source_system.columns", "source_system.types", "source_system.where", "source_system.cursor_fallback"),
        "with the next attempt",
        "New columns are added to the target, a changed type follows `target_system.on_type_conflict`. A run that"
        " is not merged yet is read anew if its columns changed. Rows loaded earlier stay as they are: backfill.",
    ),
    Change(
        ("target_system.version",),
        "with the next merge",
        "From then on rows are compared by the new column.",
    ),
    Change(
        ("target_system.database",),
        "refused by `run` unless the file holds the same table",
        "Move the file first. If the table is new on purpose, `sluiceway backfill --from … --to …` loads the"
        " windows into it, and `run` goes on.",
    ),
    Change(
        (
            "target_system.on_type_conflict",
            "target_system.snapshot",
            "target_system.memory_limit",
            "target_system.threads",
            "target_system.change_only",
            "target_system.large_values",
            "target_system.transform",
        ),
        "with the next merge",
        "",
    ),
    Change(
        ("target_system.names",),
        "never",
        "The columns would be added again under their other names: give a new table.",
    ),
    Change(
        ("stage_system.directory", "stage_system.stage", "stage_system.table"),
        "with the next attempt",
        "A run that is not merged yet finds its files gone and reads its window again.",
    ),
    Change(
        ("phases",),
        "with the next phase",
        "`rows_per_part` counts for runs whose read range is not cut yet. docs/user-functions.md says what remains"
        " of the guarantee.",
    ),
    Change(
        ("snowflake_connection",),
        "with the next login",
        "A rotated key or token needs no change: its file is read anew at each login. Another `account` is another"
        " warehouse: the target there must hold the same table.",
    ),
    Change(
        ("drive_table.type", "drive_table.path", "drive_table.database", "drive_table.database_schema"),
        "when all workers are stopped",
        "`sluiceway drive init` makes the new one; the next run takes over what the receipts in the target prove,"
        " and nothing is loaded twice.",
    ),
    Change(("limits",), "with the next command", "`spool_directory`: the old folder may be removed."),
)


async def require_unchanged(worker: Worker) -> None:
    """Raise `ConfigurationError` if a fixed setting is not what it was; the first time, write them down."""
    now = fixed(worker.config)
    events = await worker.drive.events(worker.pipeline, EVENTS)
    before = next((event.details for event in events if event.action == ACTION), None)
    if before is None:
        at = await worker.drive.now()
        await worker.drive.record(Event(at, worker.owner, ACTION, worker.pipeline, worker.pipeline, now))
        return
    for path, value in now.items():
        if path in before and before[path] != value:
            raise ConfigurationError(
                f"{path} of the live pipeline {worker.pipeline} was {before[path]} and is now {value}",
                hint=f"Set {path} back, or give a new pipeline_metadata.pipeline_name and target_system.table:"
                " every window is then loaded anew.",
                code="live_setting",
                path=path,
            )


def fixed(config: PipelineConfig) -> Mapping[str, Any]:
    """The fixed settings by path, as plain values."""
    found = {}
    for path in FIXED:
        section, key = path.split(".")
        found[path] = config.as_dict()[section][key]
    return found


async def require_same_table(worker: Worker, loads: Loads) -> None:
    """Raise `ConfigurationError` if windows are held for loaded whose rows went into another table.

    The target's receipts, `loads`, tell: the newest of each window, and what was loaded over it since.
    """
    if worker.config.whole:
        return  # the next window loads the whole table, whatever became of the one before
    done = await finished_windows(worker)
    elsewhere = [window for window in receipts_elsewhere(loads) if window in done]
    if not elsewhere:
        return
    start, end = show_instant(elsewhere[0].start), show_instant(max(window.end for window in elsewhere))
    raise ConfigurationError(
        f"{len(elsewhere)} windows of {worker.pipeline} were loaded into another table than"
        f" {worker.config.target_system.table} is now: it was dropped, or target_system was changed",
        hint=f"Set target_system back, or load them again: sluiceway backfill --from {start} --to {end}",
        code="other_table",
        path="target_system",
    )


async def finished_windows(worker: Worker) -> set[Window]:
    """Windows that the drive table knows and that no unfinished run will load."""
    waiting = await worker.drive.windows(worker.pipeline, unfinished=True)
    return set(await worker.drive.windows(worker.pipeline)) - set(waiting)


def receipts_elsewhere(loads: Loads) -> list[Window]:
    """Windows whose newest receipt is of another table, but for those that this one's receipts cover, in order."""
    newest = {r.run.window: r for r in sorted(loads.receipts, key=lambda receipt: receipt.run.number)}
    here = [window for window, receipt in newest.items() if receipt.target_identity == loads.target_identity]
    others = sorted(set(newest) - set(here))
    if not others:
        return []
    holes = gaps(here, Window(others[0].start, max(window.end for window in others)))
    return [window for window in others if reaches_into(holes, window)]
