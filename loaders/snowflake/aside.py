"""Rows that are set aside: their stage table, and the quarantine table beside the target."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from loaders.aside import PIPELINE, READ_END, READ_START, read_by, require_aside
from loaders.snowflake.looking import exists
from loaders.snowflake.names import LOADED, RUN_NAME, R
from loaders.snowflake.rows import INSTANT, instant
from loaders.snowflake.schema import Wanted, wanted
from loaders.snowflake.settings import NameRule
from loaders.snowflake.types import TEXT, ZONED
from loaders.snowflake.work import Work
from loaders.swap import fenced_span
from state.contract import QUARANTINED
from state.model import Attempt, Manifest
from state.snowflake.names import Name, quoted

OURS = [quoted(name.upper()) for name in (PIPELINE, READ_START, READ_END)]
"""The run's pipeline and what it read."""


def side_columns() -> list[Wanted]:
    """The columns of a side row, in upper case whatever the rule for the source's."""
    return wanted(QUARANTINED, NameRule.UPPER)


async def make(work: Work) -> None:
    """Have the quarantine table there; before any transaction."""
    kinds = [f"{quoted(column.name)} {column.type}" for column in side_columns()]
    kinds += [f"{name} {kind}" for name, kind in zip(OURS, (TEXT, ZONED, ZONED), strict=True)]
    kinds += [f"{R} {ZONED}", f"{RUN_NAME} {TEXT}", f"{LOADED} {ZONED}"]
    with work.port("loader.merge.make"):
        await work.session.rows(f"CREATE TABLE IF NOT EXISTS {work.names.quarantine.sql} ({', '.join(kinds)})")


async def quarantine(
    work: Work, attempt: Attempt, manifest: Manifest, *, stage: Name, mark: str, at: datetime
) -> int:
    """Side rows in the place of those of the span that was read; returns how many came. In the transaction that
    left `mark` in the fence, where the quarantine table is there."""
    staged = await side_rows(work, manifest, stage)
    require_aside(attempt, manifest, staged)
    read, table, holding = read_by(attempt, manifest), work.names.quarantine.sql, work.ledger.holding
    span = fenced_span(work.settings.mode, read)
    bounds = instant(span.start), instant(span.end)
    with work.port("loader.merge.quarantine"):
        await work.session.count(
            f"DELETE FROM {table} WHERE {OURS[0]} = ? AND ((ROW_CURSOR >= {INSTANT} AND ROW_CURSOR < {INSTANT})"
            f" OR (ROW_CURSOR IS NULL AND {OURS[1]} >= {INSTANT} AND {OURS[2]} <= {INSTANT})) AND {holding}",
            work.pipeline,
            *bounds,
            *bounds,
            mark,
        )
        if not staged:
            return 0
        names = ", ".join([*(quoted(column.name) for column in side_columns()), R])
        return await work.session.count(
            f"INSERT INTO {table} ({names}, {', '.join(OURS)}, {RUN_NAME}, {LOADED})"
            f" SELECT {names}, ?, {INSTANT}, {INSTANT}, ?, {INSTANT} FROM {work.names.side_of(stage).sql}"
            f" WHERE {holding}",
            *(work.pipeline, instant(read.start), instant(read.end), attempt.name, instant(at), mark),
        )


async def side_rows(work: Work, manifest: Manifest, stage: Name | None) -> int | None:
    """Rows of the side stage table; 0 for a run that set none aside, None if the table is gone."""
    if not manifest.side_chunks:
        return 0
    if stage is None or not await exists(work, side := work.names.side_of(stage)):
        return None
    return await work.session.count(f"SELECT COUNT(*) FROM {side.sql}")


@dataclass(frozen=True)
class Aside:
    """What is looked up of rows that a run set aside; see `loaders.base.Counts`."""

    staged: int | None = 0
    quarantined: int | None = 0
    read_again: bool = False


async def looked(work: Work, attempt: Attempt, manifest: Manifest, stage: Name | None) -> Aside:
    """Each by its own query; nothing is asked for a run that set none aside."""
    if not manifest.side_chunks:
        return Aside()
    rows = None
    if await exists(work, work.names.quarantine):
        sql = f"SELECT COUNT(*) FROM {work.names.quarantine.sql} WHERE {RUN_NAME} = ?"
        rows = await work.session.count(sql, attempt.name)
    staged = await side_rows(work, manifest, stage)
    return Aside(staged, rows, await work.ledger.merged_since(attempt))
