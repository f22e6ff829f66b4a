"""Merge mode: one row per key, the newest wins. Every count is a query of its own, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loaders.snowflake.names import FILE, LOADED, ROW, RUN_NAME, R
from loaders.snowflake.plan import Plan
from loaders.snowflake.rows import INSTANT
from state.errors import ContractError, RestartAttempt
from state.model import MergeCounts
from state.snowflake.names import quoted


@dataclass(frozen=True)
class Staged:
    """What the stage table holds, each figure by a query of its own. `given`: its rows; `rows`: those that the
    transform makes of them; `lost`: those that it loses. `nulls`: rows without a value, by column of the key.
    `invalid`: values that are no JSON, by column that is parsed."""

    given: int
    rows: int
    keys: int
    lost: int
    nulls: Sequence[int]
    invalid: Sequence[int]


async def upsert(plan: Plan) -> MergeCounts:
    """In a transaction. Raises `ContractError` on a NULL key, one that the target holds twice, or JSON that is
    none, rows that a transform loses, or other data at an equal version with `change_only`."""
    staged = await looked(plan)
    require_rows(plan, staged.given, staged.rows)
    require_same_rows(plan, staged.given, staged.lost)
    require_keys(plan, staged.nulls)
    require_json(plan, staged.invalid)
    distinct = staged.rows == staged.keys
    newest = plan.rules.newest(plan.rows, plan.values, distinct=distinct)
    *outcomes, held_twice, undecided = await foreseen(plan, newest, distinct=distinct)
    require_distinct_target(plan, held_twice)
    require_decided(plan, undecided)
    counts = MergeCounts(staged.rows, staged.keys, *outcomes)
    sql, stamps = statement(plan, newest, counts)
    with plan.work.port("loader.merge.write"):
        [told] = await plan.work.session.records(sql, plan.mark, *stamps)
    require_as_counted(plan, counts, told)
    return counts


async def looked(plan: Plan) -> Staged:
    """Everything that is asked of the stage table."""
    queries = [
        f"SELECT COUNT(*) FROM {plan.stage.sql}",
        f"SELECT COUNT(*) FROM {plan.rows} r",
        f"SELECT COUNT(*) FROM (SELECT DISTINCT {plan.rules.keys} FROM {plan.rows} r) k",
        lost(plan),
        *nulls(plan),
        *invalid(plan),
    ]
    given, rows, keys, gone, *counts = await counted(plan, queries)
    missing = len(plan.rules.key)
    return Staged(given, rows, keys, gone, counts[:missing], counts[missing:])


async def foreseen(plan: Plan, newest: str, *, distinct: bool) -> list[int]:
    """What the merge will do: rows inserted, updated, older, unchanged; keys that the target holds twice; and rows
    that `change_only` cannot decide on.

    `distinct`: `newest` sorts nothing. Each query then has it for itself and reads only what it compares; else it
    is worked out once for all of them."""
    rules, updates = plan.rules, f"{plan.rules.newer} AND {differs(plan)}"
    s, before = (f"({newest}) s", "") if distinct else ("s", f"WITH s AS ({newest}) ")
    pairs = f"SELECT COUNT(*) FROM {s} JOIN {plan.target} t ON {rules.match} WHERE"
    queries = [
        f"SELECT COUNT(*) FROM {s} LEFT JOIN {plan.target} t ON {rules.match}"
        f" WHERE t.{quoted(rules.key[0])} IS NULL",
        f"{pairs} {updates}",
        f"{pairs} {rules.older}",
        f"{pairs} NOT {rules.older} AND NOT ({updates})",
        twice(plan, s),
        f"{pairs} {updates} AND {rules.level}" if plan.work.settings.change_only else "SELECT 0",
    ]
    return await counted(plan, queries, before)


async def counted(plan: Plan, queries: Sequence[str], before: str = "", values: Sequence[str] = ()) -> list[int]:
    """The answers of counting queries, in one statement that begins with `before` and has these parameters."""
    asked = f"{before}SELECT {', '.join(f'({query})' for query in queries)}"
    [found] = await plan.work.session.rows(asked, *values)
    return [int(count) for count in found]


def lost(plan: Plan) -> str:
    """Staged rows that the transform does not give again, with their key, file and number: as many rows as before
    may be others."""
    if not plan.transformed:
        return "SELECT 0"
    named = ", ".join([*(f"r.{quoted(name)}" for name in plan.rules.key), f"r.{FILE}", f"r.{ROW}"])
    return (
        f"SELECT COUNT(*) FROM (SELECT {named} FROM {plan.stage.sql} r EXCEPT SELECT {named} FROM {plan.rows} r) l"
    )


def nulls(plan: Plan) -> list[str]:
    """Rows without a value, for each column of the key."""
    return [f"SELECT COUNT(*) FROM {plan.rows} r WHERE r.{quoted(name)} IS NULL" for name in plan.rules.key]


def invalid(plan: Plan) -> list[str]:
    """Values that are no JSON, for each column that is parsed."""
    return [
        f"SELECT COUNT(*) FROM {plan.rows} r WHERE r.{quoted(column.name)} IS NOT NULL"
        f" AND {plan.values[column.name]} IS NULL"
        for column in plan.parsed
    ]


def twice(plan: Plan, staged: str) -> str:
    """Keys of the stage that the target holds more than once; `staged`: its rows `s` in a FROM."""
    keys = ", ".join(f"s.{quoted(name)}" for name in plan.rules.key)
    return (
        f"SELECT COUNT(*) FROM (SELECT {keys} FROM {staged} JOIN {plan.target} t ON {plan.rules.match}"
        f" GROUP BY {keys} HAVING COUNT(*) > 1) d"
    )


def require_as_counted(plan: Plan, counts: MergeCounts, told: Mapping[str, Any]) -> None:
    """Somebody else may have changed the target between the count and the change: then nothing of it is kept.

    Rows that only advance the instant they were seen at are updates to Snowflake too.
    """
    inserted, updated = (int(told.get(f"number of rows {what}", 0)) for what in ("inserted", "updated"))
    if inserted != counts.inserted or not counts.updated <= updated <= counts.updated + counts.unchanged:
        raise RestartAttempt(
            f"MERGE inserted {inserted} and updated {updated} rows of {plan.attempt.name}, {counts.inserted} and"
            f" {counts.updated} were counted before",
            hint="Nothing was written; find out who else writes to the target while Sluiceway does.",
            code="merge_counts",
        )


def require_rows(plan: Plan, staged: int, transformed: int) -> None:
    """A transform changes rows; one that drops or adds some would cut the proof."""
    if staged and plan.shared:
        raise RestartAttempt(
            f"{plan.stage} has {staged} rows: runs without rows share it, and it must be empty",
            hint="Nothing was written; remove those rows, and find out who writes there.",
            code="stage_rows",
        )
    if staged != transformed:
        raise ContractError(
            f"target_system.transform makes {transformed} rows of the {staged} of {plan.attempt.name}",
            hint="It must give one row for each that is staged; leave rows out at the source"
            " (source_system.where).",
            code="transform_rows",
        )


def require_same_rows(plan: Plan, staged: int, lost: int) -> None:
    """One that gives a row twice and drops another has made as many as were staged."""
    if lost:
        raise ContractError(
            f"target_system.transform loses {lost} rows of the {staged} of {plan.attempt.name}, and gives others"
            " instead",
            hint="It must give each row that is staged once, with its key, _SLUICEWAY_FILE and _SLUICEWAY_ROW.",
            code="transform_rows",
        )


def require_decided(plan: Plan, undecided: int) -> None:
    """A row that was left alone does not tell when it was seen last: at one version, the run's look may be newer
    than that, or older."""
    if undecided:
        raise ContractError(
            f"{undecided} rows of {plan.attempt.name} have other data than the target at an equal"
            f" {plan.rules.version}",
            hint="target_system.change_only needs a version that moves with every change: name another one in"
            " target_system.version, or leave change_only out.",
            code="equal_versions",
        )


def require_keys(plan: Plan, missing: Sequence[int]) -> None:
    """A NULL equals nothing, so a row without a key would be inserted again by every run."""
    for name, count in zip(plan.rules.key, missing, strict=True):
        if count:
            raise ContractError(
                f"{count} rows of {plan.attempt.name} have no value in the key column {source_name(plan, name)}",
                hint="Choose a key that every row has (target_system.key), or leave such rows out"
                " (source_system.where).",
                code="null_key",
            )


def source_name(plan: Plan, name: str) -> str:
    """A key's column as the settings name it."""
    found = dict(zip(plan.rules.key, plan.work.settings.key, strict=True))
    return found[name]


