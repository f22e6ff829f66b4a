"""Counts looked up anew, and what is left over."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from loaders.aside import SIDE
from loaders.base import Counts, Held
from loaders.columns import named
from loaders.snowflake.files import StageFiles
from loaders.snowflake.ledger import run_text
from loaders.snowflake.names import RUN_NAME, spelled
from loaders.snowflake.rows import bounds_of, in_window_of
from loaders.snowflake.schema import Table, identity_of, look, look_with, made_sql
from loaders.snowflake.types import TEXT
from loaders.snowflake.work import Work
from state.contract import RUN
from state.model import Attempt, Manifest, RunId
from state.snowflake.names import Name, quoted

TABLES = "{}.INFORMATION_SCHEMA.TABLES"
STAGED_HOW = "LIST, and footers at PUT"
"""A stage tells the size and the MD5 of a file and not its rows: those were read from it when it was put."""


async def counts(
    work: Work,
    files: StageFiles,
    attempt: Attempt,
    manifest: Manifest,
    stage: Name | None,
    *,
    distinct: bool = False,
) -> Counts:
    """Each count by its own query; None where the thing is gone. `distinct`: the merge found no key twice in the
    stage table, so nothing is sorted. If one is there twice by now, the stage has more rows than were copied."""
    found, side = [], []
    if manifest.files:
        listed = await files.under(work.session, attempt.run)
        found, side = files.found(listed, manifest.chunks), files.found(listed, manifest.side_chunks)
    have, [there] = await look_with(work.session, work.names.target, stage or work.names.target)
    stage_rows, target_rows = await counted(work, attempt, have, stage if there else None, distinct=distinct)
    return Counts(
        staged_files=len(found),
        staged_rows=sum(chunk.rows for chunk in found),
        stage_rows=stage_rows,
        target_rows=target_rows,
        target_identity=None if have is None else have.identity,
        staged_how=STAGED_HOW,
        staged_aside=sum(chunk.rows for chunk in side),
    )


async def counts_of_nothing(work: Work, attempt: Attempt) -> tuple[Counts, int]:
    """A run that staged nothing, in one statement: rows of the table that is always empty, whether the target is
    there, and how many attempts claimed the run. Where there is no key, no row answers for one."""
    target, ledger = work.names.target, work.ledger
    [(rows, at, claims)] = await work.session.rows(
        f"SELECT (SELECT COUNT(*) FROM {work.empty.sql}), ({made_sql(target)}),"
        f" (SELECT COUNT(*) FROM {ledger.sql} WHERE KIND = 'claim' AND RUN = ?)",
        *target.parts[1:],
        run_text(attempt.run),
    )
    answering = 0 if at is not None and not rows else None
    return Counts(0, 0, int(rows), answering, None if at is None else identity_of(at)), int(claims)


async def texts(work: Work, columns: Collection[str]) -> Collection[str]:
    """Those of the source's columns that the target keeps as text."""
    have = await look(work.session, work.names.target)
    kinds = {} if have is None else have.columns
    return [name for name in columns if kinds.get(spelled(name, work.settings.names)) == TEXT]


async def exists(work: Work, table: Name) -> bool:
    """Whether there is a table of that name."""
    where = "WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?"
    return bool(
        await work.session.count(
            f"SELECT COUNT(*) FROM {TABLES.format(quoted(table.parts[0]))} {where}", *table.parts[1:]
        )
    )


async def counted(
    work: Work, attempt: Attempt, have: Table | None, stage: Name | None, *, distinct: bool
) -> tuple[int | None, int | None]:
    """Rows of the stage table, and rows of the target that answer for the run, in one statement of two queries."""
    target = target_query(work, attempt, have, stage, distinct=distinct)
    queries = ["NULL" if stage is None else f"(SELECT COUNT(*) FROM {stage.sql})"]
    queries.append("NULL" if target is None else f"({target[0]})")
    values = () if target is None else target[1]
    if queries == ["NULL", "NULL"]:
        return None, None
    [(rows, answering)] = await work.session.rows(f"SELECT {', '.join(queries)}", *values)
    return (None if stage is None else int(rows)), (None if target is None else int(answering))


