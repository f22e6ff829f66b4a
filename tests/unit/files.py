"""What the tests of files as a source share: a folder of files, a connector over it, all rows of a span."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from connectors.base import Connector, Snapshot
from connectors.files.connector import FilesConnector
from connectors.files.settings import FilesSettings
from state.contract import Contract
from state.model import Window

T = TypeVar("T")

START = datetime(2025, 11, 15, tzinfo=UTC)
DAY = Window(START, START + timedelta(days=1))
ALWAYS = Window(datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))
MICROSECOND = timedelta(microseconds=1)


def settings(path: Path | str, **given) -> FilesSettings:
    return FilesSettings(**{"type": "files", "path": str(path), "cursor": "at", **given})


def using(given: FilesSettings, act: Callable[[Connector], Awaitable[T]]) -> T:
    """What `act` gives with a connector that is closed afterwards."""

    async def go() -> T:
        async with aclosing(FilesConnector(given)) as connector:
            return await act(connector)

    return asyncio.run(go())


def read(given: FilesSettings, span: Window = ALWAYS) -> pa.Table:
    """All rows of a span; their number is the snapshot's count."""

    async def act(connector: Connector) -> pa.Table:
        return await read_with(connector, span)

    return using(given, act)


def read_by_policy(given: FilesSettings) -> tuple[pa.Table, dict[str, int], list[dict]]:
    """All rows, what policies touched, and the rows that they set aside; together they are the count."""

    async def act(connector: Connector) -> tuple[pa.Table, dict[str, int], list[dict]]:
        contract = await connector.contract()
        aside: list[dict] = []
        batches = []
        async with connector.open(ALWAYS) as snapshot:
            async for batch in snapshot.batches():
                batches.append(batch)
                aside += taken(snapshot)
            aside += taken(snapshot)
            table = pa.Table.from_batches(batches, contract.schema)
            assert table.num_rows + len(aside) == snapshot.count
            return table, dict(snapshot.touched), aside

    return using(given, act)


def taken(snapshot: Snapshot) -> list[dict]:
    rows = snapshot.quarantined()
    return [] if rows is None else rows.to_pylist()


async def read_with(connector: Connector, span: Window = ALWAYS) -> pa.Table:
    contract = await connector.contract()
    async with connector.open(span) as snapshot:
        batches = [batch async for batch in snapshot.batches()]
    table = pa.Table.from_batches(batches, contract.schema)
    assert table.num_rows == snapshot.count
    return table


def contract(given: FilesSettings) -> Contract:
    return using(given, lambda connector: connector.contract())
