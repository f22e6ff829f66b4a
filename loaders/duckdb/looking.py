"""Counts looked up anew, what is left over, and the checks of `doctor`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import duckdb

from loaders.aside import SIDE
from loaders.base import Counts, Held
from loaders.columns import named
from loaders.duckdb.aside import quarantined_by, side_rows
from loaders.duckdb.copying import MADE
from loaders.duckdb.files import StageFiles
from loaders.duckdb.names import Table, quoted
from loaders.duckdb.plan import in_window_of
from loaders.duckdb.schema import Column, columns, identity_of
from loaders.duckdb.work import Work
from state.checks import Check
from state.contract import RUN
from state.model import Attempt, Manifest, RunId


def counts(work: Work, files: StageFiles, attempt: Attempt, manifest: Manifest, stage: Table | None) -> Counts:
    """Each count by its own query; None where the thing is gone."""
    found, aside = files.found(manifest.chunks), files.found(manifest.side_chunks)
    have = columns(work.session, work.names.target)
    staged = stage is not None and bool(columns(work.session, stage))
    stage_at = work.session.at(stage) if stage is not None and staged else None
    return Counts(
        staged_files=None if found is None else found[0],
        staged_rows=None if found is None else found[1],
        stage_rows=None if stage_at is None else work.session.count(f"SELECT count(*) FROM {stage_at}"),
        target_rows=target_rows(work, attempt, have, stage_at),
        target_identity=identity_of(have),
        staged_aside=None if aside is None else aside[1],
        stage_aside=side_rows(work, manifest, stage),
        quarantine_rows=quarantined_by(work, attempt, manifest),
        read_again=bool(manifest.side_chunks) and work.ledger.merged_since(attempt),
    )


def target_rows(work: Work, attempt: Attempt, have: dict[str, Column], stage: str | None) -> int | None:
    """Rows of the target that answer for this run; None where target or stage table is gone, or is another."""
    needed = [RUN, *named(work.rules.cursor), *(work.rules.ordering if work.merging else ())]
    if any(name.lower() not in have for name in needed):
        return None
    if not work.merging:
        return in_window(work, attempt, have, f"{quoted(RUN)} = ?", attempt.name)
    if stage is None:
        return None
    newest = work.rules.newest(stage, {name: quoted(name) for name in work.rules.compared})
    return work.session.count(
        f"SELECT count(*) FROM ({newest}) s JOIN {work.target} t ON {work.rules.match}"
        f" WHERE NOT {work.rules.newer}"
    )


def in_window(work: Work, attempt: Attempt, have: dict[str, Column], where: str, *values: object) -> int:
    """Rows of the target in the run's window that are `where`; in snapshot mode, of all rows."""
    window, cursor = attempt.run.window, work.rules.cursor
    bounds = () if cursor is None else (window.start, window.end)
    return work.session.count(
        f"SELECT count(*) FROM {work.target} WHERE {where} AND {in_window_of(have, cursor)}", *values, *bounds
    )


def held(work: Work, attempt: Attempt, stage: Table) -> Held | None:
    """What the target holds of a stage table, in whatever version and by whomever."""
    have = columns(work.session, work.names.target)
    needed = work.rules.key if work.merging else named(work.rules.cursor)
    if not (have and columns(work.session, stage)) or any(name.lower() not in have for name in needed):
        return None
    stage_at = work.session.at(stage)
    if not work.merging:
        return Held(work.session.count(f"SELECT count(*) FROM {stage_at}"), in_window(work, attempt, have, "TRUE"))
    keys = f"SELECT DISTINCT {work.rules.keys} FROM {stage_at}"
    match = " AND ".join(f"t.{quoted(name)} = s.{quoted(name)}" for name in work.rules.key)
    return Held(
        work.session.count(f"SELECT count(*) FROM ({keys})"),
        work.session.count(f"SELECT count(*) FROM ({keys}) s WHERE EXISTS (FROM {work.target} t WHERE {match})"),
    )


def stage_tables(work: Work) -> list[tuple[str, str]]:
    """Names of tables beside the stage table, each with its comment."""
    return work.session.rows(
        "SELECT table_name, coalesce(comment, '') FROM duckdb_tables() WHERE database_name = ?"
        " AND lower(schema_name) = lower(?) AND NOT temporary",
        work.session.catalog,
        work.names.stage.schema,
    )


def tables_of_run(work: Work, attempt: Attempt) -> list[Table]:
    """All stage tables of a run, of whatever attempt."""
    prefix = work.names.stage_prefix(attempt.run).lower()
    return [work.names.stage.beside(name) for name, _ in stage_tables(work) if name.lower().startswith(prefix)]


def staged_runs(work: Work) -> set[str]:
    """Hashes of the runs that have a stage table."""
    return {found for name, _ in stage_tables(work) if (found := work.names.run_hash(name)) is not None}


def orphan_tables(work: Work, runs: Collection[RunId], keep: Sequence[str], older_than: datetime) -> list[Table]:
    """Stage tables of `runs` that nobody names and that are older.

    A table without the instant that it was made lost its maker between two statements.
    """
    kept = {(name + ending).lower() for name in keep for ending in ("", SIDE)}
    hashes = {run.hash for run in runs}
    return [
        work.names.stage.beside(name)
        for name, comment in stage_tables(work)
        if name.lower() not in kept and work.names.run_hash(name) in hashes and made_before(comment, older_than)
    ]


def made_before(comment: str, instant: datetime) -> bool:
    """True if a stage table with this comment was made before `instant`."""
    try:
        return datetime.fromisoformat(comment.removeprefix(MADE)) < instant
    except ValueError:
        return True


def drop(work: Work, tables: Sequence[Table], call: str) -> None:
    """Drop tables; one that is gone already is no error."""
    for table in tables:
        with work.port(f"loader.{call}.table"):
            work.session.rows(f"DROP TABLE IF EXISTS {work.session.at(table)}")


def version_check() -> Check:
    return Check("duckdb", True, f"version {duckdb.__version__}")


def target_checks(work: Work) -> list[Check]:
    """The target as it is: its kind and its columns."""
    table, have = work.names.target, columns(work.session, work.names.target)
    if not have:
        return [Check("target_system.table", True, f"{table} will be made")]
    needed = [*(work.rules.ordering if work.merging else ()), *named(work.rules.cursor)]
    missing = [name for name in needed if name.lower() not in have]
    kinds = work.session.rows(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = ? AND lower(schema_name) = lower(?)"
        " AND lower(table_name) = lower(?)",
        work.session.catalog,
        table.schema,
        table.name,
    )
    return [
        Check(
            "target_system.table",
            bool(kinds),
            f"{table} is a table with {len(have)} columns" if kinds else f"{table} is a view",
            "Name a table in target_system.table, or drop the view.",
        ),
        Check(
            "target_system columns",
            True,
            f"{', '.join(missing)} will be added" if missing else "key, version and cursor are there",
        ),
    ]