def target_query(
    work: Work, attempt: Attempt, have: Table | None, stage: Name | None, *, distinct: bool
) -> tuple[str, tuple[str, ...]] | None:
    """Counts what answers for the run; None where target or stage table is gone, or is another."""
    needed = [RUN.upper(), *named(work.rules.cursor), *(work.rules.ordering if work.merging else ())]
    if have is None or any(name not in have.columns for name in needed):
        return None
    if not work.merging:
        query, values = in_window(work, attempt, have, f"{RUN_NAME} = ?")
        return query, (attempt.name, *values)
    if stage is None:
        return None
    compared = {name: f"r.{quoted(name)}" for name in work.rules.compared}
    newest = work.rules.newest(work.staged(stage), compared, distinct=distinct)
    return (
        f"SELECT COUNT(*) FROM ({newest}) s JOIN {work.target} t ON {work.rules.match}"
        f" WHERE NOT {work.rules.newer}",
        (),
    )


def in_window(work: Work, attempt: Attempt, have: Table, where: str) -> tuple[str, tuple[str, ...]]:
    """Counts rows of the target in the run's window that are `where`; in snapshot mode, of all rows."""
    cursor = work.rules.cursor
    return (
        f"SELECT COUNT(*) FROM {work.target} WHERE {where} AND {in_window_of(cursor, have.columns)}",
        bounds_of(cursor, attempt.run.window),
    )


async def held(work: Work, attempt: Attempt, stage: Name) -> Held | None:
    """What the target holds of a stage table, in whatever version and by whomever."""
    have, [there] = await look_with(work.session, work.names.target, stage)
    needed = work.rules.key if work.merging else named(work.rules.cursor)
    if have is None or any(name not in have.columns for name in needed) or not there:
        return None
    rows = stage.sql if stage == work.empty else work.staged(stage)
    if work.merging and stage == work.empty:  # it has no rows, and the columns of whoever made it last
        [(one, other)] = await work.session.rows(f"SELECT (SELECT COUNT(*) FROM {rows}), 0")
    elif work.merging:
        keys = f"SELECT DISTINCT {work.rules.keys} FROM {rows} r"
        match = " AND ".join(f"t.{quoted(name)} = s.{quoted(name)}" for name in work.rules.key)
        staged = f"SELECT COUNT(*) FROM ({keys}) s"
        target = f"{staged} WHERE EXISTS (SELECT 1 FROM {work.target} t WHERE {match})"
        [(one, other)] = await work.session.rows(f"SELECT ({staged}), ({target})")
    else:
        target, values = in_window(work, attempt, have, "TRUE")
        [(one, other)] = await work.session.rows(f"SELECT (SELECT COUNT(*) FROM {rows} r), ({target})", *values)
    return Held(int(one), int(other))


async def stage_tables(work: Work) -> list[tuple[str, datetime]]:
    """Tables beside the stage table, each with the instant that it was made at."""
    staged = work.names.staged
    found = await work.session.rows(
        f"SELECT TABLE_NAME, CREATED FROM {TABLES.format(quoted(staged.parts[0]))}"
        " WHERE TABLE_SCHEMA = ? AND STARTSWITH(TABLE_NAME, ?)",
        staged.parts[1],
        f"{staged.last}_",
    )
    return [(name, made.astimezone(UTC)) for name, made in found]


async def tables_of_run(work: Work, attempt: Attempt) -> list[Name]:
    """All stage tables of a run, of whatever attempt."""
    prefix = work.names.stage_prefix(attempt.run)
    return [work.names.staged.beside(name) for name, _ in await stage_tables(work) if name.startswith(prefix)]


async def staged_runs(work: Work) -> set[str]:
    """Hashes of the runs that have a stage table."""
    return {found for name, _ in await stage_tables(work) if (found := work.names.run_hash(name)) is not None}


async def orphan_tables(
    work: Work, runs: Collection[RunId], keep: Sequence[str], older_than: datetime
) -> list[Name]:
    """Stage tables of `runs` that nobody names and that are older."""
    kept, hashes = {name + ending for name in keep for ending in ("", SIDE)}, {run.hash for run in runs}
    return [
        work.names.staged.beside(name)
        for name, made in await stage_tables(work)
        if name not in kept and work.names.run_hash(name) in hashes and made < older_than
    ]


async def drop(work: Work, tables: Sequence[Name], call: str) -> None:
    """Drop tables; one that is gone already is no error."""
    for table in tables:
        with work.port(f"loader.{call}.table"):
            await work.session.rows(f"DROP TABLE IF EXISTS {table.sql}")
