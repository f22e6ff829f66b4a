"""Loaders that are broken about fence, receipts and the transaction; and all broken ones together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from loaders.memory import MemoryLoader
from state.errors import LeaseLost, ReceiptMismatch, TransientError, UnknownOutcome
from tests.contract.loader_mutants_aside import ASIDE
from tests.contract.loader_mutants_aside import NAME as QUARANTINE
from tests.contract.loader_mutants_retention import RETENTION
from tests.contract.loader_mutants_rows import ROWS
from tests.contract.loader_mutants_stage import STAGE
from tests.contract.loader_mutants_swap import SWAP
from tests.contract.loader_worlds import MemoryPlace


class RefusesARepeatedClaim(MemoryLoader):
    async def raise_fence(self, attempt):
        if attempt in self.target.claims:
            raise LeaseLost("claimed already")
        await super().raise_fence(attempt)


class LetsOlderAttemptsRaiseTheFence(MemoryLoader):
    async def raise_fence(self, attempt):
        self.target.claims.append(attempt)


class FencesOnlyOtherRuns(MemoryLoader):
    def _receipt(self, attempt, manifest, contract, *, stage, identity):
        claims = self.target.claims
        self.target.claims = [claim for claim in claims if claim.run != attempt.run]
        try:
            return super()._receipt(attempt, manifest, contract, stage=stage, identity=identity)
        finally:
            self.target.claims = claims


class FencesOnlyItsOwnRun(MemoryLoader):
    def _rivals(self, attempt):
        return [claim for claim in super()._rivals(attempt) if claim.run == attempt.run]


class IsFencedByOtherPipelines(MemoryLoader):
    def _rivals(self, attempt):
        return [claim for claim in self.target.claims if claim.run.window.overlaps(attempt.run.window)]


class IsFencedByOtherSpans(MemoryLoader):
    def _rivals(self, attempt):
        return [claim for claim in self.target.claims if claim.run.pipeline == attempt.run.pipeline]


class MergesAgain(MemoryLoader):
    def _require_same(self, stored, manifest, identity):
        super()._require_same(stored, manifest, identity)
        self.target.receipts = [pair for pair in self.target.receipts if pair[1] != stored]

    def _receipt(self, attempt, manifest, contract, *, stage, identity):
        receipt, new = super()._receipt(attempt, manifest, contract, stage=stage, identity=identity)
        if not new:
            return super()._receipt(attempt, manifest, contract, stage=stage, identity=identity)
        return receipt, new


class AnyManifestWillDo(MemoryLoader):
    def _require_same(self, stored, manifest, identity):
        if stored.manifest_digest == manifest.digest:
            super()._require_same(stored, manifest, identity)


class AnyTableWillDo(MemoryLoader):
    def _require_same(self, stored, manifest, identity):
        try:
            super()._require_same(stored, manifest, identity)
        except ReceiptMismatch:
            if stored.manifest_digest != manifest.digest:
                raise


class BelievesTheRunAboutTheTable(MemoryLoader):
    def _require_same(self, stored, manifest, identity):
        try:
            super()._require_same(stored, manifest, identity)
        except ReceiptMismatch:
            if stored.manifest_digest != manifest.digest or stored.target_identity != identity:
                raise


class DoesNotLookAtTheTarget(MemoryLoader):
    def _require_identity(self, identity):
        pass


class HasNoTransaction(MemoryLoader):
    def _roll_back(self, call, before):
        if call != "merge" or QUARANTINE in self.target.tables:
            super()._roll_back(call, before)


class AnswersThatAreLostAreFailures(MemoryLoader):
    def _commit(self, call):
        try:
            super()._commit(call)
        except UnknownOutcome as error:
            if call != "merge":
                raise
            raise TransientError(str(error)) from error


class RemembersOnlyTokensOfReceipts(MemoryLoader):
    def _highest_token(self, pipeline, run=None):
        if run is not None:
            return super()._highest_token(pipeline, run)
        tokens = [receipt.token for _, receipt in self.target.receipts if receipt.run.pipeline == pipeline]
        return max(tokens, default=super()._highest_token(pipeline))


class AnswersForThePipelineWhereARunIsAsked(MemoryLoader):
    async def loads(self, pipeline, run=None):
        return await super().loads(pipeline)


FENCE = {
    "refuses a repeated claim": RefusesARepeatedClaim,
    "lets older attempts raise the fence": LetsOlderAttemptsRaiseTheFence,
    "fences only other runs": FencesOnlyOtherRuns,
    "fences only its own run": FencesOnlyItsOwnRun,
    "is fenced by other pipelines": IsFencedByOtherPipelines,
    "is fenced by other spans": IsFencedByOtherSpans,
    "merges again": MergesAgain,
    "any manifest will do": AnyManifestWillDo,
    "any table will do": AnyTableWillDo,
    "believes the run about the table": BelievesTheRunAboutTheTable,
    "does not look at the target": DoesNotLookAtTheTarget,
    "has no transaction": HasNoTransaction,
    "answers that are lost are failures": AnswersThatAreLostAreFailures,
    "remembers only tokens of receipts": RemembersOnlyTokensOfReceipts,
    "answers for the pipeline where a run is asked": AnswersForThePipelineWhereARunIsAsked,
}


def maker(kind: type[MemoryLoader]) -> Callable[..., MemoryPlace]:
    return partial(MemoryPlace, kind=kind)


MUTANTS = {name: maker(kind) for name, kind in {**STAGE, **FENCE, **ROWS, **ASIDE, **RETENTION}.items()}
SNAPSHOT_MUTANTS = {name: maker(kind) for name, kind in SWAP.items()}
