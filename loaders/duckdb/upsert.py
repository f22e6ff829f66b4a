"""Merge mode: one row per key, the newest wins. Every count is a query of its own, before anything is written."""

from __future__ import annotations

from loaders.duckdb.names import quoted
from loaders.duckdb.plan import Plan
from loaders.duckdb.rows import R
from state.contract import LOADED_AT, RUN
from state.errors import ContractError
from state.model import MergeCounts

NEWEST = "temp.main.sluiceway_newest"
"""Temporary table of the session: the stage's newest row per key, in the target's types."""


def make_newest(plan: Plan) -> None:
    """Make the temporary table, empty, before the transaction begins."""
    query = plan.rules.newest(plan.stage, plan.values)
    with plan.work.port("loader.merge.create"):
        plan.work.session.rows(f"CREATE OR REPLACE TEMP TABLE sluiceway_newest AS FROM ({query}) LIMIT 0")


def upsert(plan: Plan) -> MergeCounts:
    """Inside a transaction. Raises `ContractError` on a NULL key, or one that the target holds twice."""
    require_keys(plan)
    with plan.work.port("loader.merge.newest"):
        plan.work.session.rows(f"INSERT INTO {NEWEST} {plan.rules.newest(plan.stage, plan.values)}")
    require_distinct_target(plan)
    counts = counted(plan)
    with plan.work.port("loader.merge.write"):
        plan.work.session.rows(statement(plan), plan.attempt.name, plan.at, plan.attempt.name, plan.at)
    return counts


def require_keys(plan: Plan) -> None:
    """A NULL equals nothing, so a row without a key would be inserted again by every run."""
    for name in plan.rules.key:
        missing = plan.count(f"SELECT count(*) FROM {plan.stage} WHERE {quoted(name)} IS NULL")
        if missing:
            raise ContractError(
                f"{missing} rows of {plan.attempt.name} have no value in the key column {name}",
                hint="Choose a key that every row has (target_system.key), or leave such rows out"
                " (source_system.where).",
                code="null_key",
            )


def require_distinct_target(plan: Plan) -> None:
    """A key that the target holds twice, by somebody else's hand, has no one row to replace."""
    keys = ", ".join(f"s.{quoted(name)}" for name in plan.rules.key)
    twice = plan.count(
        f"SELECT count(*) FROM (SELECT {keys} FROM {NEWEST} s JOIN {plan.target} t ON {plan.rules.match}"
        f" GROUP BY {keys} HAVING count(*) > 1)"
    )
    if twice:
        raise ContractError(
            f"the target holds {twice} keys of {plan.attempt.name} more than once",
            hint="Remove the duplicates from the table, or name more columns in target_system.key.",
            code="duplicate_key",
        )


def counted(plan: Plan) -> MergeCounts:
    """What the merge will do."""
    rules = plan.rules
    updates = f"{rules.newer} AND {differs(plan)}"
    pairs = f"SELECT count(*) FROM {NEWEST} s JOIN {plan.target} t ON {rules.match} WHERE"
    return MergeCounts(
        stage_rows=plan.count(f"SELECT count(*) FROM {plan.stage}"),
        distinct_keys=plan.count(f"SELECT count(*) FROM (SELECT DISTINCT {rules.keys} FROM {plan.stage})"),
        inserted=plan.count(
            f"SELECT count(*) FROM {NEWEST} s WHERE NOT EXISTS (FROM {plan.target} t WHERE {rules.match})"
        ),
        updated=plan.count(f"{pairs} {updates}"),
        older=plan.count(f"{pairs} {rules.older}"),
        unchanged=plan.count(f"{pairs} NOT {rules.older} AND NOT ({updates})"),
    )


def statement(plan: Plan) -> str:
    """An unchanged row of a newer order only advances the instant that it was seen at (docs/decisions/0002)."""
    rules = plan.rules
    key = {name.lower() for name in rules.key}
    sets = [f"{quoted(name)} = s.{quoted(name)}" for name in plan.values if name.lower() not in key]
    sets += [f"{R} = s.{R}", f"{quoted(RUN)} = ?", f"{quoted(LOADED_AT)} = ?"]
    fresh = [f"s.{quoted(name)}" for name in plan.values]
    return (
        f"MERGE INTO {plan.target} t USING {NEWEST} s ON {rules.match}"
        f" WHEN MATCHED AND {rules.newer} AND {differs(plan)} THEN UPDATE SET {', '.join(sets)}"
        f" WHEN MATCHED AND {rules.newer} THEN UPDATE SET {R} = s.{R}"
        f" WHEN NOT MATCHED THEN INSERT ({plan.inserted}) VALUES ({', '.join([*fresh, f's.{R}', '?', '?'])})"
    )


def differs(plan: Plan) -> str:
    """Some data column of the source differs between `s` and `t`."""
    key = {name.lower() for name in plan.rules.key}
    data = [quoted(name) for name in plan.values if name.lower() not in key]
    parts = [f"s.{name} IS DISTINCT FROM t.{name}" for name in data]
    return f"({' OR '.join(parts) or 'FALSE'})"
