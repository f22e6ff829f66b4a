"""Append mode: the rows of a window make room for those of the run, in one transaction."""

from __future__ import annotations

from loaders.duckdb.names import quoted
from loaders.duckdb.plan import Plan
from loaders.duckdb.rows import R
from state.contract import RUN
from state.errors import ContractError
from state.model import MergeCounts


def replace_window(plan: Plan) -> MergeCounts:
    """Delete what earlier runs of this pipeline wrote in the window, then insert; an empty run deletes too."""
    window = plan.attempt.run.window
    require_in_window(plan)
    require_known_runs(plan)
    staged = plan.count(f"SELECT count(*) FROM {plan.stage}")
    runs = f"SELECT run_name FROM {plan.work.loads} WHERE kind = 'receipt' AND pipeline = ?"
    with plan.work.port("loader.merge.delete"):
        deleted = plan.count(
            f"DELETE FROM {plan.target} WHERE {plan.in_window} AND {quoted(RUN)} IN ({runs})",
            window.start,
            window.end,
            plan.work.pipeline,
        )
    with plan.work.port("loader.merge.insert"):
        inserted = plan.count(
            f"INSERT INTO {plan.target} ({plan.inserted})"
            f" SELECT {', '.join([*plan.values.values(), R])}, ?, ? FROM {plan.stage}",
            plan.attempt.name,
            plan.at,
        )
    return MergeCounts(staged, staged, inserted, deleted=deleted)


def require_in_window(plan: Plan) -> None:
    """A row beside the window would stay for ever: no later run of the window deletes it."""
    window = plan.attempt.run.window
    beside = plan.count(
        f"SELECT count(*) FROM {plan.stage} WHERE ({plan.in_window}) IS NOT TRUE", window.start, window.end
    )
    if beside:
        raise ContractError(
            f"{beside} rows of {plan.attempt.name} have a cursor {plan.rules.cursor} that is NULL"
            f" or outside {window}",
            hint="Append mode needs a cursor that is never NULL, and no lookback; use mode merge otherwise.",
            code="cursor_range",
        )


def require_known_runs(plan: Plan) -> None:
    """Rows of a run that the load table has forgotten would stay beside those that take their place."""
    window = plan.attempt.run.window
    strangers = plan.count(
        f"SELECT count(*) FROM {plan.target} WHERE {plan.in_window} AND {quoted(RUN)} IS NOT NULL"
        f" AND {quoted(RUN)} NOT IN (SELECT run_name FROM {plan.work.loads} WHERE kind = 'receipt')",
        window.start,
        window.end,
    )
    if strangers:
        raise ContractError(
            f"{strangers} rows of the target in {window} are of runs that have no receipt in SLUICEWAY_LOADS",
            hint="Restore that table; or remove those rows by hand, and a retry loads the window in their place.",
            code="unknown_runs",
        )
