"""Rows that are set aside: their stage table, and the quarantine table beside the target."""

from __future__ import annotations

from datetime import datetime

from loaders.aside import PIPELINE, READ_END, READ_START, read_by, require_aside
from loaders.duckdb.names import Table, quoted
from loaders.duckdb.schema import columns, wanted
from loaders.duckdb.types import TEXT, ZONED
from loaders.duckdb.work import Work
from loaders.swap import fenced_span
from state.contract import LOADED_AT, QUARANTINED, READ_AT, RUN
from state.model import Attempt, Manifest

COPIED = (*QUARANTINED.names, READ_AT)
"""What a side row brings along."""


def make(work: Work) -> None:
    """Have the quarantine table there; before any transaction."""
    kinds = {column.name: column.type for column in wanted(work.session, QUARANTINED)}
    own = {PIPELINE: TEXT, READ_START: ZONED, READ_END: ZONED, RUN: TEXT, READ_AT: ZONED, LOADED_AT: ZONED}
    listed = ", ".join(f"{quoted(name)} {kind}" for name, kind in {**kinds, **own}.items())
    with work.port("loader.merge.make"):
        work.session.rows(f"CREATE TABLE IF NOT EXISTS {work.session.at(work.names.quarantine)} ({listed})")


def quarantine(work: Work, attempt: Attempt, manifest: Manifest, stage: Table, at: datetime) -> int:
    """Side rows in the place of those of the span that was read; returns how many came. In the transaction."""
    if not columns(work.session, work.names.quarantine):
        return 0
    staged = side_rows(work, manifest, stage)
    require_aside(attempt, manifest, staged)
    read, table = read_by(attempt, manifest), work.session.at(work.names.quarantine)
    span = fenced_span(work.settings.mode, read)
    with work.port("loader.merge.quarantine"):
        work.session.rows(
            f"DELETE FROM {table} WHERE {PIPELINE} = ? AND ((row_cursor >= ? AND row_cursor < ?)"
            f" OR (row_cursor IS NULL AND {READ_START} >= ? AND {READ_END} <= ?))",
            work.pipeline,
            *(span.start, span.end) * 2,
        )
        if not staged:
            return 0
        names = ", ".join(quoted(name) for name in COPIED)
        own = f"{PIPELINE}, {READ_START}, {READ_END}, {quoted(RUN)}, {quoted(LOADED_AT)}"
        return work.session.count(
            f"INSERT INTO {table} ({names}, {own})"
            f" SELECT {names}, ?, ?, ?, ?, ? FROM {work.session.at(work.names.side_of(stage))}",
            *(work.pipeline, read.start, read.end, attempt.name, at),
        )


def side_rows(work: Work, manifest: Manifest, stage: Table | None) -> int | None:
    """Rows of the side stage table; 0 for a run that set none aside, None if the table is gone."""
    if not manifest.side_chunks:
        return 0
    if stage is None or not columns(work.session, side := work.names.side_of(stage)):
        return None
    return work.session.count(f"SELECT count(*) FROM {work.session.at(side)}")


def quarantined_by(work: Work, attempt: Attempt, manifest: Manifest) -> int | None:
    """Rows of this run in the quarantine table; 0 for a run that set none aside, None if the table is gone."""
    if not manifest.side_chunks:
        return 0
    if not columns(work.session, work.names.quarantine):
        return None
    table = work.session.at(work.names.quarantine)
    return work.session.count(f"SELECT count(*) FROM {table} WHERE {quoted(RUN)} = ?", attempt.name)
