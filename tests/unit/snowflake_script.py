"""A Snowflake in a few lines, in this process, for what a test wants it to answer.

It takes logins and statements of the real driver. A test says what a login, a statement or any request is answered
with; everything else succeeds. It knows nothing of SQL: `tests/snowflake` has the server that does.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from state.snowflake.settings import SnowflakeConnection

Act = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse | None] | web.StreamResponse | None]
"""What answers instead: the request and its JSON → an answer, or None for the usual one."""

QUERY = "/queries/v1/query-request"


@dataclass
class Seen:
    """A request as it came."""

    path: str
    body: dict[str, Any]
    token: str


@dataclass
class SnowflakeScript:
    """`on_login`, `on_statement`, `on_request`: what a test changes. `seen`: every request."""

    port: int = 0
    on_login: Act | None = None
    on_statement: Act | None = None
    on_request: Act | None = None
    seen: list[Seen] = field(default_factory=list)
    parameters: dict[str, dict[str, str]] = field(default_factory=dict)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def at(self, path: str) -> list[Seen]:
        return [one for one in self.seen if one.path == path]

    @property
    def logins(self) -> list[dict[str, Any]]:
        return [one.body["data"] for one in self.at("/session/v1/login-request")]

    @property
    def statements(self) -> list[str]:
        return [one.body["sqlText"] for one in self.at(QUERY)]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw or b"{}") or {}
        token = request.headers.get("Authorization", "").partition('Token="')[2].rstrip('"')
        self.seen.append(Seen(request.path, body, token))
        own = {"/session/v1/login-request": self.on_login, QUERY: self.on_statement}.get(request.path)
        for act in (self.on_request, own):
            answer = act(request, body) if act is not None else None
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer is not None:
                return answer
        return self.usual(request.path, body, token)

    def usual(self, path: str, body: dict[str, Any], token: str) -> web.StreamResponse:
        if path == "/session/v1/login-request":
            return self.login(body["data"])
        if path == "/session/token-request":
            renewed = token.replace("master", "session") + "+"
            self.parameters[renewed] = self.parameters[token.replace("master", "session")]
            return ok(
                {"sessionToken": renewed, "validityInSecondsST": 3600, "sessionId": 1} | renewed_master(token)
            )
        if path != QUERY:
            return ok(None)
        if body["sqlText"] == "SHOW PARAMETERS":
            return table(["key", "value"], [[key, value] for key, value in self.parameters[token].items()])
        return table(["status"], [["done"]])

    def login(self, data: dict[str, Any]) -> web.StreamResponse:
        number = next(self.numbers)
        token = f"session-{number}"
        self.parameters[token] = {key: str(value) for key, value in data["SESSION_PARAMETERS"].items()}
        return ok(
            {"token": token, "masterToken": f"master-{number}", "sessionId": 1000 + number, "sessionInfo": {}}
            | {"validityInSeconds": 3600, "masterValidityInSeconds": 14400, "serverVersion": "9.30.0"}
            | {"parameters": [{"name": key, "value": value} for key, value in self.parameters[token].items()]}
        )


def renewed_master(token: str) -> dict[str, Any]:
    return {"masterToken": token, "validityInSecondsMT": 14400}


def ok(data: Any) -> web.Response:
    return web.json_response({"success": True, "code": None, "message": None, "data": data})


def refused(code: int, message: str = "no", state: str = "08001") -> web.Response:
    """An error of the server, as it is sent: with HTTP 200."""
    data = {"errorCode": f"{code:06d}", "sqlState": state, "queryId": str(uuid.UUID(int=code))}
    return web.json_response({"success": False, "code": f"{code:06d}", "message": message, "data": data})


def answer(**fields: Any) -> web.Response:
    """An answer to a statement; `rowtype` and rows in one of the two formats."""
    usual = {"queryId": str(uuid.uuid4()), "statementTypeId": 4096, "sqlState": "00000", "parameters": []}
    return ok(usual | fields)


def table(columns: Sequence[str], rows: Sequence[Sequence[str | None]], kind: str = "text") -> web.Response:
    """Rows of text, which the driver converts by `kind`."""
    types = [{"name": name, "type": kind, "nullable": True, "scale": 0, "precision": 38} for name in columns]
    return answer(rowtype=types, rowset=rows, total=len(rows), returned=len(rows), queryResultFormat="json")


def settings(port: int, **given: Any) -> SnowflakeConnection:
    """A connection to such a server. The password is in the environment variable `SNOWFLAKE_TEST_PASSWORD`."""
    if not {"private_key", "programmatic_access_token", "oauth_token"} & given.keys():
        given |= {"password": {"env": "SNOWFLAKE_TEST_PASSWORD"}, "allow_password": True}
    usual = {
        "account": "acc",
        "user": "u",
        "role": "R",
        "warehouse": "WH",
        "host": "127.0.0.1",
        "protocol": "http",
    }
    return SnowflakeConnection.model_validate(usual | {"port": port} | given)


@asynccontextmanager
async def serving(context: ssl.SSLContext | None = None) -> AsyncIterator[SnowflakeScript]:
    """A script that answers on a free port of 127.0.0.1."""
    script = SnowflakeScript()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", script.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    script.port = runner.addresses[0][1]
    try:
        yield script
    finally:
        await runner.cleanup()


def drop(request: web.Request, _body: dict[str, Any]) -> web.Response:
    """The connection is cut without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def hang(_request: web.Request, _body: dict[str, Any]) -> None:
    """No answer for longer than any test waits."""
    await asyncio.sleep(3600)
