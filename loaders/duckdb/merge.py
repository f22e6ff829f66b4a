"""The one transaction that changes the target, in every mode: fence, receipt check, data, receipt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from loaders.base import Mode
from loaders.duckdb.append import replace_window
from loaders.duckdb.aside import make, quarantine
from loaders.duckdb.ledger import transact
from loaders.duckdb.names import Table
from loaders.duckdb.plan import Plan, plan_for
from loaders.duckdb.schema import columns, identity_of
from loaders.duckdb.swap import replace_all
from loaders.duckdb.upsert import make_newest, upsert
from loaders.duckdb.work import Work
from state.contract import Contract
from state.errors import ReceiptMismatch, RestartAttempt
from state.model import Attempt, Manifest, MergeCounts, Receipt

WRITERS: Mapping[Mode, Callable[[Plan], MergeCounts]] = {
    Mode.MERGE: upsert,
    Mode.APPEND: replace_window,
    Mode.SNAPSHOT: replace_all,
}
"""How the staged rows enter the target, inside the transaction."""


@dataclass(frozen=True)
class Merge:
    """One merge. `identity`: what the run found the target to be; `found`: what it is now, None if it is gone."""

    work: Work
    attempt: Attempt
    manifest: Manifest
    stage: Table
    identity: str
    found: str | None

    def receipt(self, plan: Plan | None) -> tuple[Receipt, bool]:
        """The run's receipt and whether it is new; in a transaction. No plan: target or stage table are gone."""
        ledger, attempt = self.work.ledger, self.attempt
        with self.work.port("loader.merge.fence"):
            ledger.touch_fence()
        ledger.require_highest(attempt)
        stored = ledger.receipt_of(attempt.run)
        if stored is not None:
            self._require_same(stored)
            return stored, False
        if self.found != self.identity:
            raise self._mismatch("the target is not the table any more that this run was prepared for")
        if plan is None:
            raise RestartAttempt(
                f"the stage table of {attempt.name} is gone",
                hint="Its rows are staged again.",
                code="stage_table_missing",
            )
        counts = WRITERS[self.work.settings.mode](plan)
        quarantined = quarantine(self.work, attempt, self.manifest, self.stage, plan.at)
        counts = msgspec.structs.replace(counts, quarantined=quarantined)
        receipt = Receipt(attempt.run, attempt.token, self.manifest.digest, self.identity, counts, plan.at)
        with self.work.port("loader.merge.receipt"):
            ledger.store(attempt, receipt)
        return receipt, True

    def _require_same(self, stored: Receipt) -> None:
        """Raises `ReceiptMismatch` unless the receipt is of these data in the table as it is now."""
        if stored.manifest_digest != self.manifest.digest:
            raise self._mismatch("the target holds a receipt of this run for other data")
        if self.found != self.identity or stored.target_identity != self.identity:
            raise self._mismatch("the target holds a receipt of this run for another table")

    def _mismatch(self, what: str) -> ReceiptMismatch:
        return ReceiptMismatch(
            f"{self.attempt.name}: {what}",
            hint="Nothing was written. Find out who replaced the table; a retry loads the window again, as a new"
            " run.",
            code="receipt",
        )


def merge(
    work: Work, attempt: Attempt, manifest: Manifest, *, contract: Contract, stage: Table, identity: str
) -> Receipt:
    """Bring the stage table into the target, once; see `loaders.base.Loader.merge`."""
    have = columns(work.session, work.names.target)
    found = identity_of(have)
    plan = None
    if found == identity and columns(work.session, stage):
        plan = plan_for(work, have, contract, stage=stage, attempt=attempt)
        if work.merging:
            make_newest(plan)
    if manifest.side_chunks:
        make(work)
    job = Merge(work, attempt, manifest, stage, identity, found)
    return transact(work.session, "merge", work.port, lambda: job.receipt(plan))
