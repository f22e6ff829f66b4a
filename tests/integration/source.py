"""A connector on a real server, and what it reads, for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from connectors.base import Connector
from connectors.registry import SourceSettings, connector
from state.contract import Contract
from state.model import Window

T0 = datetime(2025, 11, 15, tzinfo=UTC)
DAY = Window(T0, T0 + timedelta(days=1))
HOUR = Window(T0, T0 + timedelta(hours=1))
SETTINGS: TypeAdapter[Any] = TypeAdapter(SourceSettings)


@dataclass(frozen=True)
class Read:
    """What came of one range: `rows` as dicts, the snapshot's own count, what a policy changed."""

    rows: list[dict[str, Any]]
    count: int | None
    touched: Mapping[str, int]
    pages: int

    @property
    def ids(self) -> list[str]:
        return [row["_id"] for row in self.rows]


@asynccontextmanager
async def reader(url: str, index: str, **settings: Any) -> AsyncIterator[Connector]:
    """A connector with cursor `at` on `index`, given back at the end."""
    given = {"type": "elasticsearch", "endpoint": url, "index": index, "cursor": "at", **settings}
    async with aclosing(connector(SETTINGS.validate_python(given))) as source:
        yield source


async def read(source: Connector, span: Window = DAY) -> Read:
    """All rows of `span`, in one snapshot; the contract is asked for first, as a run does."""
    await source.contract()
    async with source.open(span) as snapshot, aclosing(snapshot.batches()) as batches:
        got = [batch async for batch in batches]
        rows = pa.Table.from_batches(got).to_pylist() if got else []
        return Read(rows, snapshot.count, dict(snapshot.touched), len(got))


async def contract(url: str, index: str, **settings: Any) -> Contract:
    async with reader(url, index, **settings) as source:
        return await source.contract()


def types(of: Contract) -> dict[str, str]:
    """Column → Arrow type, as text."""
    return {field.name: str(field.type) for field in of.schema}


def events(count: int, every: timedelta = timedelta(seconds=60), start: datetime = T0) -> dict[str, Any]:
    """Documents e00000, e00001, …, one per `every`, zero: all at one instant. `n` is their number."""
    return {f"e{n:05d}": {"at": iso(start + n * every), "n": n} for n in range(count)}


def iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


PROPERTIES = {"at": {"type": "date"}, "n": {"type": "long"}}
"""The mapping of `events`."""


def tiles(span: Window, parts: Sequence[Window]) -> bool:
    """True if `parts` cover `span` without gap or overlap, in order."""
    edges = [span.start, *(part.end for part in parts)]
    return edges[-1] == span.end and all(part.start == edge for part, edge in zip(parts, edges, strict=False))
