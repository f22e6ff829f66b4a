"""What goes wrong around a daemon in trouble: questions to a source, a receiver of notifications, functions."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.servers.proxy import Answer, Forward, Request, change

QUICK_TICKS = """
from datetime import UTC, datetime
import apscheduler.schedulers.asyncio as waiting
import apscheduler.schedulers.base as scheduling

TIMES, BEGAN = 40, datetime.now(UTC)

class Quick(datetime):
    @classmethod
    def now(cls, tz=None):
        return BEGAN.astimezone(tz) + (datetime.now(tz) - BEGAN) * TIMES

wait = waiting.AsyncIOScheduler._start_timer
waiting.AsyncIOScheduler._start_timer = lambda self, seconds: wait(self, seconds and seconds / TIMES)
scheduling.datetime = Quick
"""
"""The `sitecustomize` of the process that is served."""

FUNCTIONS = """
import pathlib, time

def skip(config, record):
    return {"skip_dag_run": True}

def nothing(config, record):
    return {}

def hold(config, record):
    while not pathlib.Path("go-" + record["pipeline_name"]).exists():
        time.sleep(0.01)
    return {}
"""


def clock(request: Request) -> bool:
    """Questions for the time."""
    return "sluiceway_clock" in json.dumps(request.body)


def snapshot_count(request: Request) -> bool:
    """Counts inside a point in time."""
    return is_count(request) and "pit" in request.body


def live_count(request: Request) -> bool:
    """Counts of what is there now."""
    return is_count(request) and "pit" not in request.body


def is_count(request: Request) -> bool:
    body = request.body or {}
    return body.get("track_total_hits") is True and body.get("size") == 0 and "aggs" not in body


def more(rows: int) -> Any:
    """The server's count is off by so many."""

    def off(document: Any) -> None:
        document["hits"]["total"]["value"] += rows

    return change(off)


@dataclass
class Gate:
    """Keeps requests waiting until it is opened."""

    opened: threading.Event = field(default_factory=threading.Event)

    async def act(self, _request: Request, forward: Forward) -> Answer:
        await asyncio.to_thread(self.opened.wait)
        return await forward()


@dataclass
class Meter:
    """The documents that were given out through one proxy."""

    rows: int = 0

    async def act(self, _request: Request, forward: Forward) -> Answer:
        got = await forward()
        self.rows += len(json.loads(got.body)["hits"]["hits"])
        return got


class Receiver:
    """Of notifications: takes those to `/hook`, and refuses all others."""

    def __init__(self) -> None:
        self.came: list[tuple[str, bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.came.append((self.path, body))
                self.send_response(200 if self.path == "/hook" else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def listening(self) -> Iterator[Receiver]:
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def at(self, path: str) -> int:
        return sum(to == path for to, _ in self.came)
