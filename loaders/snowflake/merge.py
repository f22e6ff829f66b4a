"""The one transaction that changes the target, in every mode: fence, receipt check, data, receipt."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from loaders.base import Mode
from loaders.snowflake.append import replace_window
from loaders.snowflake.aside import make, quarantine
from loaders.snowflake.evolving import require_table
from loaders.snowflake.plan import Plan, plan_for
from loaders.snowflake.schema import Table, is_table, is_table_values, look_with, made_sql, require_settled
from loaders.snowflake.swap import replace_all
from loaders.snowflake.upsert import upsert
from loaders.snowflake.work import Work
from state.contract import Contract
from state.errors import ReceiptMismatch, RestartAttempt, TransientError, UnknownOutcome
from state.model import Attempt, Manifest, MergeCounts, Receipt
from state.port import Port
from state.snowflake.names import Name

WRITERS: Mapping[Mode, Callable[[Plan], Awaitable[MergeCounts]]] = {
    Mode.MERGE: upsert,
    Mode.APPEND: replace_window,
    Mode.SNAPSHOT: replace_all,
}
"""How the staged rows enter the target, inside the transaction."""


@dataclass(frozen=True)
class Merge:
    """One merge. `identity`: what the run found the target to be."""

    work: Work
    attempt: Attempt
    manifest: Manifest
    contract: Contract
    stage: Name
    identity: str

    async def receipt(self) -> Receipt:
        """Bring the stage table into the target, once; see `loaders.base.Loader.merge`."""
        if self.work.merging and self.stage == self.work.empty and not self.manifest.chunks:
            written = await self._empty()
            if written is not None:
                return written
        return await self._transaction()

    async def _empty(self) -> Receipt | None:
        """The receipt of a run without rows, in the one statement that it takes; None if it may not be written."""
        work, receipt = self.work, self._receipt(MergeCounts(0, 0, 0), datetime.now(UTC))
        set_aside = work.names.quarantine
        when = (
            f"NOT EXISTS (SELECT 1 FROM {self.stage.sql}) AND NOT EXISTS ({made_sql(set_aside, '1')})"
            f" AND {is_table(work.names.target)}"
        )
        async with answered(work.port, "loader.merge.empty"):
            written = await work.ledger.add_receipt(
                self.attempt, receipt, when, *set_aside.parts[1:], *self._identity()
            )
        return receipt if written else None

    async def _transaction(self) -> Receipt:
        session, port = self.work.session, self.work.port
        if self.manifest.side_chunks:
            await make(self.work)
        with port("loader.merge.begin"):
            await session.rows("BEGIN")
        with port("loader.merge.fence"):
            mark = await self.work.ledger.take_fence()
        stored = await self.work.ledger.standing(self.attempt)
        names = self.work.names
        have, (staged, aside) = await look_with(session, names.target, self.stage, names.quarantine)
        if stored is not None:
            self._require_same(stored, have)
            await session.rows("ROLLBACK")
            return stored
        receipt = await self._merged(have, mark, staged=staged, aside=aside)
        async with answered(port, "loader.merge.commit"):
            await session.rows("COMMIT")
        await self._require_committed()
        return receipt

    async def _require_committed(self) -> None:
        """COMMIT also succeeds where Snowflake has ended the transaction before, and then commits nothing."""
        async with answered(self.work.port, "loader.merge.settle"):
            stored = await self.work.ledger.stored(self.attempt)
        if not stored:
            raise TransientError(
                f"Snowflake ended the transaction of {self.attempt.name} before it was committed",
                hint="Nothing was written, and it is merged again; somebody aborted it, or it was idle too long.",
                code="transaction_ended",
            )

    async def _merged(self, have: Table | None, mark: str, *, staged: bool, aside: bool) -> Receipt:
        """Data and receipt, in the transaction that is open. `staged`: the stage table is there, `aside`: the
        quarantine table is."""
        work = self.work
        if have is None or have.identity != self.identity:
            raise self._mismatch("the target is not the table any more that this run was prepared for")
        if not staged:
            raise RestartAttempt(
                f"the stage table of {self.attempt.name} is gone",
                hint="Its rows are staged again.",
                code="stage_table_missing",
            )
        require_table(have, work.names.target)
        require_settled(have, work.names.target)
        plan = plan_for(work, have, self.contract, stage=self.stage, attempt=self.attempt, mark=mark)
        counts = await WRITERS[work.settings.mode](plan)
        self._require_all(counts)
        if aside:
            quarantined = await quarantine(
                work, self.attempt, self.manifest, stage=self.stage, mark=mark, at=plan.at
            )
            counts = msgspec.structs.replace(counts, quarantined=quarantined)
        receipt = self._receipt(counts, plan.at)
        with work.port("loader.merge.receipt"):
            written = await work.ledger.store(
                self.attempt,
                receipt,
                f"{is_table(work.names.target)} AND {work.ledger.holding}",
                *self._identity(),
                mark,
            )
        if not written:
            raise RestartAttempt(
                f"the target {work.names.target} was replaced, or Snowflake ended the transaction, while"
                f" {self.attempt.name} was merged",
                hint="Nothing was written; the next attempt looks again.",
                code="target_replaced",
            )
        return receipt

    def _require_all(self, counts: MergeCounts) -> None:
        """The gate counted in a session of its own: what came to the stage table since is not of this manifest."""
        if self.manifest.chunks and counts.stage_rows != self.manifest.rows:
            raise RestartAttempt(
                f"the stage table of {self.attempt.name} has {counts.stage_rows} rows now, its files have"
                f" {self.manifest.rows}",
                hint="Nothing was written; its rows are staged again, in a table of the next attempt.",
                code="stage_rows",
            )

    def _receipt(self, counts: MergeCounts, at: datetime) -> Receipt:
        return Receipt(self.attempt.run, self.attempt.token, self.manifest.digest, self.identity, counts, at)

    def _identity(self) -> tuple[str, ...]:
        return is_table_values(self.work.names.target, self.identity)

    def _require_same(self, stored: Receipt, have: Table | None) -> None:
        """Raises `ReceiptMismatch` unless the receipt is of these data in the table as it is now."""
        if stored.manifest_digest != self.manifest.digest:
            raise self._mismatch("the target holds a receipt of this run for other data")
        if have is None or not have.identity == self.identity == stored.target_identity:
            raise self._mismatch("the target holds a receipt of this run for another table")

    def _mismatch(self, what: str) -> ReceiptMismatch:
        return ReceiptMismatch(
            f"{self.attempt.name}: {what}",
            hint="Nothing was written. Find out who replaced the table; a retry loads the window again, as a new"
            " run.",
            code="receipt",
        )


@asynccontextmanager
async def answered(port: Port, effect: str) -> AsyncIterator[None]:
    """What is sent in here commits: whatever hides its answer leaves the outcome unknown."""
    sent = False
    try:
        with port(effect):
            sent = True
            yield
    except TransientError as error:
        if not sent:
            raise
        raise UnknownOutcome(
            f"the answer to COMMIT was lost: {error}",
            hint="The next attempt raises the fence and then reads the receipt: nothing is loaded twice.",
            code="commit",
        ) from error