def require_json(plan: Plan, invalid: Sequence[int]) -> None:
    """Text that is no JSON would become NULL in the target: another value, and no error (F-10)."""
    for column, count in zip(plan.parsed, invalid, strict=True):
        if count:
            raise ContractError(
                f"{count} values of column {column.source} of {plan.attempt.name} are no JSON to Snowflake",
                hint="Mend them in the source, or read the column as text (source_system.columns.types).",
                code="invalid_json",
            )


def require_distinct_target(plan: Plan, twice: int) -> None:
    """A key that the target holds twice, by somebody else's hand, has no one row to replace."""
    if twice:
        raise ContractError(
            f"the target holds {twice} keys of {plan.attempt.name} more than once",
            hint="Remove the duplicates from the table, or name more columns in target_system.key.",
            code="duplicate_key",
        )


def data_columns(plan: Plan) -> list[str]:
    """Columns of the source that are not of the key."""
    return [name for name in plan.values if name not in plan.rules.key]


def statement(plan: Plan, newest: str, counts: MergeCounts) -> tuple[str, tuple[str, ...]]:
    """The MERGE of the rows of `newest`, and its parameters behind the mark. An unchanged row of a newer order
    only advances the instant that it was seen at (docs/decisions/0002), and with `change_only` not even that.

    What no row was counted for is left out: a MERGE that only inserts rewrites nothing, and where no row is
    unchanged, none is compared column by column."""
    rules = plan.rules
    sets = [f"{quoted(name)} = s.{quoted(name)}" for name in data_columns(plan)]
    sets += [f"{R} = s.{R}", f"{RUN_NAME} = ?", f"{LOADED} = {INSTANT}"]
    fresh = [f"s.{quoted(name)}" for name in plan.values]
    matched: list[str] = []
    stamps: tuple[str, ...] = plan.stamp
    if counts.updated:
        found = f"{rules.newer} AND {differs(plan)}" if counts.unchanged else rules.newer
        matched.append(f"WHEN MATCHED AND {found} THEN UPDATE SET {', '.join(sets)}")
        stamps += plan.stamp
    if counts.unchanged and not plan.work.settings.change_only:
        matched.append(f"WHEN MATCHED AND {rules.newer} THEN UPDATE SET {R} = s.{R}")
    return (
        f"MERGE INTO {plan.target} t USING (SELECT * FROM ({newest}) n WHERE {plan.work.ledger.holding}) s"
        f" ON {rules.match}"
        f" {' '.join(matched)} WHEN NOT MATCHED THEN INSERT ({plan.inserted})"
        f" VALUES ({', '.join([*fresh, f's.{R}', '?', INSTANT])})"
    ), stamps


def differs(plan: Plan) -> str:
    """Some data column of the source differs between `s` and `t`."""
    parts = [f"{shown(plan, 's', name)} IS DISTINCT FROM {shown(plan, 't', name)}" for name in data_columns(plan)]
    return f"({' OR '.join(parts) or 'FALSE'})"


def shown(plan: Plan, row: str, name: str) -> str:
    """A column where two rows are compared: a VARIANT by its JSON."""
    value = f"{row}.{quoted(name)}"
    return f"TO_JSON({value})" if name in plan.variants else value
