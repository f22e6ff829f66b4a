"""Fence, receipts and the transaction of the twin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from loaders.base import Mode
from loaders.memory_rows import MemoryTarget
from loaders.swap import fenced_span
from state.errors import LeaseLost, ReceiptMismatch, TransientError, UnknownOutcome
from state.model import Attempt, Manifest, Receipt, RunId, Window
from state.port import Port


class MemoryLedger:
    """What the target remembers of claims and receipts, and how a change of it is all or nothing."""

    def __init__(self, target: MemoryTarget, table: str, mode: Mode, port: Port) -> None:
        self.target = target
        self._mode = mode
        self._table = table
        self._port = port

    def _require_highest(self, attempt: Attempt) -> None:
        highest = max((claim.token for claim in self._rivals(attempt)), default=0)
        if highest > attempt.token:
            raise LeaseLost(
                f"attempt {attempt.token} of {attempt.name} is fenced: attempt {highest} has taken its span over",
                code="fenced",
            )

    def _rivals(self, attempt: Attempt) -> list[Attempt]:
        """Claims that count against an attempt."""
        run = attempt.run
        return [
            claim
            for claim in self.target.claims
            if claim.run.pipeline == run.pipeline and claim.run.window.overlaps(self._fenced_span(run.window))
        ]

    def _fenced_span(self, window: Window) -> Window:
        return fenced_span(self._mode, window)

    def _newer(self, attempt: Attempt) -> str | None:
        """A run over a later window that loaded this very table."""
        later = [
            (receipt.run.window.end, name)
            for name, receipt in self.target.receipts
            if receipt.run.pipeline == attempt.run.pipeline
            and receipt.target_identity == self._identity()
            and receipt.run.window.end > attempt.run.window.end
        ]
        return max(later)[1] if later else None

    @contextmanager
    def _transaction(self, call: str) -> Iterator[None]:
        before = self.target.saved()
        try:
            yield
        except UnknownOutcome:
            raise
        except BaseException:
            self._roll_back(call, before)
            raise

    def _commit(self, call: str) -> None:
        sent = False
        try:
            with self._port(f"loader.{call}.commit"):
                sent = True
        except TransientError as error:
            if not sent:
                raise
            raise UnknownOutcome(f"the answer to COMMIT was lost: {error}", code="commit") from error

    def _roll_back(self, _call: str, before: MemoryTarget) -> None:
        self.target.restore(before)

    def _stored(self, run: RunId) -> Receipt | None:
        return next((receipt for _, receipt in self.target.receipts if receipt.run == run), None)

    def _require_same(self, stored: Receipt, manifest: Manifest, identity: str) -> None:
        if stored.manifest_digest != manifest.digest:
            raise ReceiptMismatch("the target holds a receipt of this run for other data", code="receipt")
        if stored.target_identity != identity or self._identity() != identity:
            raise ReceiptMismatch("the target holds a receipt of this run for another table", code="receipt")

    def _require_identity(self, identity: str) -> None:
        if self._identity() != identity:
            raise ReceiptMismatch("the target is not the table that this run was prepared for", code="receipt")

    def _identity(self) -> str | None:
        table = self.target.tables.get(self._table)
        return table.identity if table is not None and table.identity else None

    def _highest_token(self, pipeline: str, run: RunId | None = None) -> int:
        claims = [claim for claim in self.target.claims if claim.run.pipeline == pipeline]
        return max((claim.token for claim in claims if run in (None, claim.run)), default=0)
