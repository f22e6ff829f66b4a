"""Engines that the calls of many databases take turns on.

To make an engine costs 15 ms of CPU time and more, most of what a call on few rows costs; to attach a file to one
that is there costs half a millisecond. An engine holds one file at a time and none between calls: a file is open
for one call, as without this, and the engine's limits are those of the one call that it serves.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import duckdb

from loaders.duckdb.names import quoted, text

HOME = "/"
"""The empty database of an engine: no file's database can be named so."""
MOST_IDLE = 8
"""Engines that are kept for calls to come, as many as runs are walked at a time; each takes 4 MiB."""
MOST_CALLS = 100
"""Calls that an engine serves: with each it grows by some kilobytes."""


@dataclass(frozen=True)
class Limits:
    """What an engine is set to once; `memory` as DuckDB writes it."""

    memory: str
    threads: int


@dataclass
class Engine:
    """`users`: connections that calls have on its file. `failed`: one of them saw an error; it is not kept."""

    limits: Limits
    home: duckdb.DuckDBPyConnection
    spill: str = ""
    spill_is_its_own: bool = False
    catalog: str = ""
    users: int = 0
    calls: int = 0
    failed: bool = False

    @classmethod
    def made(cls, limits: Limits) -> Engine:
        home = duckdb.connect(":memory:")
        try:
            home.execute(f"ATTACH ':memory:' AS \"{HOME}\"")
            home.execute(f'USE "{HOME}"')
            home.execute("DETACH memory")  # a file may be named so
            home.execute(f"SET memory_limit = '{limits.memory}'")
            home.execute(f"SET threads = {limits.threads}")
            home.execute("SET GLOBAL TimeZone = 'UTC'")
        except BaseException:
            home.close()
            raise
        return cls(limits, home)

    def spill_to(self, folder: str) -> None:
        """Raises duckdb.Error if it has spilled to another one."""
        if self.spill != folder:
            self.home.execute(f"SET temp_directory = {text(folder)}")
            self.spill = folder
        self.spill_is_its_own = not Path(folder).exists()

    def attach(self, path: str) -> None:
        """Open the file. Raises duckdb.Error."""
        self.home.execute(f"ATTACH {text(path)}")
        [(self.catalog,)] = self.home.execute(
            "SELECT database_name FROM duckdb_databases() WHERE NOT internal AND database_name <> ?", [HOME]
        ).fetchall()

    def connected(self) -> duckdb.DuckDBPyConnection:
        """One more connection to the file."""
        connection = self.home.cursor()
        try:
            connection.execute(f"USE {quoted(self.catalog)}")
        except BaseException:
            connection.close()
            raise
        return connection

    def detached(self) -> bool:
        """Close the file, its connections being closed; True if the engine can serve another.

        One that spilled cannot: it removes its folder when it ends.
        """
        if not self.failed and not (self.spill_is_its_own and Path(self.spill).exists()):
            try:
                self.home.execute(f"DETACH {quoted(self.catalog)}")
            except duckdb.Error:  # the end of the engine closes it for certain, as it does for one of its own
                pass
            else:
                return True
        self.home.close()
        return False


class Engines:
    """The engines of this process. Two calls on one file share its engine, and the limits of the first."""

    def __init__(self, most_idle: int = MOST_IDLE, most_calls: int = MOST_CALLS) -> None:
        self._most_idle = most_idle
        self._most_calls = most_calls
        self._lock = Lock()
        self._idle: list[Engine] = []
        self._open: dict[str, Engine] = {}
        self._turns: defaultdict[str, Lock] = defaultdict(Lock)

    @property
    def idle(self) -> int:
        """Engines that are kept, with no file."""
        return len(self._idle)

    def connect(self, path: Path, limits: Limits, spill: Path) -> tuple[duckdb.DuckDBPyConnection, str]:
        """A connection to the file, until `let_go`, and the name of its database. Raises duckdb.Error."""
        name = os.path.realpath(path)
        with self._turn(name):
            engine = self._open.get(name)
            if engine is None:
                engine = self._attached(name, limits, str(spill))
            try:
                connection = engine.connected()
            except BaseException:
                engine.failed = True
                self._leave(name, engine)
                raise
            engine.users += 1
            engine.calls += 1
            return connection, engine.catalog

    def let_go(self, path: Path, connection: duckdb.DuckDBPyConnection, *, failed: bool) -> None:
        """Close the connection, undoing an open transaction, and the file if it was the last one on it."""
        name = os.path.realpath(path)
        connection.close()
        with self._turn(name):
            engine = self._open[name]
            engine.users -= 1
            engine.failed = engine.failed or failed
            self._leave(name, engine)

    def close(self) -> None:
        """End the engines that are kept."""
        with self._lock:
            idle, self._idle = self._idle, []
        for engine in idle:
            engine.home.close()

    def _turn(self, name: str) -> Lock:
        """Held while a file is opened or closed: who comes meanwhile must not find it half open."""
        with self._lock:
            return self._turns[name]

    def _attached(self, name: str, limits: Limits, spill: str) -> Engine:
        engine = self._taken(limits, spill) or Engine.made(limits)
        try:
            engine.spill_to(spill)
            engine.attach(name)
        except BaseException:
            engine.home.close()
            raise
        self._open[name] = engine
        return engine

    def _taken(self, limits: Limits, spill: str) -> Engine | None:
        """An engine that is kept and can be used for this."""
        with self._lock:
            engine = next((one for one in self._idle if one.limits == limits), None)
            if engine is None:
                return None
            self._idle.remove(engine)
        try:
            engine.spill_to(spill)
        except duckdb.Error:
            engine.home.close()
            return None
        return engine

    def _leave(self, name: str, engine: Engine) -> None:
        if engine.users:
            return
        del self._open[name]
        if not engine.detached():
            return
        with self._lock:
            if len(self._idle) < self._most_idle and engine.calls < self._most_calls:
                self._idle.append(engine)
                return
        engine.home.close()


SHARED = Engines()
"""Those of this process: DuckDB itself knows one set of open files per process."""
