"""The DuckDB file: opened for one call and closed again, because an open file locks out every other process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from loaders.duckdb.errors import explained
from loaders.duckdb.names import Table, quoted
from loaders.duckdb.settings import DuckDBTarget
from state.errors import ConfigurationError
from state.port import Port


class Session:
    """One connection. Everything blocks; one thread at a time."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.catalog = str(self.value("SELECT current_database()"))

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

    def close(self) -> None:
        self._connection.close()


class Database:
    """Where the file is and how it is opened.

    Opening makes a new engine, which costs 10 ms of CPU and more. So where another call `waits` already, the file
    stays open until that one has it: closed in between, it would be open again before anybody else could see it.
    """

    def __init__(self, target: DuckDBTarget, port: Port) -> None:
        self._target = target
        self.path = target.database
        self.port = port
        self.waits: Callable[[], bool] = lambda: False
        self._kept: duckdb.DuckDBPyConnection | None = None

    @contextmanager
    def opened(self, call: str) -> Iterator[Session]:
        """The file, open for one call of the loader, whatever happens in it; errors are explained.

        An open transaction ends with the session, undone.
        """
        session = None
        with explained(self.path):
            try:
                with self.port(f"loader.{call}.open"):
                    session = self._open()
                self.let_go()
                yield session
                if self.waits():
                    self._kept = duckdb.connect(self.path)  # of the engine that is there; it does nothing
            finally:
                if session is not None:
                    session.close()

    def let_go(self) -> None:
        """Close the file if it was kept open for a call that did not come."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def _open(self) -> Session:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"cannot make the folder of the database {self.path}: {(error.strerror or 'error').lower()}",
                hint="Set target_system.database to a file in a folder that this user may write to.",
                code="unusable",
                path="target_system.database",
            ) from error
        connection = duckdb.connect(self.path)
        try:
            return self._limited(connection)
        except BaseException:
            connection.close()
            raise

    def _limited(self, connection: duckdb.DuckDBPyConnection) -> Session:
        """Limits are set by statement: a second connection of this process must not differ in its config."""
        session = Session(connection)
        session.rows(f"SET memory_limit = '{self._target.memory_limit}'")
        session.rows(f"SET threads = {self._target.threads}")
        spill = str(self.spill)
        if session.value("SELECT current_setting('temp_directory')") != spill:  # cannot be set once it is in use
            session.rows("SET temp_directory = " + "'" + spill.replace("'", "''") + "'")
        session.rows("SET TimeZone = 'UTC'")
        return session

    @property
    def spill(self) -> Path:
        """Where DuckDB spills to; it makes the folder when it needs it and removes it again."""
        return self._target.temp_directory or self.path.with_name(self.path.name + ".tmp")
