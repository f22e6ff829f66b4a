"""DuckDB as a target: `loaders.base.Loader` over a database file and a stage directory.

Every call runs in one thread of its own, opens the file and closes it again, so the event loop never waits and no
other process is locked out between calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from loaders.archive import Archive
from loaders.archive_settings import ArchivePlace
from loaders.base import Copied, Counts, Held, Loads, Staged
from loaders.columns import Needs, require_usable
from loaders.disk import directory_check
from loaders.duckdb import copying, looking, retiring
from loaders.duckdb.file import Database, Session
from loaders.duckdb.files import StageFiles
from loaders.duckdb.merge import merge
from loaders.duckdb.names import names
from loaders.duckdb.rows import rules
from loaders.duckdb.schema import Schema
from loaders.duckdb.settings import DuckDBStage, DuckDBTarget
from loaders.duckdb.thread import CallThread
from loaders.duckdb.types import require_types
from loaders.duckdb.work import Work
from loaders.retention import Limits, Retired
from state.checks import Check
from state.contract import Contract
from state.errors import SluicewayError
from state.model import Attempt, Chunk, Manifest, Receipt, RunId, Window
from state.port import Port, direct

T = TypeVar("T")

ROW_NUMBER = "file_row_number"
"""A name that DuckDB itself gives a column of every Parquet file."""


class DuckDBLoader:
    """The runs of `pipeline` into one table; `cursor` is the column that windows are cut by.

    `alone()`: nothing else than loaders opens the file in this process now, so that they may share engines.
    """

    def __init__(
        self,
        target: DuckDBTarget,
        stage: DuckDBStage,
        *,
        pipeline: str,
        cursor: str | None,
        port: Port = direct,
        alone: Callable[[], bool] = lambda: False,
    ) -> None:
        self._target = target
        self._needs = Needs(target.mode, target.key, target.version, cursor)
        self._pipeline = pipeline
        self._port = port
        self._names = names(target, stage)
        self._rules = rules(self._needs, cursor_immutable=target.cursor_immutable)
        self._database = Database(target, port, alone)
        self._files = StageFiles(stage.directory, pipeline, port)
        self._thread = CallThread(self._database.let_go)
        self._database.waits = lambda: self._thread.calls_wait

    async def check(self) -> Sequence[Check]:
        return await self._thread.run(self._check)

    async def prepare(self, contract: Contract) -> str:
        def prepared(work: Work) -> str:
            work.ledger.create()
            policy = self._target.on_type_conflict
            schema = Schema(work.session, self._names.target, policy, self._needs.steady, self._port)
            return schema.prepare(contract)

        require_usable(contract, self._needs, {ROW_NUMBER})
        require_types(contract, self._needs)
        await asyncio.to_thread(self._files.prepare)
        return await self._call("prepare", prepared)

    async def raise_fence(self, attempt: Attempt) -> None:
        def raised(work: Work) -> None:
            ledger = work.ledger
            ledger.create()
            ledger.extend()
            with self._port("loader.fence.begin"):
                work.session.rows("BEGIN")
            ledger.touch_fence()
            ledger.require_highest(attempt)
            with self._port("loader.fence.claim"):
                ledger.claim(attempt)
            with self._port("loader.fence.commit"):
                work.session.rows("COMMIT")

        await self._call("fence", raised)

    async def put(self, attempt: Attempt, chunk: Chunk, path: Path) -> Staged:  # noqa: ARG002 names tell the run
        size, rows = await asyncio.to_thread(self._files.put, chunk, path)
        return Staged(chunk.name, size, rows)

    async def copy(self, attempt: Attempt, manifest: Manifest, contract: Contract) -> Copied:
        return await self._call("copy", lambda work: copying.copy(work, self._files, attempt, manifest, contract))

    async def adopt(self, attempt: Attempt, contract: Contract, span: Window, read_at: datetime) -> Copied:
        return await self._call("adopt", lambda work: copying.adopt(work, attempt, contract, span, read_at))

    async def merge(
        self, attempt: Attempt, manifest: Manifest, contract: Contract, stage_table: str, identity: str
    ) -> Receipt:
        stage = self._names.stage.beside(stage_table)
        return await self._call(
            "merge", lambda work: merge(work, attempt, manifest, contract=contract, stage=stage, identity=identity)
        )

    async def counts(self, attempt: Attempt, manifest: Manifest, stage_table: str | None) -> Counts:
        stage = None if stage_table is None else self._names.stage.beside(stage_table)
        return await self._call("counts", lambda work: looking.counts(work, self._files, attempt, manifest, stage))

    async def held(self, attempt: Attempt, stage_table: str) -> Held | None:
        stage = self._names.stage.beside(stage_table)
        return await self._call("held", lambda work: looking.held(work, attempt, stage))

    async def loads(self, pipeline: str, run: RunId | None = None) -> Loads:
        if not self._database.path.exists():
            return Loads()
        return await self._call("loads", lambda work: work.of(pipeline).ledger.loads(run))

    async def clean(self, attempt: Attempt, manifest: Manifest, archive: ArchivePlace | None) -> int:
        def cleaned() -> int:
            named = {chunk.name for chunk in manifest.files}
            return self._files.remove(named | set(self._files.under(attempt.run.hash)))

        if archive is not None:
            shelf = Archive(archive, self._port)
            for chunk in manifest.files:
                await shelf.keep(chunk, self._files.path(chunk.name))
        removed = await asyncio.to_thread(cleaned)
        await self._call("clean", lambda work: looking.drop(work, looking.tables_of_run(work, attempt), "clean"))
        return removed

    async def retire(self, attempt: Attempt, column: str, before: datetime, limits: Limits | None) -> Retired:
        return await self._call("retire", lambda work: retiring.retire(work, attempt, column, before, limits))

    async def staged_runs(self) -> Collection[str]:
        found = await asyncio.to_thread(self._files.runs)
        if not self._database.path.exists():
            return found
        return found | await self._call("look", looking.staged_runs)

    async def sweep(
        self, runs: Collection[RunId], keep: Sequence[Manifest], keep_tables: Sequence[str], older_than: datetime
    ) -> int:
        def swept(work: Work) -> int:
            tables = looking.orphan_tables(work, runs, keep_tables, older_than)
            looking.drop(work, tables, "sweep")
            return len(tables)

        def files_swept() -> int:
            kept = {chunk.name for manifest in keep for chunk in manifest.files}
            found = {name for run in runs for name in self._files.under(run.hash)}
            return self._files.remove(self._files.older(found - kept, older_than.timestamp()))

        return await asyncio.to_thread(files_swept) + await self._call("sweep", swept)

    async def aclose(self) -> None:
        await asyncio.to_thread(self._thread.close)  # a call under way ends first

    async def _call(self, name: str, step: Callable[[Work], T]) -> T:
        """One call: the file is opened in the thread, `step` runs, the file is closed."""

        def called() -> T:
            with self._database.opened(name) as session:
                return step(self._work(session))

        return await self._thread.run(called)

    def _work(self, session: Session) -> Work:
        return Work(session, self._target, self._names, self._rules, self._pipeline, self._port)

    def _check(self) -> list[Check]:
        found = [
            looking.version_check(),
            directory_check("stage_system.directory", self._files.directory),
        ]
        path = self._database.path
        if not path.exists():
            return [*found, directory_check("target_system.database", path.parent)]
        try:
            with self._database.opened("check") as session:
                found.append(Check("target_system.database", True, f"{path} can be opened"))
                found.extend(looking.target_checks(self._work(session)))
        except SluicewayError as error:
            found.append(Check("target_system.database", False, error.message, error.hint))
        return found
