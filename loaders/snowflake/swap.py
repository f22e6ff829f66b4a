"""Mode snapshot: all rows of the target make room for those of the run, in one transaction (no DDL in it)."""

from __future__ import annotations

from loaders.snowflake.names import RUN_NAME, R
from loaders.snowflake.plan import Plan
from loaders.snowflake.rows import INSTANT
from loaders.snowflake.upsert import (
    counted,
    invalid,
    lost,
    nulls,
    require_json,
    require_rows,
    require_same_rows,
    source_name,
)
from loaders.swap import Standing, require_swap, swapped
from state.model import MergeCounts


async def replace_all(plan: Plan) -> MergeCounts:
    """Delete every row, then insert; a source without rows deletes too where that is allowed. Raises what
    `loaders.swap.require_swap` does, and what a transform or JSON is refused for in every mode."""
    found = await standing(plan)
    require_swap(plan.work.settings.snapshot, plan.attempt, found)
    session, ledger = plan.work.session, plan.work.ledger
    with plan.work.port("loader.merge.delete"):
        deleted = await session.count(f"DELETE FROM {plan.target} WHERE {ledger.holding}", plan.mark)
    inserted = 0
    if found.staged:
        with plan.work.port("loader.merge.insert"):
            inserted = await session.count(
                f"INSERT INTO {plan.target} ({plan.inserted})"
                f" SELECT {', '.join([*plan.values.values(), f'r.{R}'])}, ?, {INSTANT} FROM {plan.rows} r"
                f" WHERE {ledger.holding}",
                *plan.stamp,
                plan.mark,
            )
    left = await session.count(f"SELECT COUNT(*) FROM {plan.target}")
    return swapped(plan.attempt, found, deleted=deleted, inserted=inserted, left=left)


async def standing(plan: Plan) -> Standing:
    """What is there now, in one statement with a query for each figure."""
    work, keys = plan.work, plan.rules.keys
    ours = f"SELECT RUN_NAME FROM {work.ledger.sql} WHERE KIND = 'receipt' AND PIPELINE = ?"
    queries = [
        f"SELECT COUNT(*) FROM {plan.target} WHERE {RUN_NAME} IS NULL OR {RUN_NAME} NOT IN ({ours})",
        f"SELECT COUNT(*) FROM {plan.stage.sql}",
        f"SELECT COUNT(*) FROM {plan.rows} r",
        lost(plan) if keys else "SELECT 0",
        f"SELECT COUNT(*) FROM {plan.target}",
        f"SELECT COUNT(*) FROM (SELECT DISTINCT {keys} FROM {plan.rows} r) k" if keys else "SELECT 0",
        *nulls(plan),
        *invalid(plan),
    ]
    strangers, raw, staged, gone, target, distinct, *more = await counted(plan, queries, values=[work.pipeline])
    missing, bad = more[: len(plan.rules.key)], more[len(plan.rules.key) :]
    require_rows(plan, raw, staged)
    require_same_rows(plan, raw, gone)
    require_json(plan, bad)
    return Standing(
        staged=staged,
        target=target,
        strangers=strangers,
        newer=await work.ledger.newer(plan.attempt, plan.identity),
        keys=distinct if keys else None,
        nulls={source_name(plan, name): count for name, count in zip(plan.rules.key, missing, strict=True)},
    )
