"""What every target must do. The docstrings are obligations; `tests/contract/loader.py` checks them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec

from loaders.archive_settings import ArchivePlace
from loaders.retention import Limits, Retired
from state.checks import Check
from state.contract import Contract
from state.model import Attempt, Chunk, Manifest, Receipt, RunId, Window


class Mode(StrEnum):
    """How a run's rows enter the target."""

    MERGE = "merge"  # one row per key, the newest wins
    APPEND = "append"  # the window's rows replace what an earlier run of it wrote
    SNAPSHOT = "snapshot"  # the whole source replaces what the target holds


class ConflictPolicy(StrEnum):
    """What to do where a column's type changed."""

    FAIL = "fail"
    TEXT = "text"
    JSON = "json"


class Staged(msgspec.Struct, frozen=True):
    """A chunk as the stage holds it, looked up there and not repeated from the manifest."""

    name: str
    bytes: int
    rows: int


class Copied(msgspec.Struct, frozen=True):
    """Result of a COPY: the attempt's stage table and the rows loaded from each file. `aside`: the same for files
    of rows that are set aside, which go to a table beside it."""

    table: str
    files: Mapping[str, int]
    aside: Mapping[str, int] = {}

    @property
    def rows(self) -> int:
        return sum(self.files.values())

    @property
    def quarantined(self) -> int:
        """Rows that were set aside."""
        return sum(self.aside.values())


class Counts(msgspec.Struct, frozen=True):
    """Counts looked up now, each by its own query; None where the thing no longer exists.

    `target_rows`, merge mode: target rows that answer for the stage table's keys at that order or a newer
    one. Append mode: target rows of this run in the window. Snapshot mode: target rows of this run.
    `staged_how`: how `staged_rows` were counted.

    Of rows that are set aside, 0 each where there are none: `staged_aside` as `staged_rows`, `stage_aside` as
    `stage_rows`, `quarantine_rows` those of this run in the quarantine table. `read_again`: another run of the
    pipeline has merged since, whose rows may have taken the place of some of them.
    """

    staged_files: int | None
    staged_rows: int | None
    stage_rows: int | None
    target_rows: int | None
    target_identity: str | None
    staged_how: str = "footers in the stage"
    staged_aside: int | None = 0
    stage_aside: int | None = 0
    quarantine_rows: int | None = 0
    read_again: bool = False


class Held(msgspec.Struct, frozen=True):
    """How much of a stage table the target holds, whoever brought it there.

    Merge mode: `staged` distinct keys, of which the target has `held` in any version. Append mode: `staged` rows,
    and `held` rows of the target in the run's window. Snapshot mode: the rows of both.
    """

    staged: int
    held: int


class Loads(msgspec.Struct, frozen=True):
    """What the target itself remembers of a pipeline.

    `receipts`: all of them, or those of the one run that was asked for; also those of a table that was dropped
    since: only one that names `target_identity`, the table as it is now (None if there is none), proves anything.
    """

    receipts: tuple[Receipt, ...] = ()
    highest_token: int = 0
    target_identity: str | None = None


