"""Loaders that are broken about mode snapshot: what is swapped away, and what is refused."""

from __future__ import annotations

import msgspec

from loaders.base import Mode
from loaders.memory import MemoryLoader
from state.contract import RUN
from state.errors import ContractError


class KeepsWhatIsNotStaged(MemoryLoader):
    def _replace_all(self, attempt, staged, values):
        before = [row for row in values.table.rows if staged]
        counts = super()._replace_all(attempt, staged, values)
        there = {row["id"] for row in values.table.rows}
        values.table.rows += [row for row in before if row["id"] not in there and row.get("at")]
        return counts


class WantsACursor(MemoryLoader):
    async def copy(self, attempt, manifest, contract):
        if contract.cursor is None:
            raise ContractError("there is no cursor")
        return await super().copy(attempt, manifest, contract)


class FencesOnlyOverlappingWindows(MemoryLoader):
    def _fenced_span(self, window):
        return window


class TheLastOneWins(MemoryLoader):
    def _newer(self, attempt):
        return None


class BelievesReceiptsOfADroppedTable(MemoryLoader):
    def _newer(self, attempt):
        receipts = self.target.receipts
        here = self._identity()
        self.target.receipts = [
            (name, msgspec.structs.replace(receipt, target_identity=here)) for name, receipt in receipts
        ]
        try:
            return super()._newer(attempt)
        finally:
            self.target.receipts = receipts


class Guarded(MemoryLoader):
    """Believes something else of what is there."""

    def _standing(self, attempt, staged, target):
        return msgspec.structs.replace(super()._standing(attempt, staged, target), **self.other(staged, target))

    def other(self, staged, target):
        raise NotImplementedError


class EmptiesUnasked(Guarded):
    def other(self, staged, target):
        return {} if staged or self._guard.allow_empty else {"target": 0}


class NeverEmpties(MemoryLoader):
    def _replace_all(self, attempt, staged, values):
        if not staged and self._guard.allow_empty:
            raise ContractError("the source is empty")
        return super()._replace_all(attempt, staged, values)


class ShrinksUnasked(Guarded):
    def other(self, staged, target):
        return {"target": len(staged)} if 0 < len(staged) < len(target) == 5 else {}


class TakesRowsOfNobody(Guarded):
    def other(self, staged, target):
        runs = self._runs_of_pipeline()
        return {"strangers": sum(row.get(RUN) not in {None, *runs} for row in target)}


class TakesRowsOfOtherPipelines(Guarded):
    def other(self, staged, target):
        return {"strangers": sum(row.get(RUN) is None for row in target)}


class TakesAKeyTwice(Guarded):
    def other(self, staged, target):
        return {"keys": None}


class TakesAKeyWithoutAValue(Guarded):
    def other(self, staged, target):
        return {"nulls": {}}


class SwapsWithoutATransaction(MemoryLoader):
    def _roll_back(self, call, before):
        if self._mode is not Mode.SNAPSHOT:
            super()._roll_back(call, before)


class AnswersForEveryRow(MemoryLoader):
    def _target_rows(self, attempt, stage):
        if self._mode is not Mode.SNAPSHOT:
            return super()._target_rows(attempt, stage)
        return len(self.target.tables[self._table].rows)


class AdoptsTheWindowAlone(MemoryLoader):
    async def adopt(self, attempt, contract, span, read_at):
        if self._mode is not Mode.SNAPSHOT:
            return await super().adopt(attempt, contract, span, read_at)
        users = self.target.tables[self._stage]
        users.rows = [row for row in users.rows if row["at"] is not None and row["at"] >= span.start]
        return await super().adopt(attempt, contract, span, read_at)


SWAP = {
    "keeps what is not staged": KeepsWhatIsNotStaged,
    "wants a cursor": WantsACursor,
    "fences only overlapping windows": FencesOnlyOverlappingWindows,
    "the last one wins": TheLastOneWins,
    "believes receipts of a dropped table": BelievesReceiptsOfADroppedTable,
    "empties unasked": EmptiesUnasked,
    "never empties": NeverEmpties,
    "shrinks unasked": ShrinksUnasked,
    "takes rows of nobody": TakesRowsOfNobody,
    "takes rows of other pipelines": TakesRowsOfOtherPipelines,
    "takes a key twice": TakesAKeyTwice,
    "takes a key without a value": TakesAKeyWithoutAValue,
    "swaps without a transaction": SwapsWithoutATransaction,
    "answers for every row": AnswersForEveryRow,
    "adopts the window alone": AdoptsTheWindowAlone,
}
