"""Faults of the wire on demand.

A rule chooses requests and says what happens to them:

    {"sql": regex, "path": regex, "tag": regex,                     all that is given must match; tag: QUERY_TAG
     "method": "PUT", "database": name, "user": name,
     "nth": 1, "times": 1,                                       from the n-th such statement on, so many requests
     "act": "drop_before" | "drop_during" | "drop_after" | "status" | "hang" | "error" | "expire",
     "status": 503, "headers": {"retry-after": "1"}, "seconds": 5, "bytes": 1000,
     "code": "000625", "state": "57014", "message": "…"}

`drop_before`  the connection is cut and nothing was done         `status`  an HTTP status and nothing was done
               (of an upload after so many `bytes`)
`drop_during`  it is begun, and after so many `seconds` the connection is cut while it goes on
`drop_after`   it is done, and its answer is lost                 `error`   the server's error, nothing was done
`hang`         nothing for so many seconds, then as usual         `expire`  390112, 390114 or 390111 from here on

A retry of the client belongs to the statement it repeats (same `requestId`): `nth` counts statements, `times`
counts requests, null is every one. A request without a statement counts for itself. Rules are looked at in their
order, and the first that applies wins.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import re
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.snowflake.server import app, async_queries, parameters, tokens
from tests.snowflake.server.model import Server, SnowflakeError

REQUESTS = itertools.count(1)
ACTS = ("drop_before", "drop_during", "drop_after", "status", "hang", "error", "expire")


@dataclass(frozen=True)
class Seen:
    """A request as rules look at it; `statement`: what its retries have in common."""

    method: str
    path: str
    sql: str
    tag: str
    statement: str
    database: str | None
    user: str | None


@dataclass
class Rule:
    """What a test asked for (see above), and how often it happened."""

    act: str
    id: int = 0
    sql: str | None = None
    path: str | None = None
    tag: str | None = None
    method: str | None = None
    database: str | None = None
    user: str | None = None
    nth: int = 1
    times: int | None = 1
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    bytes: int = 0
    code: str = ""
    state: str = "57014"
    message: str = "a fault on demand"
    matched: int = 0
    fired: int = 0
    statements: dict[str, int] = field(default_factory=dict)

    def matches(self, seen: Seen) -> bool:
        patterns = ((self.sql, seen.sql), (self.path, seen.path), (self.tag, seen.tag))
        exact = ((self.method, seen.method), (self.database, seen.database), (self.user, seen.user))
        return all(
            asked is None or re.search(asked, got, re.IGNORECASE | re.DOTALL) for asked, got in patterns
        ) and all(asked is None or asked == got for asked, got in exact)

    def applies(self, seen: Seen) -> bool:
        """Whether it happens to this request; counts it."""
        if not self.matches(seen):
            return False
        self.matched += 1
        number = self.statements.setdefault(seen.statement, len(self.statements) + 1)
        if number < self.nth or (self.times is not None and self.fired >= self.times):
            return False
        self.fired += 1
        return True


class Faults:
    """The rules of this server."""

    def __init__(self) -> None:
        self._rules: dict[int, Rule] = {}
        self._ids = itertools.count(1)

    def add(self, asked: dict[str, Any]) -> Rule:
        rule = Rule(**asked, id=next(self._ids))
        if rule.act not in ACTS:
            raise ValueError(f"{rule.act!r} is none of {', '.join(ACTS)}")
        self._rules[rule.id] = rule
        return rule

    def get(self, number: int) -> Rule:
        return self._rules[number]

    def remove(self, number: int | None) -> None:
        """One rule, or all."""
        for one in [number] if number is not None else list(self._rules):
            self._rules.pop(one, None)

    def applying(self, seen: Seen) -> Rule | None:
        return next((rule for rule in self._rules.values() if rule.applies(seen)), None)

    @property
    def any(self) -> bool:
        return bool(self._rules)


def of(server: Server) -> Faults:
    """The faults of this server."""
    return server.plugins.setdefault("faults", Faults())


def wrap(server: Server, inner: Any) -> Any:
    """The application with faults; it must be the outermost."""

    async def faulty(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/test/") or not of(server).any:
            await inner(scope, receive, send)
            return
        body, receive = await read(scope, receive)
        rule = of(server).applying(look(server, scope, body))
        if rule is None:
            await inner(scope, receive, send)
        else:
            await happen(server, rule, inner, (scope, receive, send))

    return faulty


async def happen(server: Server, rule: Rule, inner: Any, request: tuple[Any, Any, Any]) -> None:
    """Do to a request what the rule says."""
    scope, receive, send = request
    if rule.act == "drop_before":
        taken = 0
        while taken < rule.bytes and (message := await receive())["type"] == "http.request":
            taken += len(message.get("body", b""))
        await cut(send)
    elif rule.act == "drop_during":
        going_on = asyncio.create_task(inner(scope, receive, swallow))
        await asyncio.sleep(rule.seconds)
        await cut(send)
        await going_on
    elif rule.act == "drop_after":
        await inner(scope, receive, swallow)
        await cut(send)
    elif rule.act == "status":
        await Response(b"", rule.status, rule.headers)(scope, receive, send)
    elif rule.act == "error":
        error = SnowflakeError(rule.code, rule.state, rule.message)
        answer = await async_queries.failed(server, Request(scope, receive), error)
        await answer(scope, receive, send)
    else:
        if rule.act == "hang":
            await asyncio.sleep(rule.seconds)
        else:
            session = server.sessions.get(tokens.token_of(Request(scope)))
            if session is not None:
                await app.in_thread(tokens.of(server).expire, server, session, rule.code)
        await inner(scope, receive, send)


async def swallow(message: Any) -> None:
    """Where an answer goes that is lost."""


async def cut(send: Any) -> None:
    """End the connection without an answer, and let the server notice."""
    app.drop(send)
    await asyncio.sleep(0.01)


async def read(scope: Any, receive: Any) -> tuple[bytes, Any]:
    """The body of a request, and a `receive` that gives it once more. Uploads are not read: they have no rules."""
    if scope["path"].startswith("/storage/"):
        return b"", receive
    body = await Request(scope, receive).body()
    given = False

    async def again() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return body, again


def look(server: Server, scope: Any, body: bytes) -> Seen:
    """The request as the rules see it."""
    request = Request(scope)
    sql = ""
    plain = gzip.decompress(body) if request.headers.get("content-encoding") == "gzip" else body
    if scope["path"].endswith("/query-request"):
        sql = str(json.loads(plain).get("sqlText", ""))
    session = server.sessions.get(tokens.token_of(request))
    asked = request.query_params
    database = session.database if session else asked.get("databaseName")
    user = session.user if session else None
    if scope["path"].endswith("/login-request"):
        user = str(json.loads(plain).get("data", {}).get("LOGIN_NAME", "")).upper()
    statement = asked["requestId"] if sql and "requestId" in asked else f"request {next(REQUESTS)}"
    tag = str(parameters.get(session, "QUERY_TAG")) if session else ""
    return Seen(scope["method"], scope["path"], sql, tag, statement, database, user)


def routes(server: Server) -> list[Route]:
    return [
        Route("/test/faults", partial(add, server), methods=["POST"]),
        Route("/test/faults", partial(clear, server), methods=["DELETE"]),
        Route("/test/faults/{number:int}", partial(tell, server)),
        Route("/test/faults/{number:int}", partial(clear, server), methods=["DELETE"]),
    ]


async def add(server: Server, request: Request) -> Response:
    """POST /test/faults with a rule: the rule with its `id`."""
    return JSONResponse(asdict(of(server).add(await app.body_of(request))))


async def tell(server: Server, request: Request) -> Response:
    """GET /test/faults/ID: the rule, with `matched` and `fired`."""
    return JSONResponse(asdict(of(server).get(request.path_params["number"])))


async def clear(server: Server, request: Request) -> Response:
    """DELETE /test/faults or /test/faults/ID"""
    of(server).remove(request.path_params.get("number"))
    return JSONResponse({})
