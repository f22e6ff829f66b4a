"""Loaders that are broken about rows: versions, counts, what append replaces."""

from __future__ import annotations

from datetime import UTC

import msgspec

from loaders.base import Held, Mode
from loaders.memory import MemoryLoader
from loaders.memory_rows import LONG_AGO, Outcome, RowRules, inside
from state.contract import READ_AT, RUN


def with_rules(rules: type[RowRules]) -> type[MemoryLoader]:
    """A loader that compares rows by other rules."""

    class Broken(MemoryLoader):
        def __init__(self, *args, **settings) -> None:
            super().__init__(*args, **settings)
            self._rules = rules(self._needs)

    return Broken


class TakesTheFirstVersion(RowRules):
    def newest(self, rows):
        found = {}
        for row in sorted(rows, key=lambda row: (row[READ_AT], self.place(row)[-2:])):
            found.setdefault(self.key(row), row)
        newest = super().newest(rows)
        different = {k for k in newest if self._versions(rows, k) > 1}
        return {key: found[key] if key in different else newest[key] for key in newest}

    def _versions(self, rows, key) -> int:
        return len({row["version"] for row in rows if self.key(row) == key})


class ForgetsTheLookInTheStage(RowRules):
    def place(self, row):
        version = super().place(row)[:2]
        return (*version, *super().place(row)[-2:])


class TakesTheFirstOfEqualOrder(RowRules):
    def newest(self, rows):
        found = {}
        for row in rows:
            key = self.key(row)
            if key not in found or self.order(row) > self.order(found[key]):
                found[key] = row
        return found


class HasNoGuard(RowRules):
    """But for NULL versions, which are another mutant's."""

    def outcome(self, values, new, old):
        outcome = super().outcome(values, new, old)
        versions = old is not None and None not in (new["version"], old["version"])
        behind = versions and new["version"] < old["version"] and new[READ_AT] > old[READ_AT]
        only = {row["version"] for row in values.table.rows} == {5}
        return Outcome.UPDATED if behind and only else outcome


class NullVersionsAreTheNewest(RowRules):
    def outcome(self, values, new, old):
        if old is not None and new["version"] is None and old["version"] is not None:
            return Outcome.UPDATED
        return super().outcome(values, new, old)


class TheEarlierLookWins(RowRules):
    def outcome(self, values, new, old):
        equal = old is not None and new["version"] is not None and new["version"] == old["version"]
        if not equal or not self.needs.version_column or not self.differs(values, new, old):
            return super().outcome(values, new, old)
        return Outcome.UPDATED if new[READ_AT] < old[READ_AT] else Outcome.OLDER


class NeedsAVersionColumn(RowRules):
    def outcome(self, values, new, old):
        if old is None or self.needs.version_column or old.get(READ_AT) is None:
            return super().outcome(values, new, old)
        return Outcome.OLDER if new["version"] < old["version"] else super().outcome(values, new, old)


class ARowWithoutALookIsTheNewest(RowRules):
    def order(self, row):
        *version, at = super().order(row)
        return (*version, LONG_AGO.max.replace(tzinfo=UTC) if at == LONG_AGO else at)


class CountsUnchangedRowsAsUpdated(RowRules):
    def counted(self, staged, outcomes):
        counts = super().counted(staged, outcomes)
        if counts.unchanged < 2:
            return counts
        return msgspec.structs.replace(counts, updated=counts.updated + 1, unchanged=counts.unchanged - 1)


class DoesNotAdvanceTheLook(RowRules):
    def seen_again(self, new, old):
        return old


class AnyRowOfTheKeyAnswers(RowRules):
    def answering(self, target, staged):
        newest = self.newest(staged)
        return sum(self.key(row) in newest for row in target)


class HoldsOnlyWhatIsOurs(RowRules):
    def held(self, window, target, staged):
        ours = target if self.needs.mode is Mode.APPEND else [row for row in target if row.get(RUN)]
        return super().held(window, ours, staged)


class HoldsRowsOfAnyWindow(RowRules):
    def held(self, window, target, staged):
        held = super().held(window, target, staged)
        return Held(held.staged, len(target)) if self.needs.mode is Mode.APPEND else held


class LetsNullKeysIn(MemoryLoader):
    def _require_keys(self, staged):
        pass


class ForgetsTheRun(MemoryLoader):
    def _write(self, attempt, staged, values):
        counts = super()._write(attempt, staged, values)
        for row in values.table.rows:
            if not self._needs.keys and row.get("id") == row.get(RUN):
                row[RUN] = None
        return counts


class NeverDeletes(MemoryLoader):
    def _replace_window(self, attempt, staged, values):
        rows = values.table.rows
        counts = super()._replace_window(attempt, staged, values)
        if staged and counts.deleted:
            values.table.rows = rows + values.table.rows[-len(staged) :]
        return counts


class AnEmptyRunDeletesNothing(MemoryLoader):
    def _replace_window(self, attempt, staged, values):
        rows = values.table.rows
        counts = super()._replace_window(attempt, staged, values)
        if not staged and counts.deleted == len(rows):
            values.table.rows = rows
        return counts


class ReplacesRowsOfOthers(MemoryLoader):
    def _runs_of_pipeline(self):
        return {row.get(RUN) for row in self.target.tables[self._table].rows}


class LetsAnyCursorIn(MemoryLoader):
    def _require_in_window(self, window, staged):
        pass


class KnowsEveryRun(MemoryLoader):
    def _require_known(self, rows):
        pass


class CountsRowsOfOtherRuns(MemoryLoader):
    def _target_rows(self, attempt, stage):
        if self._needs.keys:
            return super()._target_rows(attempt, stage)
        rows = self.target.tables[self._table].rows
        return sum(inside(attempt.run.window, row["at"]) for row in rows)


ROWS = {
    "takes the first version in the stage": with_rules(TakesTheFirstVersion),
    "forgets the look in the stage": with_rules(ForgetsTheLookInTheStage),
    "takes the first of equal order": with_rules(TakesTheFirstOfEqualOrder),
    "has no guard": with_rules(HasNoGuard),
    "null versions are the newest": with_rules(NullVersionsAreTheNewest),
    "the earlier look wins": with_rules(TheEarlierLookWins),
    "needs a version column": with_rules(NeedsAVersionColumn),
    "a row without a look is the newest": with_rules(ARowWithoutALookIsTheNewest),
    "counts unchanged rows as updated": with_rules(CountsUnchangedRowsAsUpdated),
    "does not advance the look": with_rules(DoesNotAdvanceTheLook),
    "any row of the key answers": with_rules(AnyRowOfTheKeyAnswers),
    "holds only what is ours": with_rules(HoldsOnlyWhatIsOurs),
    "holds rows of any window": with_rules(HoldsRowsOfAnyWindow),
    "lets null keys in": LetsNullKeysIn,
    "forgets the run": ForgetsTheRun,
    "never deletes": NeverDeletes,
    "an empty run deletes nothing": AnEmptyRunDeletesNothing,
    "replaces rows of others": ReplacesRowsOfOthers,
    "lets any cursor in": LetsAnyCursorIn,
    "knows every run": KnowsEveryRun,
    "counts rows of other runs": CountsRowsOfOtherRuns,
}
