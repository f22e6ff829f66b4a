"""Snowflake as a target: `loaders.base.Loader` over an account's sessions, a named internal stage and tables.

Every call takes a session of its own from the pool. What depends on an earlier write is read in the session that
wrote it, or in one that was opened afterwards (design: sessions see their own changes at once, others may not).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from weakref import WeakKeyDictionary

import msgspec

from loaders.archive_settings import ArchivePlace
from loaders.base import Copied, Counts, Held, Loads, Staged
from loaders.columns import Needs, require_usable
from loaders.retention import Limits, Retired
from loaders.snowflake import aside, checks, copying, looking, preparing, retiring
from loaders.snowflake.archiving import archive as archived
from loaders.snowflake.detached import unblocked
from loaders.snowflake.files import Listed, StageFiles
from loaders.snowflake.merge import Merge
from loaders.snowflake.names import names, require_distinct
from loaders.snowflake.recent import Recent
from loaders.snowflake.rows import rules
from loaders.snowflake.settings import SnowflakeStage, SnowflakeTarget
from loaders.snowflake.transform import require_select
from loaders.snowflake.types import require_types
from loaders.snowflake.work import Work
from state.checks import Check
from state.contract import Contract
from state.errors import ConfigurationError, RestartAttempt
from state.model import Attempt, Chunk, Manifest, Phase, Receipt, RunId, Window
from state.port import Port, direct
from state.snowflake.names import Name
from state.snowflake.session import Account, Session
from state.snowflake.tag import Tag

MOST_PUTS = 4
"""Files that one loader uploads at once: each takes a session of its own."""

FENCE = "fence"
"""Under this name the session is known that raised the fence last."""

TURNS: WeakKeyDictionary[Account, dict[Name, asyncio.Lock]] = WeakKeyDictionary()
"""Whose turn it is to change a target, of all loaders of this process (F-23)."""


class SnowflakeLoader:
    """The runs of `pipeline` into one table; `cursor` is the column that windows are cut by. `account` belongs to
    the caller, who closes it."""

    def __init__(
        self,
        target: SnowflakeTarget,
        stage: SnowflakeStage,
        account: Account,
        *,
        pipeline: str,
        cursor: str | None,
        port: Port = direct,
    ) -> None:
        require_select(target.transform)
        self._target = target
        self._account = account
        self._pipeline = pipeline
        self._port = port
        self._needs = Needs(target.mode, target.key, target.version, cursor)
        self._names = names(target, stage)
        self._rules = rules(self._needs, target.names, cursor_immutable=target.cursor_immutable)
        self._files = StageFiles(self._names, port, large=target.large_values)
        self._made = preparing.Made()
        self._writers: Recent[str] = Recent(1_000)
        self._staged: Recent[bool] = Recent(10_000)
        self._claims: Recent[int] = Recent(1_000)
        self._distinct: Recent[bool] = Recent(1_000)
        self._puts = asyncio.Semaphore(MOST_PUTS)
        self._turn = TURNS.setdefault(account, {}).setdefault(self._names.target, asyncio.Lock())

    async def check(self) -> Sequence[Check]:
        return await checks.check(self._account, self._tag(None, "check"), self._work)

    async def prepare(self, contract: Contract) -> str:
        require_usable(contract, self._needs)
        require_distinct(contract.schema.names, self._target.names)
        require_types(contract, self._needs)
        async with self._working(None, Phase.PRE_VALIDATION) as work:
            return await preparing.prepare(work, self._made, contract, self._needs.steady, self._alone)

    async def raise_fence(self, attempt: Attempt) -> None:
        async with self._turn, self._working(attempt, Phase.STALE_PIPELINE_HANDLING) as work:
            await preparing.require_ledger(work, self._made)
            tag = self._tag(attempt, Phase.STALE_PIPELINE_HANDLING.value)
            async with unblocked(self._account, work, attempt, tag):
                await work.ledger.claim(attempt)
            self._writers[attempt.run.hash] = self._writers[FENCE] = work.session.id

    async def put(self, attempt: Attempt, chunk: Chunk, path: Path) -> Staged:
        self._staged[attempt.run.hash] = True
        async with self._puts, self._working(attempt, Phase.SOURCE_TO_STAGE_TRANSFER) as work:
            return await self._files.put(work.session, chunk, path, partial(looking.texts, work))

    async def copy(self, attempt: Attempt, manifest: Manifest, contract: Contract) -> Copied:
        if not manifest.files:
            return Copied(self._names.empty_of(self._pipeline).last, {})  # nothing is made for a run without rows
        self._staged[attempt.run.hash] = True
        async with self._working(attempt, Phase.SOURCE_TO_STAGE_TRANSFER) as work:
            copied = await copying.copy(work, self._files, attempt, manifest, contract)
            self._writers[attempt.run.hash] = work.session.id
            return copied

    async def adopt(self, attempt: Attempt, contract: Contract, span: Window, read_at: datetime) -> Copied:
        self._staged[attempt.run.hash] = True
        self._writers.forget(attempt.run.hash)  # a function of the user's wrote, in a session that nobody knows
        async with self._reading(attempt, Phase.SOURCE_TO_STAGE_TRANSFER) as work:
            copied = await copying.adopt(work, attempt, contract, span, read_at)
            self._writers[attempt.run.hash] = work.session.id
            return copied

    async def merge(
        self, attempt: Attempt, manifest: Manifest, contract: Contract, stage_table: str, identity: str
    ) -> Receipt:
        stage = self._names.staged.beside(stage_table)
        async with self._turn, self._reading(attempt, Phase.STAGE_TO_TARGET_TRANSFER) as work:
            receipt = await Merge(work, attempt, manifest, contract, stage, identity).receipt()
            self._writers[attempt.run.hash] = work.session.id
            self._distinct[stage_table] = not receipt.counts.duplicates
            return receipt

    async def counts(self, attempt: Attempt, manifest: Manifest, stage_table: str | None) -> Counts:
        stage = None if stage_table is None else self._names.staged.beside(stage_table)
        async with self._reading(attempt, Phase.AUDIT) as work:
            if stage == work.empty and work.merging and not manifest.chunks:
                counts, self._claims[attempt.run.hash] = await looking.counts_of_nothing(work, attempt)
                return counts
            distinct = bool(stage_table and self._distinct.get(stage_table))
            counts = await looking.counts(work, self._files, attempt, manifest, stage, distinct=distinct)
            side = await aside.looked(work, attempt, manifest, stage)
            return msgspec.structs.replace(
                counts, stage_aside=side.staged, quarantine_rows=side.quarantined, read_again=side.read_again
            )

    async def held(self, attempt: Attempt, stage_table: str) -> Held | None:
        async with self._reading(attempt, Phase.AUDIT) as work:
            return await looking.held(work, attempt, self._names.staged.beside(stage_table))

    async def loads(self, pipeline: str, run: RunId | None = None) -> Loads:
        async with self._reading(None, Phase.STAGE_TO_TARGET_TRANSFER) as work:
            if not await preparing.ledger_there(work, self._made):
                return Loads()
            found = await replace(work, pipeline=pipeline).ledger.loads(run)
        if run is not None and found.receipts:
            self._writers.forget(run.hash)  # the session that merged is another one, and may be of another process
        return found

    async def clean(self, attempt: Attempt, manifest: Manifest, archive: ArchivePlace | None) -> int:
        if not manifest.files and self._nothing_staged(attempt.run):
            return 0
        async with self._reading(attempt, Phase.STAGE_CLEANING) as work:
            if archive is not None and manifest.files:
                there = await self._files.under(work.session, attempt.run)
                await archived(work.session, self._names, archive, manifest.files, there=there, port=self._port)
            tables = await looking.tables_of_run(work, attempt)
            removed = await self._files.remove_run(work.session, attempt.run, "clean")
            await looking.drop(work, tables, "clean")
            return removed

    async def retire(self, attempt: Attempt, column: str, before: datetime, limits: Limits | None) -> Retired:
        async with self._turn, self._reading(attempt, Phase.TARGET_CLEANING) as work:
            return await retiring.retire(work, attempt, column, before, limits)

    async def staged_runs(self) -> Collection[str]:
        async with self._working(None, Phase.STALE_PIPELINE_HANDLING) as work:
            return {*await self._staged_files(work), *await looking.staged_runs(work)}

    async def sweep(
        self, runs: Collection[RunId], keep: Sequence[Manifest], keep_tables: Sequence[str], older_than: datetime
    ) -> int:
        if not runs:
            return 0
        kept = {chunk.name for manifest in keep for chunk in manifest.files}
        async with self._working(None, Phase.STALE_PIPELINE_HANDLING) as work:
            staged = await self._staged_files(work)
            found = [file for run in runs for file in staged.get(run.hash, ())]
            old = {file.name for file in found if file.modified < older_than}
            removed = await self._files.remove(work.session, old - kept, "sweep")
            tables = await looking.orphan_tables(work, runs, keep_tables, older_than)
            await looking.drop(work, tables, "sweep")
            return removed + len(tables)

    async def _staged_files(self, work: Work) -> Mapping[str, Sequence[Listed]]:
        """The pipeline's files by their run's hash. A first attempt may have died before it made the stage."""
        made = self._made.stage or await preparing.stage_there(work.session, work.names)
        return await self._files.of_pipeline(work.session, self._pipeline) if made else {}

    async def aclose(self) -> None:
        """Nothing is held between calls."""

    def _nothing_staged(self, run: RunId) -> bool:
        """True if nobody can have staged anything for the run: it had one attempt, and that was ours."""
        return self._claims.get(run.hash) == 1 and not self._staged.get(run.hash)

    def _tag(self, attempt: Attempt | None, phase: str) -> Tag:
        if attempt is None:
            return Tag(self._pipeline, phase=phase)
        return Tag(self._pipeline, attempt.name, str(attempt.run.window), attempt.token, phase)

    @asynccontextmanager
    async def _working(self, attempt: Attempt | None, phase: Phase) -> AsyncIterator[Work]:
        """A session of the pool for one call."""
        async with self._account.session(self._tag(attempt, phase.value)) as session, self._knowing():
            yield self._work(session)

    @asynccontextmanager
    async def _reading(self, attempt: Attempt | None, phase: Phase) -> AsyncIterator[Work]:
        """A session that sees what the run wrote: the one that wrote it, or one that is opened now (G-7). Without
        an attempt: what stood in the load table when the fence was raised last."""
        tag = self._tag(attempt, phase.value)
        writer = self._writers.get(FENCE if attempt is None else attempt.run.hash)
        async with self._account.session(tag, fresh=True, known=writer) as session, self._knowing():
            yield self._work(session)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[Session]:
        """A session that is opened while another one holds the fence: it sees whatever was merged or defined
        before, and nothing of it is under way."""
        async with self._working(None, Phase.PRE_VALIDATION) as holder:
            with self._port("loader.prepare.lock"):
                await holder.session.rows("BEGIN")
                await holder.ledger.take_fence()
            tag = self._tag(None, Phase.PRE_VALIDATION.value)
            async with self._account.session(tag, fresh=True) as session:
                yield session
            await holder.session.rows("ROLLBACK")

    @asynccontextmanager
    async def _knowing(self) -> AsyncIterator[None]:
        """What was found to be there is looked for again after an error that says it may be gone."""
        try:
            yield
        except (ConfigurationError, RestartAttempt):
            self._made.forget()
            raise

    def _work(self, session: Session) -> Work:
        return Work(session, self._target, self._names, self._rules, self._pipeline, self._port)
