"""`<table>__SLUICEWAY_LOADS`: the fence, the claims and the receipts of one target, in one table.

A statement of Snowflake changes one table, and takes its lock where it updates a row of it. With the fence in the
same table as claims and receipts one MERGE does both: it touches the fence, which waits out whoever holds it, and
adds its row if the rows that are there then allow it (docs/decisions/0015). Rows are only ever added, but for the
fence's own counter and mark. Made before any transaction.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from loaders.base import Loads, Mode
from loaders.snowflake.names import Names
from loaders.snowflake.rows import INSTANT, instant
from loaders.snowflake.schema import identity_of, made_sql
from loaders.swap import fenced_span
from state.errors import LeaseLost, RestartAttempt
from state.model import Attempt, MergeCounts, Receipt, RunId
from state.port import Port
from state.snowflake.session import Session

COUNTS = tuple(name for name in MergeCounts.__struct_fields__ if name != "quarantined")
"""Counts with a column of their own. Rows that are set aside are told by RECEIPT alone: a table that was made
before there were any has no column, and adding one takes ownership."""

COLUMNS = {
    "KIND": "VARCHAR NOT NULL",  # fence, claim or receipt
    "RUN": "VARCHAR",  # the run's identity as JSON
    "RUN_NAME": "VARCHAR",
    "PIPELINE": "VARCHAR",
    "WINDOW_START": "TIMESTAMP_LTZ",
    "WINDOW_END": "TIMESTAMP_LTZ",
    "RUN_NUMBER": "NUMBER(38,0)",
    "TOKEN": "NUMBER(38,0)",
    "MANIFEST_DIGEST": "VARCHAR",
    "TARGET_IDENTITY": "VARCHAR",
    **{name.upper(): "NUMBER(38,0)" for name in COUNTS},
    "RECEIPT": "VARCHAR",  # all of it as JSON, exactly
    "WRITTEN_AT": "TIMESTAMP_LTZ",
    "TOUCHED": "NUMBER(38,0)",
}

FENCED = f"KIND = 'claim' AND PIPELINE = ? AND TOKEN > ? AND WINDOW_START < {INSTANT} AND WINDOW_END > {INSTANT}"
"""Claims of a higher token that overlap a span; parameters of `fenced_by`."""


FENCE_ROW = "SELECT " + ", ".join(
    {"KIND": "'fence' AS KIND", "TOUCHED": "1 AS TOUCHED"}.get(name, f"CAST(NULL AS {kind}) AS {name}")
    for name, kind in COLUMNS.items()
)
"""The fence as a query of one row."""


class Ledger:
    """Claims and receipts of one pipeline in one session."""

    def __init__(self, session: Session, names: Names, pipeline: str, mode: Mode, port: Port) -> None:
        self._session = session
        self._mode = mode
        self._names = names
        self._pipeline = pipeline
        self._port = port
        self.sql = names.ledger.sql
        self._fence = f"SELECT 1 FROM {self.sql} WHERE KIND = 'fence'"

    async def create(self) -> None:
        """Make the table where it is missing."""
        kinds = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        with self._port("loader.prepare.ledger"):
            await self._session.rows(f"CREATE TABLE IF NOT EXISTS {self.sql} ({kinds})")

    async def require_fence(self) -> None:
        """Have the fence's row there before anybody claims: a claim that found none would wait for nobody. Two
        that are made at once are as good as one, because each is touched with the other."""
        with self._port("loader.prepare.fence"):
            await self._session.count(
                f"INSERT INTO {self.sql} (KIND, TOUCHED) SELECT 'fence', 0 WHERE NOT EXISTS ({self._fence})"
            )

    async def claim(self, attempt: Attempt) -> None:
        """Touch the fence and record the claim, once however often it is repeated. Raises `LeaseLost`."""
        row, values = row_sql("claim", attempt, {"written_at": datetime.now(UTC)})
        known = f"SELECT 1 FROM {self.sql} WHERE KIND = 'claim' AND RUN = ? AND TOKEN = ?"
        with self._port("loader.fence.claim"):
            added = await self._add(
                f"{row} WHERE NOT EXISTS (SELECT 1 FROM {self.sql} WHERE {FENCED}) AND NOT EXISTS ({known})",
                [*values, *self.fenced_by(attempt), run_text(attempt.run), attempt.token],
            )
        if not added:
            await self.require_highest(attempt)

    async def add_receipt(self, attempt: Attempt, receipt: Receipt, when: str, *values: Any) -> bool:
        """Touch the fence and write the receipt in one statement, if no higher token claimed the span, the run has
        no receipt, and `when` is true; tells whether it was written."""
        row, given = receipt_sql(attempt, receipt)
        other = f"SELECT 1 FROM {self.sql} WHERE KIND = 'receipt' AND RUN = ?"
        return await self._add(
            f"{row} WHERE NOT EXISTS (SELECT 1 FROM {self.sql} WHERE {FENCED})"
            f" AND NOT EXISTS ({other}) AND {when}",
            [*given, *self.fenced_by(attempt), run_text(attempt.run), *values],
        )

    async def _add(self, row: str, values: list[Any]) -> bool:
        """Touch the fence and add the row that the query `row` gives, if it gives one. Raises `RestartAttempt`,
        and adds nothing, where there is no fence."""
        names = ", ".join(COLUMNS)
        row = f"{row} AND EXISTS ({self._fence})"
        [told] = await self._session.records(
            f"MERGE INTO {self.sql} l USING ({FENCE_ROW} UNION ALL {row}) s"
            " ON l.KIND = s.KIND AND s.KIND = 'fence'"
            " WHEN MATCHED THEN UPDATE SET TOUCHED = l.TOUCHED + 1"
            " WHEN NOT MATCHED AND s.KIND <> 'fence'"
            f" THEN INSERT ({names}) VALUES ({', '.join(f's.{name}' for name in COLUMNS)})",
            *values,
        )
        if not int(told["number of rows updated"]):
            raise self._no_fence()
        return int(told["number of rows inserted"]) > 0

    async def touch(self, mark: str = "") -> int:
        """Wait until nobody else holds the fence, and take it for the transaction, if one is open; 0 if nobody
        ever raised it."""
        return await self._session.count(
            f"UPDATE {self.sql} SET TOUCHED = TOUCHED + 1, RUN_NAME = ? WHERE KIND = 'fence'", mark
        )

    async def take_fence(self) -> str:
        """The first change of every transaction: it takes the lock, and leaves the mark that is its answer. Raises
        `RestartAttempt` where there is no fence."""
        mark = uuid.uuid4().hex
        if not await self.touch(mark):
            raise self._no_fence()
        return mark

    @property
    def holding(self) -> str:
        """SQL that is true while the transaction that took the fence is open; its mark is the one parameter.

        Snowflake may end a transaction behind its session's back (idle while others wait, or aborted by somebody),
        and what that session sends afterwards would be kept statement by statement. The mark is gone with the
        transaction, so every change asks for it.
        """
        return f"EXISTS ({self._fence} AND RUN_NAME = ?)"

    async def merged_since(self, attempt: Attempt) -> bool:
        """Whether another run of the pipeline has merged after this one."""
        receipts = f"FROM {self.sql} WHERE KIND = 'receipt' AND"
        return bool(
            await self._session.count(
                f"SELECT COUNT(*) {receipts} PIPELINE = ? AND RUN <> ?"
                f" AND WRITTEN_AT >= (SELECT MAX(WRITTEN_AT) {receipts} RUN = ?)",
                self._pipeline,
                run_text(attempt.run),
                run_text(attempt.run),
            )
        )

    async def stored(self, attempt: Attempt) -> bool:
        """Whether the receipt of this attempt is there."""
        return bool(
            await self._session.count(
                f"SELECT COUNT(*) FROM {self.sql} WHERE KIND = 'receipt' AND RUN = ? AND TOKEN = ?",
                run_text(attempt.run),
                attempt.token,
            )
        )

    def _no_fence(self) -> RestartAttempt:
        return RestartAttempt(
            f"the fence in {self._names.ledger} is gone",
            hint="The next attempt makes it again; find out who removed rows from that table.",
            code="fence_missing",
        )

    def fenced_by(self, attempt: Attempt) -> tuple[Any, ...]:
        """The parameters of `FENCED`."""
        window = fenced_span(self._mode, attempt.run.window)
        return self._pipeline, attempt.token, instant(window.end), instant(window.start)

    async def require_highest(self, attempt: Attempt) -> None:
        """Raises `LeaseLost` if a higher token of this pipeline claimed a span that overlaps the run's."""
        require_unfenced(
            attempt,
            await self._session.value(
                f"SELECT MAX(TOKEN) FROM {self.sql} WHERE {FENCED}", *self.fenced_by(attempt)
            ),
        )

    async def standing(self, attempt: Attempt) -> Receipt | None:
        """The receipt of the run. Raises `LeaseLost` if a higher token claimed its span; one statement."""
        [(highest, text)] = await self._session.rows(
            f"SELECT (SELECT MAX(TOKEN) FROM {self.sql} WHERE {FENCED}),"
            f" (SELECT MAX(RECEIPT) FROM {self.sql} WHERE KIND = 'receipt' AND RUN = ?)",
            *self.fenced_by(attempt),
            run_text(attempt.run),
        )
        require_unfenced(attempt, highest)
        return None if text is None else receipt_of(text)

    async def newer(self, attempt: Attempt, identity: str) -> str | None:
        """Name of a run over a later window that brought its rows into the target of this identity."""
        found = await self._session.rows(
            f"SELECT RUN_NAME FROM {self.sql} WHERE KIND = 'receipt' AND PIPELINE = ? AND TARGET_IDENTITY = ?"
            f" AND WINDOW_END > {INSTANT} ORDER BY WINDOW_END DESC LIMIT 1",
            self._pipeline,
            identity,
            instant(attempt.run.window.end),
        )
        return str(found[0][0]) if found else None

    async def store(self, attempt: Attempt, receipt: Receipt, when: str, *values: Any) -> bool:
        """Write the receipt in the transaction that is open, if `when` is true; tells whether it was written."""
        row, given = receipt_sql(attempt, receipt)
        written = await self._session.count(
            f"INSERT INTO {self.sql} ({', '.join(COLUMNS)}) {row} WHERE {when}", *given, *values
        )
        return written == 1

    async def loads(self, run: RunId | None = None) -> Loads:
        """Everything that the target remembers of the pipeline, or of one run of it, in one statement."""
        target = self._names.target
        made = made_sql(target, "'target', NULL, NULL, CREATED")
        where, values = "PIPELINE = ?", [self._pipeline]
        if run is not None:
            where, values = f"{where} AND RUN = ?", [*values, run_text(run)]
        found = await self._session.rows(
            f"SELECT 'receipt', TOKEN, RECEIPT, WRITTEN_AT FROM {self.sql} WHERE {where} AND KIND = 'receipt'"
            f" UNION ALL SELECT 'token', MAX(TOKEN), NULL, NULL FROM {self.sql} WHERE {where}"
            f" UNION ALL {made}",
            *values,
            *values,
            *target.parts[1:],
        )
        receipts = sorted((receipt_of(row[2]) for row in found if row[0] == "receipt"), key=in_time)
        highest = next(int(row[1] or 0) for row in found if row[0] == "token")
        at = next((row[3] for row in found if row[0] == "target"), None)
        return Loads(tuple(receipts), highest, None if at is None else identity_of(at))


