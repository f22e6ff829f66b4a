"""What a worker or an operator asks of the drive table, as `state.rules` judges it."""

from __future__ import annotations

import msgspec

from state.model import Phase, Run, RunId, Window


class Wish(msgspec.Struct, frozen=True):
    """Which run a worker asks for."""

    run: RunId | None = None
    within: Window | None = None
    ordered: bool = False

    def names(self, run: Run) -> bool:
        """True if `run` is one of those that are asked for."""
        if self.run is not None and run.id != self.run:
            return False
        return self.within is None or self.within.covers(run.window)


class Again(msgspec.Struct, frozen=True):
    """Which run an operator wants done again, and from where."""

    run: RunId
    from_phase: Phase | None = None
    run_floor: int = 0
