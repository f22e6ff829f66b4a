"""`SLUICEWAY_LOADS`, which is only ever added to, and the fence: who may write, and what was written.

Both are in the target's schema, made before any transaction. A merge touches the fence first, so two merges
into one target never overlap: the second fails at once and is tried again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import duckdb
import msgspec

from loaders.base import Loads, Mode
from loaders.duckdb.file import Session
from loaders.duckdb.names import Names, quoted
from loaders.duckdb.schema import columns, identity
from loaders.swap import fenced_span
from state.errors import LeaseLost, TransientError, UnknownOutcome
from state.model import Attempt, MergeCounts, Receipt, RunId, Window
from state.port import Port

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COUNTS = MergeCounts.__struct_fields__
NEWER = "quarantined"
"""A count that tables of older versions lack."""

LOADS_COLUMNS = {
    "kind": "VARCHAR NOT NULL",  # claim or receipt
    "run_name": "VARCHAR NOT NULL",
    "drive_id": "VARCHAR NOT NULL",
    "pipeline": "VARCHAR NOT NULL",
    "window_start": "TIMESTAMPTZ NOT NULL",
    "window_end": "TIMESTAMPTZ NOT NULL",
    "run_number": "INTEGER NOT NULL",
    "token": "BIGINT NOT NULL",
    "target_table": "VARCHAR NOT NULL",
    "manifest_digest": "VARCHAR",
    "target_identity": "VARCHAR",
    **dict.fromkeys(COUNTS, "BIGINT"),
    "written_at": "TIMESTAMPTZ NOT NULL",
}

RUN_NAMES = ("drive_id", "pipeline", "window_start", "window_end", "run_number")
RUN_IS = " AND ".join(f"{name} = ?" for name in RUN_NAMES)
RUN_COLUMNS = "drive_id, pipeline, epoch_us(window_start), epoch_us(window_end), run_number"


class Ledger:
    """Claims and receipts of one pipeline in one session."""

    def __init__(self, session: Session, names: Names, pipeline: str, mode: Mode, port: Port) -> None:
        self._session = session
        self._mode = mode
        self._names = names
        self._pipeline = pipeline
        self._port = port
        self._loads = session.at(names.loads)

    def create(self) -> None:
        """Make schema, load table and fence where they are missing."""
        session, names = self._session, self._names
        schema = f"{quoted(session.catalog)}.{quoted(names.target.schema)}"
        kinds = ", ".join(f"{name} {kind}" for name, kind in LOADS_COLUMNS.items())
        fence = session.at(names.fence)
        with self._port("loader.ledger.create"):
            session.rows(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            session.rows(f"CREATE TABLE IF NOT EXISTS {self._loads} ({kinds})")
            session.rows(f"CREATE TABLE IF NOT EXISTS {fence} AS SELECT CAST(0 AS BIGINT) AS touched")
            session.rows(f"INSERT INTO {fence} SELECT 0 WHERE NOT EXISTS (FROM {fence})")

    def extend(self) -> None:
        """Add what a load table of an older version lacks; before any transaction."""
        if NEWER not in columns(self._session, self._names.loads):
            with self._port("loader.ledger.create"):
                self._session.rows(f"ALTER TABLE {self._loads} ADD COLUMN IF NOT EXISTS {NEWER} BIGINT")

    def touch_fence(self) -> None:
        """The first statement of every transaction: it takes the lock."""
        self._session.rows(f"UPDATE {self._session.at(self._names.fence)} SET touched = touched + 1")

    def require_highest(self, attempt: Attempt) -> None:
        """Raises `LeaseLost` if a higher token of this pipeline claimed a span that overlaps the run's."""
        window = fenced_span(self._mode, attempt.run.window)
        highest = self._session.value(
            f"SELECT max(token) FROM {self._loads} WHERE kind = 'claim' AND pipeline = ?"
            " AND window_start < ? AND window_end > ?",
            self._pipeline,
            window.end,
            window.start,
        )
        if highest is not None and highest > attempt.token:
            raise LeaseLost(
                f"attempt {attempt.token} of {attempt.name} is fenced: attempt {highest} has taken its span over",
                hint="Nothing was written; the newer attempt goes on.",
                code="fenced",
            )

    def claim(self, attempt: Attempt) -> None:
        """Record the claim, once however often it is repeated."""
        known = self._session.value(
            f"SELECT count(*) FROM {self._loads} WHERE kind = 'claim' AND {RUN_IS} AND token = ?",
            *run_values(attempt.run),
            attempt.token,
        )
        if not known:
            self._insert("claim", attempt, {"written_at": datetime.now(UTC)})

    def receipt_of(self, run: RunId) -> Receipt | None:
        """The receipt of a run."""
        found = self._receipts(RUN_IS, *run_values(run))
        return found[0] if found else None

    def newer(self, attempt: Attempt, identity: str | None) -> str | None:
        """Name of a run over a later window that brought its rows into the target of this identity."""
        name: str | None = self._session.value(
            f"SELECT max_by(run_name, window_end) FROM {self._loads} WHERE kind = 'receipt' AND pipeline = ?"
            " AND target_identity = ? AND window_end > ?",
            self._pipeline,
            identity,
            attempt.run.window.end,
        )
        return name

    def store(self, attempt: Attempt, receipt: Receipt) -> None:
        """Write the receipt."""
        self._insert(
            "receipt",
            attempt,
            {
                "manifest_digest": receipt.manifest_digest,
                "target_identity": receipt.target_identity,
                **msgspec.structs.asdict(receipt.counts),
                "written_at": receipt.merged_at,
            },
        )

    def loads(self, run: RunId | None = None) -> Loads:
        """Everything that the target remembers of the pipeline, or of one run of it."""
        have = columns(self._session, self._names.loads)
        if not have:
            return Loads()
        where, values = ("pipeline = ?", [self._pipeline]) if run is None else (RUN_IS, [*run_values(run)])
        highest = self._session.value(f"SELECT max(token) FROM {self._loads} WHERE {where}", *values)
        return Loads(
            tuple(self._receipts(where, *values, newer=NEWER in have)),
            highest or 0,
            identity(self._session, self._names.target),
        )

    def merged_since(self, attempt: Attempt) -> bool:
        """Whether another run of the pipeline has merged after this one."""
        ours = f"SELECT max(written_at) FROM {self._loads} WHERE kind = 'receipt' AND run_name = ?"
        return bool(
            self._session.value(
                f"SELECT count(*) FROM {self._loads} WHERE kind = 'receipt' AND pipeline = ? AND run_name <> ?"
                f" AND written_at >= ({ours})",
                self._pipeline,
                attempt.name,
                attempt.name,
            )
        )

    def _receipts(self, where: str, *values: Any, newer: bool = True) -> list[Receipt]:
        counts = [name if newer or name != NEWER else "0" for name in COUNTS]
        found = self._session.rows(
            f"SELECT {RUN_COLUMNS}, token, manifest_digest, target_identity, epoch_us(written_at),"
            f" {', '.join(counts)} FROM {self._loads} WHERE kind = 'receipt' AND {where}"
            " ORDER BY written_at, token",
            *values,
        )
        return [receipt_from(row) for row in found]

    def _insert(self, kind: str, attempt: Attempt, more: dict[str, Any]) -> None:
        row = {
            "kind": kind,
            "run_name": attempt.name,
            "token": attempt.token,
            "target_table": str(self._names.target),
            **dict(zip(RUN_NAMES, run_values(attempt.run), strict=True)),
            **more,
        }
        marks = ", ".join("?" for _ in row)
        self._session.rows(f"INSERT INTO {self._loads} ({', '.join(row)}) VALUES ({marks})", *row.values())


