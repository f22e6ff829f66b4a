"""Phase 7: the target's own clean-up. Nothing is built in yet: the user's function does it, or nobody."""

from __future__ import annotations

from service.bench import Bench
from service.phases.outcome import Outcome


async def perform(bench: Bench) -> Outcome:
    return Outcome({"rows_removed": 0, "pipeline": bench.run.id.pipeline})
