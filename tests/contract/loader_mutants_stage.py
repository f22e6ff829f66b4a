"""Loaders that are broken about their stage and their columns."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from loaders.base import Staged
from loaders.memory import MemoryLoader
from loaders.memory_files import rows_told
from loaders.memory_rows import MemoryTable, reconcile
from state.contract import RUN, is_json
from state.errors import ConfigurationError, ContractError, RestartAttempt


class CheckMakesTheTable(MemoryLoader):
    async def check(self):
        self.target.tables.setdefault(self._table, MemoryTable(self._clock()))
        return await super().check()


class AnEmptyTableGetsANewIdentityEachTime(MemoryLoader):
    def _identify(self, table):
        if not table.rows:
            table.identity = ""
        return super()._identify(table)


class RemembersADroppedTable(MemoryLoader):
    last = None

    async def prepare(self, contract):
        self.last = await super().prepare(contract)
        return self.last

    async def loads(self, pipeline, run=None):
        found = await super().loads(pipeline, run)
        return msgspec.structs.replace(found, target_identity=found.target_identity or self.last)


class IgnoresNewColumns(MemoryLoader):
    def _reconcile(self, table, field):
        if field.name != "extra":
            super()._reconcile(table, field)


class EmptiesWhatTheSourceLost(MemoryLoader):
    def _write(self, attempt, staged, values):
        counts = super()._write(attempt, staged, values)
        for row in values.table.rows:
            if "value" not in values.contract.schema.names and row[RUN] == attempt.name:
                row["value"] = None
        return counts


class EmptiesColumnsOfOthers(MemoryLoader):
    def _write(self, attempt, staged, values):
        counts = super()._write(attempt, staged, values)
        for row in values.table.rows:
            if "note" in row and row[RUN] == attempt.name and counts.updated:
                row["note"] = None
        return counts


class KeysMayBeJson(MemoryLoader):
    async def prepare(self, contract):
        try:
            return await super().prepare(contract)
        except ConfigurationError as error:
            if error.code != "column_type":
                raise
            return ""


class TakesAnyType(MemoryLoader):
    def _reconcile(self, table, field):
        try:
            super()._reconcile(table, field)
        except ContractError:
            if field.name in self._needs.steady:
                raise


class TextStaysANumber(MemoryLoader):
    def _reconcile(self, table, field):
        rows = table.rows
        super()._reconcile(table, field)
        if self._policy == "text":
            table.rows = rows


class JsonIsNotQuoted(MemoryLoader):
    def _reconcile(self, table, field):
        rows = table.rows
        super()._reconcile(table, field)
        if self._policy == "json":
            table.rows = rows


class KeysFollowThePolicy(MemoryLoader):
    def _reconcile(self, table, field):
        reconcile(table, field, self._policy, ())


class DoesNotLookForNamedColumns(MemoryLoader):
    async def prepare(self, contract):
        try:
            return await super().prepare(contract)
        except ConfigurationError as error:
            if error.code != "missing_column":
                raise
            return ""


class TakesAnyName(MemoryLoader):
    async def prepare(self, contract):
        try:
            return await super().prepare(contract)
        except ContractError as error:
            if error.code not in ("reserved_name", "name_collision"):
                raise
            return ""


class TidiesJson(MemoryLoader):
    def _fresh(self, attempt, contract, rows):
        for field in contract.schema:
            for row in rows if is_json(field) else ():
                row[field.name] = json.dumps(json.loads(row[field.name]))
        return super()._fresh(attempt, contract, rows)


class PutsOnlyOnce(MemoryLoader):
    async def put(self, attempt, chunk, path):
        if chunk.name in self.target.files:
            return Staged(chunk.name, 0, 0)
        return await super().put(attempt, chunk, path)


class PutsAnything(MemoryLoader):
    async def put(self, attempt, chunk, path):
        data = path.read_bytes()
        self.target.files[chunk.name] = (data, self._clock())
        return Staged(chunk.name, len(data), chunk.rows)


class CopiesWhatLiesThere(MemoryLoader):
    async def copy(self, attempt, manifest, contract):
        copied = await super().copy(attempt, manifest, contract)
        stage = self.target.tables[copied.table].rows
        named = {chunk.name for chunk in manifest.chunks}
        for name in self._files_of([attempt.run]) if len(named) == 2 else ():
            if name not in named and self._needs.version_column:
                data = self.target.files[name][0]
                stage += [{**stage[0], "id": "stray"} for _ in range(rows_told(data))]
        return copied


class NothingIsNotCopied(MemoryLoader):
    async def copy(self, attempt, manifest, contract):
        copied = await super().copy(attempt, manifest, contract)
        if not manifest.files and self._needs.keys and attempt.token == 1:
            del self.target.tables[copied.table]
        return copied


class PassesOverMissingFiles(MemoryLoader):
    def _chunks(self, manifest):
        return [chunk for chunk in manifest.chunks if chunk.name in self.target.files]


class DoesNotHashAgain(MemoryLoader):
    def _staged(self, chunk):
        if chunk.name not in self.target.files:
            raise RestartAttempt(f"the staged file {chunk.name} is gone")
        return self.target.files[chunk.name][0]


class TrustsTheManifestsRows(MemoryLoader):
    async def copy(self, attempt, manifest, contract):
        try:
            return await super().copy(attempt, manifest, contract)
        except RestartAttempt as error:
            if error.code != "stage_file_rows":
                raise
            return None


class AddsToTheTableThatIsThere(MemoryLoader):
    def _fresh(self, attempt, contract, rows):
        name = f"{self._stage}_{attempt.run.hash}_A{attempt.token}"
        there = self.target.tables.get(name)
        return super()._fresh(attempt, contract, (there.rows if there else []) + rows)


class AdoptsEverything(MemoryLoader):
    async def adopt(self, attempt, contract, span, read_at):
        wide = type(span)(span.start, span.end.replace(year=span.end.year + 1))
        return await super().adopt(attempt, contract, wide, read_at)


class AdoptsWithoutLooking(MemoryLoader):
    async def adopt(self, attempt, contract, span, read_at):
        try:
            return await super().adopt(attempt, contract, span, read_at)
        except ConfigurationError:
            return None


class CountsByTheManifest(MemoryLoader):
    async def counts(self, attempt, manifest, stage_table):
        counts = await super().counts(attempt, manifest, stage_table)
        return msgspec.structs.replace(counts, staged_files=len(manifest.chunks), staged_rows=manifest.rows)


class NoTableHasNoRows(MemoryLoader):
    async def counts(self, attempt, manifest, stage_table):
        counts = await super().counts(attempt, manifest, stage_table)
        return msgspec.structs.replace(
            counts, stage_rows=counts.stage_rows or 0, target_rows=counts.target_rows or 0
        )


class CleansEverything(MemoryLoader):
    async def clean(self, attempt, manifest, archive):
        removed = await super().clean(attempt, manifest, archive)
        return removed + self._remove(list(self.target.files))


class ForgetsTheArchive(MemoryLoader):
    async def _archive(self, chunks, place):
        if is_there(place):
            await super()._archive(chunks, place)


class ClearsTheWayForTheArchive(MemoryLoader):
    async def _archive(self, chunks, place):
        make_way(place)
        await super()._archive(chunks, place)


class ArchivesWhatIsThere(MemoryLoader):
    async def _archive(self, chunks, place):
        await super()._archive([chunk for chunk in chunks if chunk.name in self.target.files], place)


class SweepsWhatIsNamed(MemoryLoader):
    async def sweep(self, runs, keep, keep_tables, older_than):
        if any(one.side_chunks for one in keep):
            return await super().sweep(runs, keep, keep_tables, older_than)
        return await super().sweep(runs, (), (), older_than)


class SweepsTheYoung(MemoryLoader):
    async def sweep(self, runs, keep, keep_tables, older_than):
        return await super().sweep(runs, keep, keep_tables, self._clock().replace(year=9000))


class SweepsAllRunsOfThePipeline(MemoryLoader):
    async def sweep(self, runs, keep, keep_tables, older_than):
        claimed = {claim.run for claim in self.target.claims if claim.run.pipeline == self._pipeline}
        return await super().sweep(claimed, keep, keep_tables, older_than)


class SweepsOtherPipelines(MemoryLoader):
    async def sweep(self, runs, keep, keep_tables, older_than):
        theirs = {claim.run for claim in self.target.claims if claim.run.pipeline != self._pipeline}
        return await super().sweep({*runs, *theirs}, keep, keep_tables, older_than)


class SweepsNothingOfMergedRuns(MemoryLoader):
    async def sweep(self, runs, keep, keep_tables, older_than):
        open_runs = [run for run in runs if self._stored(run) is None]
        return await super().sweep(open_runs, keep, keep_tables, older_than)


class TellsNoFiles(MemoryLoader):
    async def staged_runs(self):
        files, self.target.files = self.target.files, {}
        try:
            return await super().staged_runs()
        finally:
            self.target.files = files


class TellsNoStageTables(MemoryLoader):
    async def staged_runs(self):
        return {name.split("/")[1] for name in self.target.files if name.startswith(f"{self._pipeline}/")}


class TellsFilesOfOtherPipelines(MemoryLoader):
    async def staged_runs(self):
        return {*await super().staged_runs(), *(name.split("/")[1] for name in self.target.files)}


class ClosesOnce(MemoryLoader):
    closed = False

    async def aclose(self):
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


def is_there(place) -> bool:
    return Path(place.url).exists()


def make_way(place) -> None:
    if Path(place.url).is_file():
        Path(place.url).unlink()


STAGE = {
    "check makes the table": CheckMakesTheTable,
    "an empty table gets a new identity each time": AnEmptyTableGetsANewIdentityEachTime,
    "remembers a dropped table": RemembersADroppedTable,
    "ignores new columns": IgnoresNewColumns,
    "empties what the source lost": EmptiesWhatTheSourceLost,
    "empties columns of others": EmptiesColumnsOfOthers,
    "keys may be json": KeysMayBeJson,
    "takes any type": TakesAnyType,
    "text stays a number": TextStaysANumber,
    "json is not quoted": JsonIsNotQuoted,
    "keys follow the policy": KeysFollowThePolicy,
    "does not look for named columns": DoesNotLookForNamedColumns,
    "takes any name": TakesAnyName,
    "tidies json": TidiesJson,
    "puts only once": PutsOnlyOnce,
    "puts anything": PutsAnything,
    "copies what lies there": CopiesWhatLiesThere,
    "nothing is not copied": NothingIsNotCopied,
    "passes over missing files": PassesOverMissingFiles,
    "does not hash again": DoesNotHashAgain,
    "trusts the manifest's rows": TrustsTheManifestsRows,
    "adds to the table that is there": AddsToTheTableThatIsThere,
    "adopts everything": AdoptsEverything,
    "adopts without looking": AdoptsWithoutLooking,
    "counts by the manifest": CountsByTheManifest,
    "no table has no rows": NoTableHasNoRows,
    "cleans everything": CleansEverything,
    "forgets the archive": ForgetsTheArchive,
    "clears the way for the archive": ClearsTheWayForTheArchive,
    "archives what is there": ArchivesWhatIsThere,
    "sweeps what is named": SweepsWhatIsNamed,
    "sweeps the young": SweepsTheYoung,
    "sweeps all runs of the pipeline": SweepsAllRunsOfThePipeline,
    "sweeps other pipelines": SweepsOtherPipelines,
    "sweeps nothing of merged runs": SweepsNothingOfMergedRuns,
    "tells no files": TellsNoFiles,
    "tells no stage tables": TellsNoStageTables,
    "tells files of other pipelines": TellsFilesOfOtherPipelines,
    "closes once": ClosesOnce,
}