def run_values(run: RunId) -> tuple[Any, ...]:
    """The values of `RUN_NAMES`."""
    return run.drive_id, run.pipeline, run.window.start, run.window.end, run.number


def run_id(row: tuple[Any, ...]) -> RunId:
    """The run in a row that begins with `RUN_COLUMNS`."""
    drive_id, pipeline, start, end, number = row[:5]
    return RunId(drive_id, pipeline, Window(instant(start), instant(end)), number)


def receipt_from(row: tuple[Any, ...]) -> Receipt:
    """The receipt in a row of `_receipts`."""
    token, digest, target, written_at = row[5:9]
    return Receipt(
        run_id(row), token, digest, target, MergeCounts(*(count or 0 for count in row[9:])), instant(written_at)
    )


def instant(microseconds: int) -> datetime:
    """Microseconds since 1970 as an instant, exactly."""
    return EPOCH + timedelta(microseconds=microseconds)


def transact(session: Session, call: str, port: Port, step: Callable[[], tuple[T, bool]]) -> T:
    """Run `step` in one transaction; it answers with its result and whether it wrote anything to keep.

    `UnknownOutcome` if COMMIT was sent and its answer is not known. Any other error leaves nothing behind: the
    session is closed with its transaction open, which undoes it.
    """
    with port(f"loader.{call}.begin"):
        session.rows("BEGIN")
    answer, keep = step()
    if keep:
        commit(session, call, port)
    else:
        session.rows("ROLLBACK")
    return answer


def commit(session: Session, call: str, port: Port) -> None:
    """COMMIT. A conflict is a clear no; after any other error nobody knows."""
    sent = False
    try:
        with port(f"loader.{call}.commit"):
            sent = True
            session.rows("COMMIT")
    except duckdb.TransactionException:
        raise
    except (duckdb.Error, TransientError) as error:
        if not sent:
            raise
        raise UnknownOutcome(
            f"the answer to COMMIT was lost: {error}",
            hint="The next attempt raises the fence and then reads the receipt: nothing is loaded twice.",
            code="commit",
        ) from error
