"""Phase 7: old rows leave the target: never all, at most so many at once, and by default they are only counted."""

from __future__ import annotations

from service.bench import Bench
from service.events import TargetCleaned
from service.phases.outcome import Outcome, repeatable
from state.model import show_instant


async def perform(bench: Bench) -> Outcome:
    """Rows older than the window's end less the retention: a run over an old window removes less, never more."""
    settings = bench.config.phases.target_cleaning
    column = settings.column or bench.config.source_system.cursor
    if settings.age is None or column is None:  # tried on its own, with nothing configured
        return Outcome({"rows_removed": 0})
    before = bench.run.window.end - settings.age
    limits = None if settings.dry_run else settings.limits
    with repeatable():
        found = await bench.loader.retire(bench.attempt, column, before, limits)
    refusal = settings.limits.refusal(found) if settings.dry_run else None
    figures = {
        "rows_removed": found.deleted,
        "rows_older": found.matching,
        "rows_total": found.total,
        "older_than": show_instant(before),
        "column": column,
        "dry_run": settings.dry_run,
        "refused": refusal.message if refusal else None,
    }
    if found.matching:
        bench.emit(TargetCleaned(bench.run, found, before, settings.dry_run))
    return Outcome(figures)
