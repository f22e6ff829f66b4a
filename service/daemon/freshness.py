"""Whether a pipeline's target is as near to its source as its configuration wants."""

from __future__ import annotations

from datetime import datetime, timedelta

from service.events import Emit, FreshnessBack, FreshnessMissed
from service.settings import Windows


class Freshness:
    """Tells once when a pipeline falls behind, and once when it has caught up."""

    def __init__(self, pipeline: str, windows: Windows, emit: Emit) -> None:
        self._pipeline = pipeline
        self._start = windows.start
        self._allowed = windows.freshness_seconds
        self._emit = emit
        self._is_behind = False

    def look(self, now: datetime, loaded_until: datetime | None) -> None:
        """`now`: the source's clock; `loaded_until`: everything before it is loaded."""
        if self._allowed is None:
            return
        behind = now - (loaded_until or self._start)
        too_far = behind > timedelta(seconds=self._allowed)
        if too_far and not self._is_behind:
            self._emit(FreshnessMissed(self._pipeline, loaded_until, behind))
        elif self._is_behind and not too_far:
            self._emit(FreshnessBack(self._pipeline))
        self._is_behind = too_far
