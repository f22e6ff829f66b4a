"""Phase 5: count everything again, each count by its own query, and say what is proven.

The source's live count is information: rows may have come or moved since they were read. It turns PASSED
into DRIFT beyond the tolerance, and decides only where a user's function cut the proof.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from service.bench import Bench
from service.phases.outcome import Outcome, recorded
from service.proof import Proof, figures, judge, target_links, transfer_links, within_tolerance
from state.errors import AuditMismatch
from state.model import ValidationStatus


async def perform(bench: Bench) -> Outcome:
    run, staged = bench.run, recorded(bench.run)
    counts = await bench.loader.counts(bench.attempt, run.manifest, staged.get("stage_table"))
    asserted = staged.get("asserted_count")
    links = transfer_links(run.manifest, counts, staged.get("copied_rows"), asserted=asserted)
    if run.receipt is not None:
        links += target_links(run.receipt.counts, counts)
    proof = judge(links)
    source_live = await bench.connector.count(run.read_range)
    expected = asserted if asserted is not None else run.manifest.source_count
    proof = with_live_count(bench, proof, expected, source_live)
    proof.require()
    return Outcome(
        {
            "source_count": run.manifest.source_count,
            "source_count_window": window_count(bench),
            "source_count_live": source_live,
            "stage_count": counts.stage_rows,
            "target_count": counts.target_rows,
            **merge_figures(bench),
            **figures(proof),
        }
    )


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


def with_live_count(bench: Bench, proof: Proof, expected: int | None, live: int | None) -> Proof:
    """Fold the live count in: DRIFT beyond the tolerance; a mismatch where only an assertion stands against it."""
    if expected is None or live is None or proof.status is ValidationStatus.FAILED:
        return proof
    tolerance = bench.config.phases.audit.count_tolerances.source_to_stage_tolerance_percent
    if within_tolerance(expected, live, tolerance):
        return proof
    if proof.status is ValidationStatus.UNPROVEN:
        raise AuditMismatch(
            "source_count_live", expected, live, hint="The user function staged another number of rows."
        )
    return msgspec.structs.replace(proof, status=ValidationStatus.DRIFT)
