"""The Snowflake test server of a test session, and a database of its own for each test.

How a test uses it (fixtures of `tests/snowflake/fixtures.py`, which `tests/conftest.py` takes in):

    async def test_something(place):                    # place: a fresh database with one schema, PUBLIC beside it
        async with place.connect() as connection:       # the unmodified connector, snowflake.connector.aio
            await place.rows(connection, "SELECT 1")    # [(1,)]
        place.database, place.schema                    # 'T7', 'S'
        place.connection                                # keywords of connect(): account, user, host, port, …
        place.clock(-30)                                # CURRENT_TIMESTAMP() here is 30 seconds behind
        place.statements(tag="…")                       # what the server ran in this database (server/control.py)
        place.server.get("/test/sessions")              # any control endpoint, as JSON; also .post, .put, .delete

`snowflake_server` alone is the one process of the session, for tests that start processes of their own
(`snowflake_server.host`, `.port`). Everything in it that is not in a database (users, faults, locks) is shared
by all tests: name things after `place.database`.

How to plug a part into the server: `server/plugins.py`; what it works with: `server/model.py`.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.guard import started
from tests.snowflake.environment import SERVER

ROOT = Path(__file__).parents[2]
START_SECONDS = 60
STOP_SECONDS = 10

os.environ.setdefault("SNOWFLAKE_DISABLE_PLATFORM_DETECTION", "true")  # else a login asks clouds' metadata servers


class SnowflakeServer:
    """A running server on 127.0.0.1."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self.port = 0
        self.home = Path(tempfile.mkdtemp(prefix="snowflake-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)

    def start(self) -> SnowflakeServer:
        """Start it and wait until it answers; raises RuntimeError with the end of its log if it does not."""
        with (self.home / "log").open("wb") as log:
            self._process = started(
                [SERVER.python(), "-m", "tests.snowflake.server", "0", self.home],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        address, until = self.home / "address", time.monotonic() + START_SECONDS
        while not address.exists():
            if self._process.poll() is not None or time.monotonic() > until:
                words = self.log()
                self.stop()
                raise RuntimeError(f"the Snowflake test server did not start:\n{words}")
            time.sleep(0.02)
        self.port = int(address.read_text().rpartition(":")[2])
        return self

    def stop(self) -> None:
        """End it and remove what it kept. Harmless when repeated."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def log(self) -> str:
        """The end of what the server wrote; every error of its own stands there with its stack."""
        path = self.home / "log"
        return path.read_text(errors="replace")[-5000:] if path.exists() else ""

    def place(self) -> Place:
        """A fresh database with one schema."""
        database = f"T{next(self._names)}"
        self.put(f"/test/databases/{database}?schema=S")
        return Place(self, database, "S")

    def get(self, path: str) -> Any:
        return self._ask("GET", path)

    def put(self, path: str, body: Any = None) -> Any:
        return self._ask("PUT", path, body)

    def post(self, path: str, body: Any = None) -> Any:
        return self._ask("POST", path, body)

    def delete(self, path: str) -> Any:
        return self._ask("DELETE", path)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://{self.host}:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@dataclass
class Place:
    """A database and schema of one test."""

    server: SnowflakeServer
    database: str
    schema: str

    @property
    def connection(self) -> dict[str, Any]:
        """Keywords of `snowflake.connector.aio.connect`, and of our own settings."""
        return {
            "account": "test",
            "user": "SLUICEWAY",
            "password": "secret",
            "host": self.server.host,
            "port": self.server.port,
            "protocol": "http",
            "database": self.database,
            "schema": self.schema,
            "warehouse": "LOADING",
            "role": "SLUICEWAY_ROLE",
            "login_timeout": 20,
            "request_timeout": 60,
            "enable_server_session_keep_alive_auto_detection": False,
            "paramstyle": "qmark",
        }

    @asynccontextmanager
    async def connect(self, **other: Any) -> AsyncIterator[Any]:
        """A session of the unmodified connector; keywords replace those of `connection`."""
        from snowflake.connector import aio

        connection = await aio.connect(**{**self.connection, **other})
        try:
            yield connection
        finally:
            await connection.close()

    async def rows(self, connection: Any, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of one statement, values bound to `?`."""
        async with connection.cursor() as cursor:
            await cursor.execute(sql, values or None)
            return await cursor.fetchall()

    def clock(self, seconds: float) -> None:
        """Set how far the clock of this database is off."""
        self.server.put(f"/test/databases/{self.database}/clock", {"seconds": seconds})

    def statements(self, **which: str) -> list[dict[str, Any]]:
        """What ran here, oldest first: query_id, session, text, tag, transaction, code, rows, …"""
        asked = "&".join(f"{name}={value}" for name, value in which.items())
        return self.server.get(f"/test/statements?database={self.database}&{asked}")
