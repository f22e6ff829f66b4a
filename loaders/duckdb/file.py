"""The DuckDB file: opened for one call and closed again, because an open file locks out every other process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import duckdb

from loaders.duckdb.engines import SHARED, Limits
from loaders.duckdb.errors import explained
from loaders.duckdb.names import Table, quoted, text
from loaders.duckdb.settings import DuckDBTarget
from state.errors import ConfigurationError
from state.port import Port


class Session:
    """One connection; `catalog` names its database. Everything blocks; one thread at a time."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, catalog: str | None = None) -> None:
        self._connection = connection
        self.catalog = str(self.value("SELECT current_database()")) if catalog is None else catalog

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement; all rows of its answer."""
        return self._connection.execute(sql, values).fetchall()

    def value(self, sql: str, *values: Any) -> Any:
        """The first column of the first row; None if there is no row."""
        row = self._connection.execute(sql, values).fetchone()
        return None if row is None else row[0]

    def count(self, sql: str, *values: Any) -> int:
        """A number of rows: asked for, or that a statement reports of itself."""
        return int(self.value(sql, *values))

    def at(self, table: Table) -> str:
        """`table` in SQL, with its catalog: a file and a schema may bear the same name."""
        return f"{quoted(self.catalog)}.{quoted(table.schema)}.{quoted(table.name)}"


class Database:
    """Where the file is and how it is opened.

    Opening makes a new engine, which costs 15 ms of CPU and more. So where another call `waits` already, the file
    stays open until that one has it: closed in between, it would be open again before anybody else could see it.
    Where `shares()` is true, the file is attached to an engine that is there. Only loaders may open it in this
    process then.
    """

    def __init__(self, target: DuckDBTarget, port: Port, shares: Callable[[], bool] = lambda: False) -> None:
        self._target = target
        self._shares = shares
        self.path = target.database
        self.port = port
        self.waits: Callable[[], bool] = lambda: False
        self._kept: duckdb.DuckDBPyConnection | None = None

    @contextmanager
    def opened(self, call: str) -> Iterator[Session]:
        """The file, open for one call of the loader, whatever happens in it; errors are explained.

        An open transaction ends with the session, undone.
        """
        with explained(self.path), ExitStack() as stack:
            with self.port(f"loader.{call}.open"):
                self._make_folder()
                session = stack.enter_context(self._shared() if self._shares() else self._own())
            self.let_go()
            yield session

    @contextmanager
    def _own(self) -> Iterator[Session]:
        """A session of an engine that this file has to itself."""
        connection = duckdb.connect(self.path)
        try:
            self._limit(connection)
            yield Session(connection)
            if self.waits():
                self._kept = duckdb.connect(self.path)  # of the engine that is there; it does nothing
        finally:
            connection.close()

    @contextmanager
    def _shared(self) -> Iterator[Session]:
        """A session of an engine that serves this file for one call."""
        self.let_go()
        limits = Limits(self._target.memory_limit, self._target.threads)
        connection, catalog = SHARED.connect(self.path, limits, self.spill)
        failed = True
        try:
            yield Session(connection, catalog)
            failed = False
        finally:
            SHARED.let_go(self.path, connection, failed=failed)

    def let_go(self) -> None:
        """Close the file if it was kept open for a call that did not come."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def _make_folder(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"cannot make the folder of the database {self.path}: {(error.strerror or 'error').lower()}",
                hint="Set target_system.database to a file in a folder that this user may write to.",
                code="unusable",
                path="target_system.database",
            ) from error

    def _limit(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Limits are set by statement: a second connection of this process must not differ in its config."""
        connection.execute(f"SET memory_limit = '{self._target.memory_limit}'")
        connection.execute(f"SET threads = {self._target.threads}")
        spill = str(self.spill)
        if connection.execute("SELECT current_setting('temp_directory')").fetchall() != [(spill,)]:
            connection.execute(f"SET temp_directory = {text(spill)}")  # cannot be set once it is in use
        connection.execute("SET TimeZone = 'UTC'")

    @property
    def spill(self) -> Path:
        """Where DuckDB spills to; it makes the folder when it needs it and removes it again."""
        return self._target.temp_directory or self.path.with_name(self.path.name + ".tmp")
