"""Loaders that are broken about rows which a policy sets aside."""

from __future__ import annotations

import msgspec

from loaders.aside import TABLE
from loaders.base import Mode
from loaders.memory import MemoryLoader
from loaders.memory_rows import MemoryTable, inside
from state.contract import QUARANTINED
from state.model import Manifest, Part

NAME = "events" + TABLE


class ForgetsWhy(MemoryLoader):
    def _quarantine(self, attempt, manifest, stage, at):
        come = super()._quarantine(attempt, manifest, stage, at)
        for row in self.target.tables[NAME].rows if come else ():
            row["reason"] = ""
        return come


class AlwaysMakesTheTable(MemoryLoader):
    def _quarantine(self, attempt, manifest, stage, at):
        self.target.tables.setdefault(NAME, MemoryTable(at))
        return super()._quarantine(attempt, manifest, stage, at)


class AddsToWhatStandsThere(MemoryLoader):
    def _quarantine(self, attempt, manifest, stage, at):
        stands = self.target.tables.get(NAME, MemoryTable(at)).rows
        come = super()._quarantine(attempt, manifest, stage, at)
        if come and self._mode is not Mode.SNAPSHOT:
            table = self.target.tables[NAME]
            table.rows = table.rows + [row for row in stands if row not in table.rows]
        return come


class KeepsWhatWasDeleted(MemoryLoader):
    def _quarantine(self, attempt, manifest, stage, at):
        return super()._quarantine(attempt, manifest, stage, at) if manifest.files else 0


class TellsOtherSpansAnew(MemoryLoader):
    def _is_read_again(self, row, attempt, span):
        mine = row["pipeline"] == attempt.run.pipeline and row["row_cursor"] is not None
        return mine or super()._is_read_again(row, attempt, span)


class TellsOnlyItsWindowAnew(MemoryLoader):
    def _is_read_again(self, row, attempt, span):
        if self._mode is Mode.SNAPSHOT:
            span = attempt.run.window
        return super()._is_read_again(row, attempt, span)


class TellsOtherPipelinesAnew(MemoryLoader):
    def _is_read_again(self, row, attempt, span):
        if row["row_cursor"] is None:
            return super()._is_read_again(row, attempt, span)
        return inside(span, row["row_cursor"])


class KeepsRowsWithoutCursor(MemoryLoader):
    def _is_read_again(self, row, attempt, span):
        return row["row_cursor"] is not None and super()._is_read_again(row, attempt, span)


class SetsAsideOutsideTheTransaction(MemoryLoader):
    def _roll_back(self, call, before):
        written = self.target.tables.get(NAME)
        super()._roll_back(call, before)
        if written is not None:
            self.target.tables[NAME] = written


class PassesOverSideFilesThatAreGone(MemoryLoader):
    def _read(self, chunks, contract):
        if contract.schema == QUARANTINED:
            chunks = [chunk for chunk in chunks if chunk.name in self.target.files]
        return super()._read(chunks, contract)


class DoesNotCountSideRowsAgain(MemoryLoader):
    def _require_side(self, attempt, manifest, staged):
        pass


class CountsSideRowsByTheManifest(MemoryLoader):
    async def counts(self, attempt, manifest, stage_table):
        counts = await super().counts(attempt, manifest, stage_table)
        return msgspec.structs.replace(counts, staged_aside=manifest.quarantined, stage_aside=manifest.quarantined)


class SeesNoLaterRun(MemoryLoader):
    def _merged_since(self, attempt):
        return False


class ArchivesOnlyWhatIsLoaded(MemoryLoader):
    async def _archive(self, chunks, place):
        await super()._archive([chunk for chunk in chunks if "aside" not in chunk.name], place)


class SweepsSideFilesThatAreNamed(MemoryLoader):
    async def sweep(self, runs, keep, keep_tables, older_than):
        kept = [Manifest(tuple(Part(part.range, part.chunks) for part in one.parts)) for one in keep]
        return await super().sweep(runs, kept, keep_tables, older_than)


ASIDE = {
    "forgets why": ForgetsWhy,
    "always makes the quarantine table": AlwaysMakesTheTable,
    "adds to what stands there": AddsToWhatStandsThere,
    "keeps what was deleted": KeepsWhatWasDeleted,
    "tells other spans anew": TellsOtherSpansAnew,
    "tells only its window anew": TellsOnlyItsWindowAnew,
    "tells other pipelines anew": TellsOtherPipelinesAnew,
    "keeps rows without cursor": KeepsRowsWithoutCursor,
    "sets aside outside the transaction": SetsAsideOutsideTheTransaction,
    "passes over side files that are gone": PassesOverSideFilesThatAreGone,
    "does not count side rows again": DoesNotCountSideRowsAgain,
    "counts side rows by the manifest": CountsSideRowsByTheManifest,
    "sees no later run": SeesNoLaterRun,
    "archives only what is loaded": ArchivesOnlyWhatIsLoaded,
    "sweeps side files that are named": SweepsSideFilesThatAreNamed,
}
