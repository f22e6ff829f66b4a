"""The twin of a target: table, ledger and stage in memory that obey the same rules. For tests and trials.

Whoever holds the `MemoryTarget` may change it between two calls, as somebody may change a database by hand.
Each call is one step of the event loop, so two of them never overlap.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import pyarrow as pa

from loaders.archive import Archive
from loaders.archive_settings import ArchivePlace
from loaders.aside import SIDE
from loaders.base import ConflictPolicy, Copied, Counts, Held, Loads, Mode, Staged
from loaders.columns import FILE, ROW, Needs, require_usable
from loaders.memory_aside import MemoryAside
from loaders.memory_files import archive_all, rows_told
from loaders.memory_rows import (
    MemoryTable,
    MemoryTarget,
    Row,
    RowRules,
    Values,
    inside,
    older,
    reconcile,
    require_known,
)
from loaders.retention import Limits, Retired
from loaders.swap import UNASKED, Standing, SwapGuard, require_swap
from state.checks import Check
from state.contract import ASIDE, READ_AT, RUN, Contract
from state.errors import ConfigurationError, ContractError, RestartAttempt
from state.memory import system_clock
from state.model import Attempt, Chunk, Manifest, MergeCounts, Receipt, RunId, Window
from state.port import Port, direct


class MemoryLoader(MemoryAside):
    """`Loader` for the runs of `pipeline` into `table` of a `MemoryTarget`, with the settings of any target."""

    def __init__(
        self,
        target: MemoryTarget,
        *,
        pipeline: str,
        cursor: str | None,
        mode: Mode = Mode.MERGE,
        key: tuple[str, ...] = (),
        version: str = "read_at",
        policy: ConflictPolicy = ConflictPolicy.FAIL,
        guard: SwapGuard = UNASKED,
        table: str = "events",
        port: Port = direct,
        clock: Callable[[], datetime] = system_clock,
    ) -> None:
        super().__init__(target, table, mode, port)
        self._guard = guard
        self._needs = Needs(mode, key, version, cursor)
        self._rules = RowRules(self._needs)
        self._policy = policy
        self._pipeline = pipeline
        self._stage = f"{table}_stage"
        self._clock = clock

    async def check(self) -> Sequence[Check]:
        found = "is there" if self._table in self.target.tables else "will be made"
        return [Check("target_system.table", True, f"{self._table} {found}")]

    async def prepare(self, contract: Contract) -> str:
        require_usable(contract, self._needs)
        with self._port("loader.prepare.create"):
            table = self.target.tables.setdefault(self._table, MemoryTable(self._clock()))
            for field in contract.schema:
                self._reconcile(table, field)
            return self._identify(table)

    def _reconcile(self, table: MemoryTable, field: pa.Field) -> None:
        reconcile(table, field, self._policy, self._needs.steady)

    def _identify(self, table: MemoryTable) -> str:
        table.identity = table.identity or uuid.uuid4().hex
        return table.identity

    async def raise_fence(self, attempt: Attempt) -> None:
        with self._port("loader.fence.commit"):
            self._require_highest(attempt)
            if attempt not in self.target.claims:
                self.target.claims.append(attempt)

    async def put(self, attempt: Attempt, chunk: Chunk, path: Path) -> Staged:  # noqa: ARG002 names tell the run
        data = await asyncio.to_thread(path.read_bytes)
        self._require_bytes(chunk, data)
        with self._port("loader.put.write"):
            self.target.files[chunk.name] = (data, self._clock())
        return Staged(chunk.name, len(data), rows_told(data))

    async def copy(self, attempt: Attempt, manifest: Manifest, contract: Contract) -> Copied:
        rows, loaded = self._read(self._chunks(manifest), contract)
        table = self._fresh(attempt, contract, rows)
        aside, set_aside = self._read(manifest.side_chunks, ASIDE)
        if manifest.side_chunks:
            self._stage_aside(table, aside, self._clock())
        return Copied(table, loaded, set_aside)

    def _chunks(self, manifest: Manifest) -> Sequence[Chunk]:
        return manifest.chunks

    def _fresh(self, attempt: Attempt, contract: Contract, rows: list[Row]) -> str:
        name = f"{self._stage}_{attempt.run.hash}_A{attempt.token}"
        with self._port("loader.copy.load"):
            columns = {field.name: field for field in contract.schema}
            self.target.tables[name] = MemoryTable(self._clock(), columns, rows)
        return name

    async def adopt(self, attempt: Attempt, contract: Contract, span: Window, read_at: datetime) -> Copied:
        users = self.target.tables.get(self._stage)
        missing = [name for name in contract.schema.names if users is None or name not in users.columns]
        if users is None or missing:
            raise ConfigurationError(
                f"the stage table {self._stage}, which your function fills, lacks {', '.join(missing)}",
                code="user_stage",
                path="stage_system.table",
            )
        cursor = self._needs.cursor_column
        taken = [row for row in users.rows if cursor is None or inside(span, row[cursor])]
        rows = [
            {**{name: row[name] for name in contract.schema.names}, READ_AT: read_at, FILE: self._stage, ROW: n}
            for n, row in enumerate(taken)
        ]
        return Copied(self._fresh(attempt, contract, rows), {self._stage: len(rows)})

    async def merge(
        self, attempt: Attempt, manifest: Manifest, contract: Contract, stage_table: str, identity: str
    ) -> Receipt:
        with self._transaction("merge"):
            receipt, new = self._receipt(attempt, manifest, contract, stage=stage_table, identity=identity)
            if new:
                self._commit("merge")
        return receipt

    def _receipt(
        self, attempt: Attempt, manifest: Manifest, contract: Contract, *, stage: str, identity: str
    ) -> tuple[Receipt, bool]:
        """The run's receipt and whether it is new."""
        with self._port("loader.merge.fence"):
            self._require_highest(attempt)
        stored = self._stored(attempt.run)
        if stored is not None:
            self._require_same(stored, manifest, identity)
            return stored, False
        self._require_identity(identity)
        staged = self._stage_rows(stage)
        values = Values(self.target.tables[self._table], contract, self._policy, attempt.name, self._clock())
        counts = self._write(attempt, staged, values)
        quarantined = self._quarantine(attempt, manifest, stage, values.at)
        counts = msgspec.structs.replace(counts, quarantined=quarantined)
        receipt = Receipt(attempt.run, attempt.token, manifest.digest, identity, counts, values.at)
        with self._port("loader.merge.receipt"):
            self.target.receipts.append((attempt.name, receipt))
        return receipt, True

    def _stage_rows(self, stage: str) -> list[Row]:
        if stage not in self.target.tables:
            raise RestartAttempt(f"the stage table {stage} is gone", code="stage_table_missing")
        return self.target.tables[stage].rows

    def _write(self, attempt: Attempt, staged: list[Row], values: Values) -> MergeCounts:
        if self._needs.mode is Mode.APPEND:
            return self._replace_window(attempt, staged, values)
        if self._needs.mode is Mode.SNAPSHOT:
            return self._replace_all(attempt, staged, values)
        self._require_keys(staged)
        return self._rules.upsert(values, staged)

    def _require_keys(self, staged: list[Row]) -> None:
        for name in self._needs.keys:
            missing = sum(row[name] is None for row in staged)
            if missing:
                raise ContractError(f"{missing} rows have no value in the key column {name}", code="null_key")

    def _replace_window(self, attempt: Attempt, staged: list[Row], values: Values) -> MergeCounts:
        window = attempt.run.window
        self._require_in_window(window, staged)
        self._require_known([row for row in values.table.rows if self._inside(window, row)])
        runs = self._runs_of_pipeline()
        kept = [row for row in values.table.rows if row.get(RUN) not in runs or not self._inside(window, row)]
        deleted = len(values.table.rows) - len(kept)
        values.table.rows = kept + [{**values.table.defaults, **values.full(row)} for row in staged]
        return MergeCounts(len(staged), len(staged), len(staged), deleted=deleted)

    def _replace_all(self, attempt: Attempt, staged: list[Row], values: Values) -> MergeCounts:
        found = self._standing(attempt, staged, values.table.rows)
        require_swap(self._guard, attempt, found)
        values.table.rows = [{**values.table.defaults, **values.full(row)} for row in staged]
        return MergeCounts(len(staged), len(staged), len(staged), deleted=found.target)

    def _standing(self, attempt: Attempt, staged: list[Row], target: list[Row]) -> Standing:
        keys = self._needs.keys
        return Standing(
            staged=len(staged),
            target=len(target),
            strangers=sum(row.get(RUN) not in self._runs_of_pipeline() for row in target),
            newer=self._newer(attempt),
            keys=len({self._rules.key(row) for row in staged}) if keys else None,
            nulls={name: sum(row[name] is None for row in staged) for name in keys},
        )

    def _require_in_window(self, window: Window, staged: list[Row]) -> None:
        if beside := sum(not self._inside(window, row) for row in staged):
            raise ContractError(f"{beside} rows have no cursor, or one outside {window}", code="cursor_range")

    def _inside(self, window: Window, row: Row) -> bool:
        return self._rules.inside(window, row)

    def _require_known(self, rows: list[Row]) -> None:
        require_known(rows, {name for name, _ in self.target.receipts})

    def _runs_of_pipeline(self) -> set[str]:
        return {name for name, receipt in self.target.receipts if receipt.run.pipeline == self._pipeline}

    async def counts(self, attempt: Attempt, manifest: Manifest, stage_table: str | None) -> Counts:
        stage = self.target.tables.get(stage_table or "")
        aside = self._side_rows(manifest, stage_table)
        return Counts(
            staged_files=sum(chunk.name in self.target.files for chunk in manifest.chunks),
            staged_rows=self._staged_rows(manifest.chunks),
            stage_rows=None if stage is None else len(stage.rows),
            target_rows=self._target_rows(attempt, stage),
            target_identity=self._identity(),
            staged_aside=self._staged_rows(manifest.side_chunks),
            stage_aside=None if aside is None else len(aside),
            quarantine_rows=self._quarantined_by(attempt),
            read_again=self._merged_since(attempt),
        )

    def _target_rows(self, attempt: Attempt, stage: MemoryTable | None) -> int | None:
        table = self.target.tables.get(self._table)
        if table is None:
            return None
        if self._needs.mode is not Mode.MERGE:
            ours = [row for row in table.rows if row.get(RUN) == attempt.name]
            return sum(self._inside(attempt.run.window, row) for row in ours)
        return None if stage is None else self._rules.answering(table.rows, stage.rows)

    async def held(self, attempt: Attempt, stage_table: str) -> Held | None:
        table, stage = self.target.tables.get(self._table), self.target.tables.get(stage_table)
        return self._rules.held(attempt.run.window, table.rows, stage.rows) if table and stage else None

    async def loads(self, pipeline: str, run: RunId | None = None) -> Loads:
        return Loads(
            tuple(
                receipt
                for _, receipt in self.target.receipts
                if receipt.run.pipeline == pipeline and run in (None, receipt.run)
            ),
            self._highest_token(pipeline, run),
            self._identity(),
        )

    async def clean(self, attempt: Attempt, manifest: Manifest, archive: ArchivePlace | None) -> int:
        if archive is not None:
            await self._archive(manifest.files, archive)
        names = {chunk.name for chunk in manifest.files} | set(self._files_of([attempt.run]))
        with self._port("loader.clean.file"):
            self._drop(self._tables_of([attempt.run]))
            return self._remove(names)

    async def _archive(self, chunks: Iterable[Chunk], place: ArchivePlace) -> None:
        await archive_all(self.target, chunks, Archive(place, self._port))

    def _files_of(self, runs: Iterable[RunId]) -> list[str]:
        folders = tuple(f"{run.pipeline}/{run.hash}/" for run in runs)
        return [name for name in self.target.files if name.startswith(folders)]

    def _remove(self, names: Iterable[str]) -> int:
        return sum(self.target.files.pop(name, None) is not None for name in names)

    def _drop(self, names: Iterable[str]) -> int:
        return sum(self.target.tables.pop(name, None) is not None for name in names)

    async def retire(self, attempt: Attempt, column: str, before: datetime, limits: Limits | None) -> Retired:
        table = self.target.tables.get(self._table, MemoryTable(before))
        is_older = self._older(table, column, before)
        kept = [row for row in table.rows if not is_older(row)]
        found = Retired(len(table.rows) - len(kept), len(table.rows))
        if limits is None:
            return found
        with self._transaction("retire"):
            self._require_highest(attempt)
            limits.require(found)
            table.rows = kept
            self._commit("retire")
        return Retired(found.matching, found.total, deleted=found.matching)

    def _older(self, table: MemoryTable, column: str, before: datetime) -> Callable[[Row], bool]:
        return older(table, column, before)

    async def staged_runs(self) -> Collection[str]:
        files = (name.split("/") for name in self.target.files)
        tables = (name.removeprefix(f"{self._stage}_") for name in self.target.tables)
        return {run for pipeline, run, _ in files if pipeline == self._pipeline} | {
            found[1] for name in tables if (found := re.fullmatch(rf"([0-9a-f]{{12}})_A\d+(?:{SIDE})?", name))
        }

    async def sweep(
        self, runs: Collection[RunId], keep: Sequence[Manifest], keep_tables: Sequence[str], older_than: datetime
    ) -> int:
        kept = {chunk.name for manifest in keep for chunk in manifest.files}
        keep_tables = [*keep_tables, *(name + SIDE for name in keep_tables)]
        files = [name for name in self._files_of(runs) if self.target.files[name][1] < older_than]
        tables = [name for name in self._tables_of(runs) if self.target.tables[name].made_at < older_than]
        with self._port("loader.sweep.table"):
            return self._remove({*files} - kept) + self._drop({*tables} - {*keep_tables})

    def _tables_of(self, runs: Iterable[RunId]) -> list[str]:
        prefixes = tuple(f"{self._stage}_{run.hash}_A" for run in runs)
        return [name for name in self.target.tables if name.startswith(prefixes)]

    async def aclose(self) -> None:
        """Nothing to release; the target stays for whoever still holds it."""
