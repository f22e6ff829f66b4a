"""Mode snapshot: all rows of the target make room for those of the run, in one transaction."""

from __future__ import annotations

from loaders.duckdb.names import quoted
from loaders.duckdb.plan import Plan
from loaders.duckdb.rows import R
from loaders.swap import Standing, require_swap, swapped
from state.contract import RUN
from state.model import MergeCounts


def replace_all(plan: Plan) -> MergeCounts:
    """Delete every row, then insert; a source without rows deletes too where that is allowed. Raises what
    `loaders.swap.require_swap` does."""
    found = standing(plan)
    require_swap(plan.work.settings.snapshot, plan.attempt, found)
    with plan.work.port("loader.merge.delete"):
        deleted = plan.count(f"DELETE FROM {plan.target}")
    with plan.work.port("loader.merge.insert"):
        inserted = plan.count(
            f"INSERT INTO {plan.target} ({plan.inserted})"
            f" SELECT {', '.join([*plan.values.values(), R])}, ?, ? FROM {plan.stage}",
            plan.attempt.name,
            plan.at,
        )
    left = plan.count(f"SELECT count(*) FROM {plan.target}")
    return swapped(plan.attempt, found, deleted=deleted, inserted=inserted, left=left)


def standing(plan: Plan) -> Standing:
    """What is there now."""
    keys = plan.rules.keys
    return Standing(
        staged=plan.count(f"SELECT count(*) FROM {plan.stage}"),
        target=plan.count(f"SELECT count(*) FROM {plan.target}"),
        strangers=strangers(plan),
        newer=plan.work.ledger.newer(plan.attempt, plan.identity),
        keys=plan.count(f"SELECT count(*) FROM (SELECT DISTINCT {keys} FROM {plan.stage})") if keys else None,
        nulls={
            name: plan.count(f"SELECT count(*) FROM {plan.stage} WHERE {quoted(name)} IS NULL")
            for name in plan.rules.key
        },
    )


def strangers(plan: Plan) -> int:
    """Rows that no run of this pipeline wrote, by its receipts."""
    ours = f"SELECT run_name FROM {plan.work.loads} WHERE kind = 'receipt' AND pipeline = ?"
    return plan.count(
        f"SELECT count(*) FROM {plan.target} WHERE {quoted(RUN)} IS NULL OR {quoted(RUN)} NOT IN ({ours})",
        plan.work.pipeline,
    )
