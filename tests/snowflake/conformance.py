"""What Snowflake itself does, as we read its documentation: one clause for each behaviour that we rely on.

A clause takes a `Site`: a database and schema of its own and a way to connect. `test_conformance.py` runs all of
them against our test server, `tests/live/live_conformance.py` against an account. Only the latter can say that a
clause is right. Clauses are in `conformance_*.py`; `clause` keeps them, `clauses` tells all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from snowflake.connector import errors

DOCUMENTATION = "https://docs.snowflake.com/en/"


class Site(Protocol):
    """Where a clause works. `schema` is empty and its own; `folder` is a folder of this machine for files."""

    database: str
    schema: str
    folder: Path

    def connect(self, **other: Any) -> AbstractAsyncContextManager[Any]:
        """A session of the connector in this database and schema, `paramstyle="qmark"`."""


Run = Callable[[Site], Awaitable[None]]


@dataclass(frozen=True)
class Clause:
    """`behaviour`: in one sentence. `page`: where it is documented, below `DOCUMENTATION`."""

    name: str
    behaviour: str
    page: str
    run: Run


KEPT: dict[str, Clause] = {}


def clause(behaviour: str, page: str) -> Callable[[Run], Run]:
    """Keep a function as a clause, under its name."""

    def kept(run: Run) -> Run:
        name = run.__name__
        assert name not in KEPT, name
        KEPT[name] = Clause(name, behaviour, page, run)
        return run

    return kept


def clauses() -> dict[str, Clause]:
    """All clauses by name."""
    from tests.snowflake import (
        conformance_copy,
        conformance_sessions,
        conformance_sql,
        conformance_stages,
        conformance_tables,
    )

    modules = (
        conformance_copy,
        conformance_sessions,
        conformance_sql,
        conformance_stages,
        conformance_tables,
    )
    assert all(modules), "they keep their own"
    return KEPT


async def rows(connection: Any, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of one statement."""
    cursor = connection.cursor()
    try:
        await cursor.execute(sql, values or None)
        return await cursor.fetchall()
    finally:
        cursor.close()


async def records(connection: Any, sql: str, *values: Any) -> list[dict[str, Any]]:
    """The rows of one statement by column name, in lower case."""
    cursor = connection.cursor()
    try:
        await cursor.execute(sql, values or None)
        names = [column.name.lower() for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]
    finally:
        cursor.close()


async def value(connection: Any, sql: str, *values: Any) -> Any:
    """The first column of the first row."""
    [first, *_] = await rows(connection, sql, *values)
    return first[0]


async def fails(connection: Any, code: int, sql: str, *values: Any) -> str:
    """The statement fails with that code; its message."""
    with pytest.raises(errors.Error) as caught:
        await rows(connection, sql, *values)
    assert caught.value.errno == code, f"{caught.value.errno}: {caught.value}"
    return str(caught.value)


async def run_all(connection: Any, statements: Sequence[str]) -> None:
    for sql in statements:
        await rows(connection, sql)


def parquet(path: Path, columns: Mapping[str, Any]) -> Path:
    """A Parquet file of these columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(dict(columns)), path)
    return path


async def put(connection: Any, path: Path, location: str, *, overwrite: bool = True) -> dict[str, Any]:
    """Upload a file as it is; the record that PUT answers with."""
    options = f"AUTO_COMPRESS=FALSE SOURCE_COMPRESSION=NONE OVERWRITE={overwrite}"
    [record] = await records(connection, f"PUT 'file://{path}' {location} {options}")
    return record
