"""The twin of a source: a table in memory that obeys the same rules. For tests and trials.

What a snapshot reads is the table as it was when the snapshot was opened; whoever holds the `MemorySource` may
change the table at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from connectors.batches import pieces
from connectors.cursor import counts_of, held, is_time, offsets
from connectors.cutting import cut
from state.checks import Check
from state.contract import Contract
from state.errors import ConfigurationError, ContractError, RestartAttempt, SluicewayError
from state.model import SnapshotKind, Window
from state.port import Port, direct


def system_clock() -> datetime:
    return datetime.now(UTC)


class MemorySource:
    """A table that others may change, and its clock. `views`: the snapshots that are open in it.

    `faults`: number of a batch, counted from 0 over all snapshots, to the error raised in its place, once.
    """

    def __init__(
        self,
        rows: pa.Table,
        clock: Callable[[], datetime] = system_clock,
        faults: Mapping[int, SluicewayError] | None = None,
    ) -> None:
        self.rows = rows
        self.clock = clock
        self.views: set[MemorySnapshot] = set()
        self._faults = dict(faults or {})
        self._batch = -1

    def add(self, rows: pa.Table) -> None:
        """More rows; open snapshots do not see them."""
        self.rows = pa.concat_tables([self.rows, rows])

    def next_batch(self) -> None:
        """A batch is handed out. Raises the fault that is written for it."""
        self._batch += 1
        if fault := self._faults.get(self._batch):
            raise fault


class MemorySnapshot:
    """`connectors.base.Snapshot` over rows of a `MemorySource`."""

    kind = SnapshotKind.TRANSACTION

    def __init__(
        self, source: MemorySource, rows: pa.Table, batch_rows: int, touched: Mapping[str, int], port: Port
    ) -> None:
        self.count = rows.num_rows
        self.read_at = source.clock()
        self.touched = touched
        self._source = source
        self._rows = rows
        self._batch_rows = batch_rows
        self._port = port

    def quarantined(self) -> pa.RecordBatch | None:
        """See `Snapshot.quarantined`: no column has that policy."""
        return None

    async def batches(self) -> AsyncGenerator[pa.RecordBatch, None]:
        """See `Snapshot.batches`. Raises `RestartAttempt` where the snapshot is no longer open in the source."""
        for whole in self._rows.to_batches(max_chunksize=self._batch_rows):
            for batch in pieces(whole):
                await self._hand_out()
                yield batch

    async def _hand_out(self) -> None:
        with self._port("source.read"):
            await asyncio.sleep(0)
            if self not in self._source.views:
                raise RestartAttempt("the snapshot is gone", code="snapshot_lost")
            self._source.next_batch()


class MemoryConnector:
    """`connectors.base.Connector` over a `MemorySource`. `batch_rows`: rows of a batch at most."""

    def __init__(
        self,
        source: MemorySource,
        cursor: str | None,
        key: Sequence[str] = (),
        port: Port = direct,
        *,
        batch_rows: int = 10_000,
        null_cursor: Literal["error", "ignore"] = "error",
    ) -> None:
        self.source = source
        self._cursor = cursor
        self._key = tuple(key)
        self._port = port
        self._batch_rows = batch_rows
        self._null_cursor = null_cursor
        self._opened: set[MemorySnapshot] = set()

    async def check(self) -> Sequence[Check]:
        """See `Connector.check`."""
        try:
            await self.contract()
        except SluicewayError as error:
            return [Check("source columns", False, error.message, error.hint)]
        if self._cursor is None:
            return [Check("source rows", True, f"{self.source.rows.num_rows} rows, read whole")]
        nulls = self._column().null_count
        found = f"{self.source.rows.num_rows} rows, {nulls} of them without a value in '{self._cursor}'"
        return [Check("source cursor", not nulls or self._null_cursor == "ignore", found, "Fill the cursor.")]

    async def contract(self) -> Contract:
        """See `Connector.contract`."""
        with self._port("source.contract"):
            contract = Contract(self.source.rows.schema, self._cursor, self._key)
        cursors = [] if self._cursor is None else [self._cursor]
        if missing := contract.missing([*cursors, *self._key]):
            raise ConfigurationError(f"there is no column '{missing[0]}'", code="no_column")
        if cursors and not is_time(type_ := contract.schema.field(self._cursor).type):
            raise ConfigurationError(
                f"column '{self._cursor}' is {type_}, and no timestamp or date", code="cursor"
            )
        return contract

    async def plan(self, span: Window, rows_per_part: int) -> Sequence[Window]:
        """See `Connector.plan`."""
        with self._port("source.plan"):
            self._require_cursors()
            column = self._column()
            at = pc.value_counts(offsets(column.type, counts_of(column), span)).to_pylist()
            return list(cut(span, {each["values"]: each["counts"] for each in at}, rows_per_part))

    def open(self, span: Window | None) -> AbstractAsyncContextManager[MemorySnapshot]:
        """See `Connector.open`."""
        return self._open(span)

    async def count(self, span: Window | None) -> int:
        """See `Connector.count`."""
        with self._port("source.count"):
            return int(self._rows(span).num_rows)

    async def now(self) -> datetime:
        """The source's clock."""
        return self.source.clock()

    async def readable_until(self, now: datetime) -> datetime:
        """The source's clock: what was added is visible at once."""
        return now

    async def aclose(self) -> None:
        """See `Connector.aclose`."""
        self.source.views -= self._opened

    @asynccontextmanager
    async def _open(self, span: Window | None) -> AsyncIterator[MemorySnapshot]:
        with self._port("source.open"):
            nulls = 0 if span is None else self._require_cursors()
            rows = self._rows(span)
            touched = {str(self._cursor): nulls} if nulls else {}
            snapshot = MemorySnapshot(self.source, rows, self._batch_rows, touched, self._port)
            self._opened.add(snapshot)
            self.source.views.add(snapshot)
        try:
            yield snapshot
        finally:
            self._opened.discard(snapshot)
            self.source.views.discard(snapshot)

    def _require_cursors(self) -> int:
        """Rows without a cursor. Raises `ContractError` if there are some and they are not to be left out."""
        nulls = self._column().null_count
        if nulls and self._null_cursor == "error":
            raise ContractError(f"{nulls} rows have no value in their cursor '{self._cursor}'", code="null_cursor")
        return int(nulls)

    def _rows(self, span: Window | None) -> pa.Table:
        return self.source.rows if span is None else self.source.rows.filter(self._mask(span))

    def _mask(self, span: Window) -> pa.Array:
        column = self._column()
        return held(column.type, counts_of(column), span)

    def _column(self) -> pa.Array:
        return self.source.rows[self._cursor].combine_chunks()
