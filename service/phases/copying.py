"""COPY of a manifest into this attempt's stage table, and its record in the drive row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from loaders.base import Copied
from service.bench import Bench
from service.retry import retrying
from state.model import Phase, PhaseRecord, PhaseStatus, Run


async def copy_to_stage(bench: Bench) -> Copied:
    """Load the manifest's files into a fresh table of this attempt."""
    contract = await bench.contract()
    return await retrying(
        lambda: bench.loader.copy(bench.attempt, bench.run.manifest, contract),
        bench.retry,
        bench.on_retry(Phase.SOURCE_TO_STAGE_TRANSFER),
    )


def copy_figures(bench: Bench, copied: Copied) -> dict[str, Any]:
    """What the drive row keeps of a COPY."""
    aside = {"copied_quarantined": copied.quarantined} if copied.aside else {}
    return {"stage_table": copied.table, "stage_token": bench.attempt.token, "copied_rows": copied.rows, **aside}


def copied_of(figures: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Rows that a COPY reported, and those of them that are set aside, from what the drive row keeps."""
    return figures.get("copied_rows"), figures.get("copied_quarantined")


async def adopt_stage(bench: Bench, asserted: int) -> dict[str, Any]:
    """Take over what a user's function staged; `asserted` is its own count and stays marked as such."""
    contract, read_at = await bench.contract(), await bench.connector.now()
    copied = await bench.loader.adopt(bench.attempt, contract, bench.run.read_range, read_at)
    return {**copy_figures(bench, copied), "asserted_count": asserted}


def with_copy(run: Run, figures: dict[str, Any]) -> Run:
    """`run` with the figures of a repeated COPY in its transfer phase."""
    phase = Phase.SOURCE_TO_STAGE_TRANSFER
    record = run.phases.get(phase) or PhaseRecord(PhaseStatus.COMPLETED)
    record = msgspec.structs.replace(record, figures={**record.figures, **figures})
    return msgspec.structs.replace(run, phases={**run.phases, phase: record})
