"""Phase 2: source and target are as declared, and the read range is cut into parts.

A continuation keeps the parts that earlier attempts read, as long as the contract is still the same.
"""

from __future__ import annotations

from service.bench import Bench
from service.phases.outcome import Outcome
from state.model import Manifest, Part, Window


async def perform(bench: Bench) -> Outcome:
    contract = await bench.contract()
    identity = await bench.loader.prepare(contract)
    manifest = bench.run.manifest
    kept = bool(manifest.parts) and manifest.schema_digest == contract.digest
    if not kept:
        manifest = Manifest(await cut(bench), contract.digest)
    figures = {
        "target_identity": identity,
        "columns": len(contract.schema),
        "parts": len(manifest.parts),
        "parts_read_before": sum(part.is_read for part in manifest.parts),
        "continuation": kept,
    }
    return Outcome(figures, manifest=manifest)


async def cut(bench: Bench) -> tuple[Part, ...]:
    """The read range in parts. None lies across the window's start, so that both ranges have their own count.

    A table that is read whole is one part: it is as it is at one instant.
    """
    run, size = bench.run, bench.config.phases.source_to_stage_transfer.rows_per_part
    if bench.config.whole:
        return (Part(run.window),)
    spans = [run.window]
    if run.read_start < run.window.start:
        spans.insert(0, Window(run.read_start, run.window.start))
    parts: list[Part] = []
    for span in spans:
        parts.extend(Part(piece) for piece in await bench.connector.plan(span, size))
    return tuple(parts)
