"""Append mode: the rows of a window make room for those of the run, in one transaction."""

from __future__ import annotations

from loaders.snowflake.names import RUN_NAME, R
from loaders.snowflake.plan import Plan
from loaders.snowflake.rows import INSTANT
from loaders.snowflake.upsert import invalid, lost, require_json, require_rows, require_same_rows
from state.errors import ContractError
from state.model import MergeCounts


async def replace_window(plan: Plan) -> MergeCounts:
    """Delete what earlier runs of this pipeline wrote in the window, then insert; an empty run deletes too."""
    staged = await looked(plan)
    session, ledger = plan.work.session, plan.work.ledger
    runs = f"SELECT RUN_NAME FROM {ledger.sql} WHERE KIND = 'receipt' AND PIPELINE = ?"
    with plan.work.port("loader.merge.delete"):
        deleted = await session.count(
            f"DELETE FROM {plan.target} WHERE {plan.in_window} AND {RUN_NAME} IN ({runs}) AND {ledger.holding}",
            *plan.bounds,
            plan.work.pipeline,
            plan.mark,
        )
    inserted = 0
    if staged:
        with plan.work.port("loader.merge.insert"):
            inserted = await session.count(
                f"INSERT INTO {plan.target} ({plan.inserted})"
                f" SELECT {', '.join([*plan.values.values(), f'r.{R}'])}, ?, {INSTANT} FROM {plan.rows} r"
                f" WHERE {ledger.holding}",
                *plan.stamp,
                plan.mark,
            )
    return MergeCounts(staged, staged, inserted, deleted=deleted)


async def looked(plan: Plan) -> int:
    """Rows to append, after everything that forbids it was looked for, each by its own query."""
    queries = [
        f"SELECT COUNT(*) FROM {plan.stage.sql}",
        f"SELECT COUNT(*) FROM {plan.rows} r",
        f"SELECT COUNT(*) FROM {plan.rows} r WHERE NOT COALESCE({plan.in_window}, FALSE)",
        f"SELECT COUNT(*) FROM {plan.target} WHERE {plan.in_window} AND {RUN_NAME} IS NOT NULL AND {RUN_NAME}"
        f" NOT IN (SELECT RUN_NAME FROM {plan.work.ledger.sql} WHERE KIND = 'receipt')",
        lost(plan),
        *invalid(plan),
    ]
    [found] = await plan.work.session.rows(
        f"SELECT {', '.join(f'({query})' for query in queries)}", *plan.bounds, *plan.bounds
    )
    raw, staged, beside, strangers, gone, *bad = (int(count) for count in found)
    require_rows(plan, raw, staged)
    require_same_rows(plan, raw, gone)
    require_in_window(plan, beside)
    require_known_runs(plan, strangers)
    require_json(plan, bad)
    return staged


def require_in_window(plan: Plan, beside: int) -> None:
    """A row beside the window would stay for ever: no later run of the window deletes it."""
    if beside:
        raise ContractError(
            f"{beside} rows of {plan.attempt.name} have a cursor {plan.rules.cursor} that is NULL"
            f" or outside {plan.attempt.run.window}",
            hint="Append mode needs a cursor that is never NULL, and no lookback; use mode merge otherwise.",
            code="cursor_range",
        )


def require_known_runs(plan: Plan, strangers: int) -> None:
    """Rows of a run that the load table has forgotten would stay beside those that take their place."""
    if strangers:
        raise ContractError(
            f"{strangers} rows of the target in {plan.attempt.run.window} are of runs that have no receipt in"
            f" {plan.work.names.ledger}",
            hint="Restore that table; or remove those rows by hand, and a retry loads the window in their place.",
            code="unknown_runs",
        )
