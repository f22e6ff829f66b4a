"""Phase 4: gate on every count so far, then merge with fence and receipt.

The receipt is read first: a merge that committed and whose answer was lost is taken over, not repeated.
"""

from __future__ import annotations

import msgspec

from service.bench import Bench
from service.events import RowsSetAside
from service.phases.copying import copied_of, copy_figures, copy_to_stage, with_copy
from service.phases.outcome import Outcome, recorded
from service.proof import judge, transfer_links
from state.errors import ReceiptMismatch
from state.model import Phase, Receipt


async def perform(bench: Bench) -> Outcome:
    run = bench.run
    identity = await target_identity(bench)
    receipt = await earlier_receipt(bench, identity)
    taken_over = receipt is not None
    if receipt is None:
        table = await proven_stage_table(bench)
        bench.lease.require()
        receipt = await bench.loader.merge(bench.attempt, run.manifest, await bench.contract(), table, identity)
    if receipt.counts.quarantined:
        bench.emit(RowsSetAside(run, receipt.counts.quarantined, receipt.counts.stage_rows))
    counts = {**msgspec.structs.asdict(receipt.counts), "duplicates": receipt.counts.duplicates}
    return Outcome({**counts, "receipt_token": receipt.token, "taken_over": taken_over}, receipt=receipt)


async def target_identity(bench: Bench) -> str:
    """As pre-validation found it; where that is switched off or replaced, the target is prepared here."""
    found = recorded(bench.run, Phase.PRE_VALIDATION).get("target_identity")
    return str(found) if found else await bench.loader.prepare(await bench.contract())


async def earlier_receipt(bench: Bench, identity: str) -> Receipt | None:
    """This run's receipt, if an earlier attempt committed it. Raises `ReceiptMismatch` if it is of other data."""
    loads = await bench.loader.loads(bench.run.id.pipeline, bench.run.id)
    if not loads.receipts:
        return None
    receipt = loads.receipts[0]
    same_table = receipt.target_identity == identity == loads.target_identity
    if receipt.manifest_digest == bench.run.manifest.digest and same_table:
        return receipt
    what = "other data" if receipt.manifest_digest != bench.run.manifest.digest else "another table"
    raise ReceiptMismatch(
        f"the target holds a receipt of {bench.run.name} for {what}",
        hint="Nothing was written. Find out who replaced the table; a retry loads the window again as a new run.",
        code="receipt",
    )


async def proven_stage_table(bench: Bench) -> str:
    """A stage table whose counts pass the gate; on any doubt about an older attempt's, a fresh one."""
    figures = recorded(bench.run)
    table, asserted = figures["stage_table"], figures.get("asserted_count")
    counts = await bench.loader.counts(bench.attempt, bench.run.manifest, table)
    proof = judge(transfer_links(bench.run.manifest, counts, *copied_of(figures), asserted=asserted))
    if proof.broken is not None and figures.get("stage_token") != bench.attempt.token and asserted is None:
        copy = await copy_to_stage(bench)
        counts = await bench.loader.counts(bench.attempt, bench.run.manifest, copy.table)
        proof = judge(transfer_links(bench.run.manifest, counts, copy.rows, copy.quarantined, asserted=None))
        table, again = copy.table, copy_figures(bench, copy)
        await bench.lease.checkpoint(lambda run: with_copy(run, again))
    proof.require()
    return str(table)
