"""Phase 5: count everything again, each count by its own query, and say what is proven.

The source's live count is information: rows may have come or moved since they were read. It turns PASSED
into DRIFT beyond the tolerance, and decides only where a user's function cut the proof.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from loaders.base import Held
from service.bench import Bench
from service.phases.copying import copied_of
from service.phases.outcome import Outcome, recorded
from service.phases.setting_aside import policy_figures
from service.proof import (
    ASSERTED,
    SWITCHED_OFF,
    Proof,
    figures,
    judge,
    links_of_another,
    target_links,
    transfer_links,
    within_tolerance,
)
from service.retry import retrying
from state.errors import AuditMismatch, ConfigurationError, PermanentError, RestartAttempt, TransientError
from state.model import Phase, ValidationStatus


async def perform(bench: Bench) -> Outcome:
    run, staged = bench.run, recorded(bench.run)
    table, asserted = staged.get("stage_table"), staged.get("asserted_count")
    counts = await bench.loader.counts(bench.attempt, run.manifest, table)
    links = transfer_links(run.manifest, counts, *copied_of(staged), asserted=asserted)
    if run.receipt is not None:
        links += target_links(run.receipt.counts, counts)
        target_count = counts.target_rows
    else:
        held = await merged_by_another(bench, table)
        links += links_of_another(ASSERTED if merge_is_theirs(bench) else SWITCHED_OFF, held)
        target_count = held.held if held else None
    proof = judge(links)
    source_live = await live_count(bench)
    expected = asserted if asserted is not None else run.manifest.source_count
    proof = with_live_count(bench, proof, expected, source_live, asserted=asserted is not None)
    proof.require()
    return Outcome(
        {
            "source_count": run.manifest.source_count,
            "source_count_window": window_count(bench),
            "source_count_live": source_live,
            "stage_count": counts.stage_rows,
            "target_count": target_count,
            **merge_figures(bench),
            **policy_figures(run.manifest),
            **figures(proof),
        }
    )


async def live_count(bench: Bench) -> int | None:
    """The source's count now, None if it cannot be had: as information it never fails a run that is merged."""
    try:
        asked = bench.asked(bench.run.read_range)
        return await retrying(lambda: bench.connector.count(asked), bench.retry, bench.on_retry(Phase.AUDIT))
    except (TransientError, RestartAttempt, PermanentError, ConfigurationError):
        return None


def merge_is_theirs(bench: Bench) -> bool:
    """A user's function merges."""
    settings = bench.config.phases.stage_to_target_transfer
    return settings.enabled and settings.function is not None


async def merged_by_another(bench: Bench, table: str | None) -> Held | None:
    """What the target holds after a user's merge, if that is as much as was staged, within the tolerance.

    None where nobody merged, or it cannot be counted. Raises `AuditMismatch` if too much is missing.
    """
    if not merge_is_theirs(bench) or table is None:
        return None
    held = await bench.loader.held(bench.attempt, table)
    tolerance = bench.config.phases.audit.count_tolerances.stage_to_target_tolerance_percent
    if held is not None and not within_tolerance(held.staged, held.held, tolerance):
        raise AuditMismatch(
            "target_rows",
            held.staged,
            held.held,
            hint="The user function brought another number of rows to the target than were staged.",
        )
    return held


def window_count(bench: Bench) -> int | None:
    """The snapshot count of the window alone, without the lookback."""
    counts = [part.source_count for part in bench.run.manifest.parts if part.range.start >= bench.run.window.start]
    return None if None in counts else sum(count for count in counts if count is not None)


def merge_figures(bench: Bench) -> Mapping[str, Any]:
    receipt = bench.run.receipt
    return (
        {}
        if receipt is None
        else {**msgspec.structs.asdict(receipt.counts), "duplicates": receipt.counts.duplicates}
    )


def with_live_count(
    bench: Bench, proof: Proof, expected: int | None, live: int | None, *, asserted: bool
) -> Proof:
    """Fold the live count in: DRIFT beyond the tolerance; a mismatch where only an assertion stands against it."""
    if expected is None or live is None or proof.status is ValidationStatus.FAILED:
        return proof
    tolerance = bench.config.phases.audit.count_tolerances.source_to_stage_tolerance_percent
    if within_tolerance(expected, live, tolerance):
        return proof
    if asserted:
        raise AuditMismatch(
            "source_count_live", expected, live, hint="The user function staged another number of rows."
        )
    if proof.status is ValidationStatus.UNPROVEN:
        return proof  # DRIFT would say that every link holds
    return msgspec.structs.replace(proof, status=ValidationStatus.DRIFT)
