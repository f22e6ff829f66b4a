"""What every source must do. The docstrings are obligations; `tests/contract/connector.py` checks them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from state.checks import Check
from state.contract import Contract
from state.model import SnapshotKind, Window


class Snapshot(Protocol):
    """One consistent view of a range of the source, open as long as its context."""

    @property
    def count(self) -> int | None:
        """Rows of the range inside this very snapshot, by the source's own count; None if it offers none."""

    @property
    def kind(self) -> SnapshotKind: ...

    @property
    def read_at(self) -> datetime:
        """The source's clock at the instant this snapshot shows (or just before it)."""

    @property
    def touched(self) -> Mapping[str, int]:
        """Values changed by a declared policy so far, by column."""

    def quarantined(self) -> pa.RecordBatch | None:
        """Rows that a declared policy set aside since the last call, under `policies.QUARANTINED`, or None.

        Asked after each batch and at the end. `count` is the rows of `batches` and these.
        """

    def batches(self) -> AsyncGenerator[pa.RecordBatch, None]:
        """The rows, once each, under exactly the contract's schema, in batches of bounded bytes; those that a
        declared policy set aside are not among them.

        Complete or an error: a stream that ends early raises. Cancellation at any await leaves the
        snapshot closable. Decoding never blocks the event loop.
        """


class Connector(Protocol):
    """A source of rows, with a time cursor if it is not only read whole.

    Classifies errors; never retries, sleeps or schedules.
    """

    async def check(self) -> Sequence[Check]:
        """Look at the source as `doctor` does; a failed check is a value, not an error. Writes nothing."""

    async def contract(self) -> Contract:
        """Columns with exact Arrow types from the source's declaration. Raises `ConfigurationError` if a
        configured column, cursor or key does not exist, `ContractError` on a conflict the policy refuses."""

    async def plan(self, span: Window, rows_per_part: int) -> Sequence[Window]:
        """Cut `span` into ranges that tile it, each of about `rows_per_part` rows at most by the source's
        own counts; an instant is never divided. An empty span gives one range."""

    def open(self, span: Window | None) -> AbstractAsyncContextManager[Snapshot]:
        """A snapshot of the rows with `span.start <= cursor < span.end`; None: of the whole table, whatever its
        cursor holds, and also where it has none. Everything it holds in the source is given back on success,
        failure and cancellation, or at `aclose`."""

    async def count(self, span: Window | None) -> int | None:
        """The source's live count of the range, or of the whole table, now; None if it offers none."""

    async def now(self) -> datetime:
        """The source's own clock, UTC."""

    async def readable_until(self, now: datetime) -> datetime:
        """No row with a cursor before this instant can still become visible, as far as the source can tell. `now`:
        its clock as it was told just before, and the answer where nothing holds windows back; never later."""

    async def aclose(self) -> None:
        """Give everything back; harmless when repeated."""
