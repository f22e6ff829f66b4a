"""What a phase that ended says in numbers: rows by the station that they came to, the verdict, late rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from state.model import Manifest, Phase, Run


def of(run: Run) -> str:
    """The pipeline of a run."""
    return run.id.pipeline


def rows_of(run: Run, phase: Phase) -> Mapping[str, float]:
    """Rows that came to each station in a phase that ended."""
    if phase is Phase.SOURCE_TO_STAGE_TRANSFER:
        return {"written": run.manifest.rows, "staged": number(run, phase, "copied_rows") or 0}
    if phase is Phase.STAGE_TO_TARGET_TRANSFER and run.receipt is not None:
        counts = run.receipt.counts
        return {
            "loaded": counts.stage_rows,
            "inserted": counts.inserted,
            "updated": counts.updated,
            "unchanged": counts.unchanged,
            "discarded": counts.duplicates + counts.older,
            "replaced": counts.deleted,
        }
    if phase is Phase.TARGET_CLEANING:
        return {"removed": number(run, phase, "rows_removed") or 0}
    return {}


def verdict_of(run: Run) -> str:
    """`validation_status` of a run's audit, in lower case."""
    return str(_figures(run, Phase.AUDIT).get("validation_status")).lower()


def late_rows(run: Run) -> float:
    """Rows that the source has now, at the audit, and had not when the range was read; below 0 if some are gone.

    0 where the source offers no count.
    """
    then, now = (number(run, Phase.AUDIT, name) for name in ("source_count", "source_count_live"))
    return 0 if then is None or now is None else now - then


def touched(manifest: Manifest) -> dict[str, int]:
    """Values that a declared policy changed, by column."""
    total: Counter[str] = Counter()
    for part in manifest.parts:
        total.update(part.touched)
    return dict(total)


def number(run: Run, phase: Phase, name: str) -> float | None:
    """A figure of a phase's column; None if it is no number: a user's function may have put anything there."""
    figure = _figures(run, phase).get(name)
    return figure if isinstance(figure, int | float) and not isinstance(figure, bool) else None


def _figures(run: Run, phase: Phase) -> Mapping[str, Any]:
    record = run.phases.get(phase)
    return record.figures if record is not None else {}