def require_unfenced(attempt: Attempt, highest: int | None) -> None:
    """Raises `LeaseLost` if there is a token that is higher."""
    if highest is not None:
        raise LeaseLost(
            f"attempt {attempt.token} of {attempt.name} is fenced: attempt {highest} has taken its span over",
            hint="Nothing was written; the newer attempt goes on.",
            code="fenced",
        )


def in_time(receipt: Receipt) -> tuple[datetime, int]:
    """The order of receipts."""
    return receipt.merged_at, receipt.token


def run_text(run: RunId) -> str:
    """The identity of a run as it stands in the table."""
    return msgspec.json.encode(run).decode()


def receipt_of(text: str) -> Receipt:
    """The receipt in a row."""
    return msgspec.json.decode(text, type=Receipt)


def receipt_sql(attempt: Attempt, receipt: Receipt) -> tuple[str, list[Any]]:
    """A SELECT of the receipt's row, and its parameters."""
    more = {
        "manifest_digest": receipt.manifest_digest,
        "target_identity": receipt.target_identity,
        **msgspec.structs.asdict(receipt.counts),
        "receipt": msgspec.json.encode(receipt).decode(),
        "written_at": receipt.merged_at,
    }
    return row_sql("receipt", attempt, more)


def row_sql(kind: str, attempt: Attempt, more: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """A SELECT of one row in the order of `COLUMNS`, and its parameters."""
    run = attempt.run
    row = {
        "kind": kind,
        "run": run_text(run),
        "run_name": attempt.name,
        "pipeline": run.pipeline,
        "window_start": run.window.start,
        "window_end": run.window.end,
        "run_number": run.number,
        "token": attempt.token,
        **more,
    }
    shown, values = [], []
    for name, column in COLUMNS.items():
        value = row.get(name.lower())
        plain = column.removesuffix(" NOT NULL")
        shown.append(f"CAST({'NULL' if value is None else '?'} AS {plain}) AS {name}")
        if value is not None:
            values.append(instant(value) if isinstance(value, datetime) else value)
    return "SELECT " + ", ".join(shown), values
