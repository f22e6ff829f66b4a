"""A reverse proxy in front of a real server, for faults that the server does not produce when asked.

It records every request, and changes what a rule names. It runs in a thread of its own, so that code under test
may block its event loop, or be run by one of its own.

    with FaultProxy(server.url) as proxy:
        proxy.on(page, answer(429, headers={"retry-after": "1"}), nth=5)
        ...
        assert len(proxy.seen(page)) == 9
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from threading import Condition, Event, Thread
from typing import Any

import aiohttp
from aiohttp import web

Forward = Callable[[], Awaitable["Answer"]]
Act = Callable[["Request", Forward], Awaitable["Answer"]]
"""What a rule does: it is given the request and the way to the server, and returns what the client gets."""

DROPPED = ("content-length", "transfer-encoding", "content-encoding", "connection", "keep-alive", "host")


@dataclass(frozen=True)
class Request:
    """One request as it came; `path` is without the query, `body` its JSON, None if it has none. Header names are
    in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Answer:
    """What the client gets. `cut`: bytes of the body after which the connection ends, by a reset or without."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    reset: bool = False


Match = Callable[[Request], bool]


@dataclass
class Rule:
    """`act` on the matching requests number `nth` (from 1) and the `times - 1` after it."""

    match: Match
    act: Act
    nth: int
    times: float
    count: int = 0

    def applies(self, request: Request) -> bool:
        if not self.match(request):
            return False
        self.count += 1
        return self.nth <= self.count < self.nth + self.times


def path(ending: str, method: str = "") -> Match:
    """Requests whose path ends so."""
    return lambda request: request.path.endswith(ending) and method in ("", request.method)


def page(request: Request) -> bool:
    """Requests for documents: searches that neither only count nor leave the documents out."""
    body = request.body or {}
    return request.path.endswith("/_search") and body.get("size", 10) > 0 and body.get("_source") is not False


def answer(status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> Act:
    """The server is not asked; the client gets this."""

    async def act(_request: Request, _forward: Forward) -> Answer:
        return Answer(status, json.dumps(body or {}).encode(), headers or {})

    return act


def change(how: Callable[[Any], Any]) -> Act:
    """`how` changes the JSON answer of the server in place."""

    async def act(_request: Request, forward: Forward) -> Answer:
        got = await forward()
        document = json.loads(got.body)
        how(document)
        return Answer(got.status, json.dumps(document).encode(), got.headers)

    return act


def cut(length: int, *, reset: bool = False) -> Act:
    """The body ends after `length` bytes although more were announced."""

    async def act(_request: Request, forward: Forward) -> Answer:
        got = await forward()
        return Answer(got.status, got.body, got.headers, cut=length, reset=reset)

    return act


async def reset_before(_request: Request, _forward: Forward) -> Answer:
    """The connection is reset and the server never asked."""
    return Answer(0, reset=True)


async def reset_after(_request: Request, forward: Forward) -> Answer:
    """The server does what was asked, and its answer is lost."""
    await forward()
    return Answer(0, reset=True)


async def stall(_request: Request, _forward: Forward) -> Answer:
    """No answer, ever: until the client or the proxy goes away."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


def first(what: Callable[[Request], object]) -> Act:
    """Something is done behind the client's back before its request reaches the server."""

    async def act(request: Request, forward: Forward) -> Answer:
        await asyncio.to_thread(what, request)
        return await forward()

    return act


class FaultProxy:
    """A proxy on a free port of 127.0.0.1 while its context lasts."""

    def __init__(self, upstream: str) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self._came = Condition()
        self._upstream = upstream
        self._rules: list[Rule] = []
        self._ready = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._serve()), name="fault-proxy", daemon=True)
        self._failure: BaseException | None = None

    def on(self, match: Match, act: Act, *, nth: int = 1, times: float = 1) -> Rule:
        """From now on `act` on requests that match; the first rule that applies wins. `times=inf`: always."""
        rule = Rule(match, act, nth, times)
        self._rules.append(rule)
        return rule

    def seen(self, match: Match) -> list[Request]:
        """The requests so far that match, in order."""
        return [request for request in self.requests if match(request)]

    def wait(self, match: Match, count: int) -> None:
        """Block until `count` requests that match have come."""
        with self._came:
            self._came.wait_for(lambda: len(self.seen(match)) >= count)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._session = aiohttp.ClientSession(auto_decompress=False)
        server = web.Server(self._handle)
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        try:
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            self.url = f"http://{host}:{port}"
            self._ready.set()
            await self._stop.wait()
        except OSError as error:
            self._failure = error
        finally:
            self._ready.set()
            await runner.cleanup()
            await self._session.close()

    async def _handle(self, incoming: web.BaseRequest) -> web.StreamResponse:
        raw = await incoming.read()
        headers = {name.lower(): value for name, value in incoming.headers.items()}
        request = Request(incoming.method, incoming.path, dict(incoming.query), headers, _json(raw))
        with self._came:
            self.requests.append(request)
            self._came.notify_all()
        applying = [rule for rule in self._rules if rule.applies(request)]

        async def forward() -> Answer:
            return await self._forward(incoming, raw)

        got = await (applying[0].act(request, forward) if applying else forward())
        return await _send(incoming, got)

    async def _forward(self, incoming: web.BaseRequest, raw: bytes) -> Answer:
        headers = {name: value for name, value in incoming.headers.items() if name.lower() not in DROPPED}
        headers["accept-encoding"] = "identity"
        url = self._upstream + incoming.raw_path
        async with self._session.request(incoming.method, url, data=raw or None, headers=headers) as got:
            kept = {name: value for name, value in got.headers.items() if name.lower() not in DROPPED}
            return Answer(got.status, await got.read(), kept)


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


async def _send(incoming: web.BaseRequest, got: Answer) -> web.StreamResponse:
    transport = incoming.transport
    if not got.reset and got.cut is None:
        return web.Response(status=got.status, body=got.body, headers=_typed(got.headers))
    if got.cut is not None:
        response = web.StreamResponse(status=got.status, headers=_typed(got.headers))
        response.content_length = len(got.body)
        await response.prepare(incoming)
        await response.write(got.body[: got.cut])
        await asyncio.sleep(0.05)  # what was written shall reach the client before the end of it
    if transport is not None:
        transport.abort() if got.reset else transport.close()
    return web.Response()  # goes nowhere: the connection is gone


def _typed(headers: Mapping[str, str]) -> dict[str, str]:
    """An answer always says what it is."""
    named = {name.lower(): value for name, value in headers.items()}
    return {"content-type": "application/json; charset=UTF-8", **named}