class Loader(Protocol):
    """A target table with its stage. Classifies errors; never retries, sleeps or schedules.

    Rules of fence and receipt: docs/guarantees.md. DDL happens in `prepare` and before a COPY, never
    inside a transaction. Every statement of `merge` runs in one session.
    """

    async def check(self) -> Sequence[Check]:
        """Look at stage and target as `doctor` does; nothing is left behind."""

    async def prepare(self, contract: Contract) -> str:
        """Create or extend stage, target, fence and load table; return the target's identity.

        New source columns are added; a changed type follows the policy (`ContractError` on fail). The
        identity changes when the table is dropped and made again. Repeating it changes nothing.
        Raises `ConfigurationError` for a key, version or cursor column that the contract lacks.
        """

    async def raise_fence(self, attempt: Attempt) -> None:
        """Record the claim of `attempt` in the target. Waits out, or fails against, a merge under way;
        afterwards no older attempt of an overlapping run of this pipeline can merge. Raises `LeaseLost`
        if a higher token already claimed an overlapping span. In snapshot mode all runs overlap."""

    async def put(self, attempt: Attempt, chunk: Chunk, path: Path) -> Staged:
        """Bring a chunk file to the stage under its name; repeatable. Size and bytes are verified there."""

    async def copy(self, attempt: Attempt, manifest: Manifest, contract: Contract) -> Copied:
        """Load exactly the manifest's files into a fresh stage table of this attempt, and its side chunks into one
        beside it.

        A file that is missing, or whose rows differ from the manifest, raises `RestartAttempt` naming it.
        """

    async def adopt(self, attempt: Attempt, contract: Contract, span: Window, read_at: datetime) -> Copied:
        """Take rows that a user's function brought to the stage table of the config (not an attempt's) with
        `span.start <= cursor < span.end` (snapshot mode: all of them) into a fresh stage table of this attempt;
        files and rows are numbered by us. Raises `ConfigurationError` if that table or a contract column of it is
        missing."""

    async def merge(
        self, attempt: Attempt, manifest: Manifest, contract: Contract, stage_table: str, identity: str
    ) -> Receipt:
        """One transaction: fence, receipt check, counts, data, rows that are set aside, receipt.

        Rows that are set aside go to the quarantine table, `<target>__SLUICEWAY_QUARANTINE`, which is made when
        the first one comes. Those that earlier runs of this pipeline set aside in the span of the manifest leave
        it: the run has read them again. One without a cursor leaves it when all that its run read is read again.

        Raises `LeaseLost` if a higher token claimed an overlapping span; returns the stored receipt if it
        names the same manifest and target; `ReceiptMismatch` if it names others or the target is not
        `identity` any more; `ContractError` on a NULL key. `UnknownOutcome` if the answer to COMMIT was lost.
        In snapshot mode all rows of the target go and the staged ones take their place, but for what
        `loaders.swap.require_swap` refuses.
        """

    async def counts(self, attempt: Attempt, manifest: Manifest, stage_table: str | None) -> Counts:
        """Look everything up again, in a session opened for it."""

    async def held(self, attempt: Attempt, stage_table: str) -> Held | None:
        """Count a merge that was not ours; None where target or stage table is gone or lacks key or cursor."""

    async def loads(self, pipeline: str, run: RunId | None = None) -> Loads:
        """Receipts and the highest token of a pipeline in this target; empty if there is no load table.

        With `run`: the receipt and the highest token of that run alone; the others are not read.
        """

    async def clean(self, attempt: Attempt, manifest: Manifest, archive: ArchivePlace | None) -> int:
        """Archive the manifest's staged files if asked (`loaders.archive.Archive.keep` for each), then remove all
        files and stage tables of the run. If one could not be archived, nothing of the run is removed.

        Returns the number of files removed. Repeatable; files that are already gone are no error, but a chunk that
        is neither staged nor archived is a `PermanentError` where an archive was asked for.
        """

    async def retire(self, attempt: Attempt, column: str, before: datetime, limits: Limits | None) -> Retired:
        """Delete the target's rows with `column < before`, whoever wrote them; a NULL is never older.

        One transaction of its own: fence, highest token (`LeaseLost`), count of the matching and of all rows, each
        by its own query, `limits.require`, DELETE. Without limits it only counts, outside of any transaction, and
        touches nothing. A date is over when its day is. Repeatable: after `UnknownOutcome` (the answer to COMMIT
        was lost) it is simply done again. Raises `ConfigurationError` (`unusable_column`) for a column that the
        target lacks or that is neither timestamp nor date, and what `limits` refuse.
        """

    async def staged_runs(self) -> Collection[str]:
        """Hashes (`RunId.hash`) of the runs of this pipeline that have a file in the stage, and of all that have
        a stage table beside its own; reads no row and no drive table."""

    async def sweep(
        self, runs: Collection[RunId], keep: Sequence[Manifest], keep_tables: Sequence[str], older_than: datetime
    ) -> int:
        """Remove stage files and stage tables of `runs` that no manifest of `keep` and no name of `keep_tables`
        holds and that are older than `older_than`; what belongs to other runs is left alone. Returns how many."""

    async def aclose(self) -> None:
        """Release every resource; harmless when repeated."""
