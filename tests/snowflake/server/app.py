"""The wire: login, query requests, sessions, storage, and `/test/…` for the tests themselves."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.snowflake.server import binding, control, parameters, plugins, storage, wire
from tests.snowflake.server.model import Answer, Server, Session, SnowflakeError, Statement

THREADS = ThreadPoolExecutor(400, thread_name_prefix="statement")
"""A statement blocks its thread while it waits for a lock; many may wait at once."""

VALIDITY_SECONDS = 3600


@dataclass
class Login:
    """A login as it came. The checks of `plugins.LOGIN_CHECKS` may change user, role and warehouse."""

    server: Server
    data: dict[str, Any]
    user: str
    role: str | None
    warehouse: str | None
    database: str | None
    schema: str | None
    parameters: dict[str, Any] = field(default_factory=dict)


def build(server: Server) -> Any:
    """The ASGI application."""
    routes = [route for make in plugins.ROUTES for route in make(server)]
    app: Any = Starlette(
        routes=[
            *routes,
            Route("/session/v1/login-request", partial(login, server), methods=["POST"]),
            Route("/session", partial(end_session, server), methods=["POST"]),
            Route("/session/heartbeat", partial(heartbeat, server), methods=["POST"]),
            Route("/queries/v1/query-request", partial(query, server), methods=["POST"]),
            Route("/queries/v1/abort-request", partial(abort, server), methods=["POST"]),
            Route("/telemetry/send", telemetry, methods=["POST"]),
            *storage.routes(server),
            *control.routes(server),
        ],
        exception_handlers={Exception: broken},
    )
    for wrap in reversed(plugins.WRAPPERS):
        app = wrap(server, app)
    return app


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON that the client sent."""
    body = await request.body()
    if request.headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    return json.loads(body) if body else {}


def refused(error: SnowflakeError, query_id: str | None = None) -> JSONResponse:
    return JSONResponse(wire.failure(error, query_id), status_code=error.status)


async def broken(request: Request, error: Exception) -> Response:
    """A defect of this server: its stack goes to the log, and the client need not try again."""
    return refused(SnowflakeError("000603", "XX000", f"defect of the test server: {error!r}"))


async def login(server: Server, request: Request) -> Response:
    data = (await body_of(request))["data"]
    asked = request.query_params
    upper = {name: value for name, value in (data.get("SESSION_PARAMETERS") or {}).items()}
    attempt = Login(
        server,
        data,
        user=str(data.get("LOGIN_NAME") or "").upper(),
        role=name_of(asked.get("roleName")),
        warehouse=name_of(asked.get("warehouse")),
        database=name_of(asked.get("databaseName")),
        schema=name_of(asked.get("schemaName")),
        parameters={name.upper(): value for name, value in upper.items()},
    )
    try:
        session = await in_thread(logged_in, attempt)
    except SnowflakeError as error:
        return refused(error)
    return JSONResponse({"data": login_answer(session), "success": True, "code": None, "message": None})


def name_of(word: str | None) -> str | None:
    """An identifier as the server keeps it: upper-case unless quoted."""
    if not word:
        return None
    return word[1:-1] if word.startswith('"') else word.upper()


def logged_in(attempt: Login) -> Session:
    for check in plugins.LOGIN_CHECKS:
        check(attempt)
    session = attempt.server.open_session(
        user=attempt.user,
        role=attempt.role or "PUBLIC",
        warehouse=attempt.warehouse,
        database=attempt.database,
        schema=attempt.schema,
    )
    session.client = {key: attempt.data.get(key) for key in ("CLIENT_APP_ID", "CLIENT_APP_VERSION")}
    session.secondary_roles = str(attempt.data.get("SECONDARY_ROLES") or session.secondary_roles).upper()
    parameters.opened(session, attempt.parameters)
    return session


def login_answer(session: Session) -> dict[str, Any]:
    return {
        "token": session.token,
        "masterToken": session.master_token,
        "validityInSeconds": VALIDITY_SECONDS,
        "masterValidityInSeconds": 4 * VALIDITY_SECONDS,
        "sessionId": session.id,
        "serverVersion": "9.30.0",
        "parameters": [
            {"name": "AUTOCOMMIT", "value": parameters.get(session, "AUTOCOMMIT")},
            {"name": "TIMEZONE", "value": parameters.get(session, "TIMEZONE")},
            {"name": "CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY", "value": VALIDITY_SECONDS},
            {"name": "CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", "value": 0},
        ],
        "sessionInfo": {
            "databaseName": session.database,
            "schemaName": session.schema,
            "warehouseName": session.warehouse,
            "roleName": session.role,
        },
    }


def session_of(server: Server, request: Request) -> Session:
    """The session whose token the request carries. Raises 390103 and 390104 as Snowflake does."""
    header = request.headers.get("authorization", "")
    if 'Token="' not in header:
        raise SnowflakeError("390103", "08001", "Session token not found in the request data.", status=401)
    session = server.sessions.get(header.split('"')[1])
    if session is None:
        raise SnowflakeError("390104", "08001", "User must login again to access the service.", status=401)
    return session


async def end_session(server: Server, request: Request) -> Response:
    try:
        session = session_of(server, request)
    except SnowflakeError as error:
        return refused(error)
    if request.query_params.get("delete"):
        await in_thread(server.close_session, session)
    return JSONResponse({"data": None, "code": None, "message": None, "success": True})


async def heartbeat(server: Server, request: Request) -> Response:
    try:
        session_of(server, request)
    except SnowflakeError as error:
        return refused(error)
    return JSONResponse({"data": None, "code": None, "message": None, "success": True})


async def telemetry(request: Request) -> Response:
    return JSONResponse({"data": "Log Received", "code": None, "message": None, "success": True})


async def query(server: Server, request: Request) -> Response:
    statement = None
    try:
        session = session_of(server, request)
        address = f"{request.url.scheme}://{request.url.netloc}"
        statement = statement_of(server, session, await body_of(request) | {"address": address})
        return JSONResponse(await in_thread(executed, statement))
    except SnowflakeError as error:
        return refused(error, statement and statement.query_id)


async def abort(server: Server, request: Request) -> Response:
    """Stop what the session runs now."""
    try:
        session_of(server, request).duck.interrupt()
    except SnowflakeError as error:
        return refused(error)
    return JSONResponse({"data": None, "code": None, "message": None, "success": True})


def statement_of(server: Server, session: Session, body: dict[str, Any]) -> Statement:
    statement = Statement(server, session, body["sqlText"], request=body)
    statement.binds, statement.batch = binding.values(body.get("bindings") or {})
    return statement


def executed(statement: Statement) -> dict[str, Any]:
    """Run one statement of a session, and write it to the history; the body of its answer."""
    session = statement.session
    with session.lock:
        run = statement.server.started(statement)
        try:
            answer = passed(statement)
        except SnowflakeError as error:
            run.code, run.message = error.code, error.message
            raise
        finally:
            run.ended = datetime.now(UTC)
        session.answered(statement.query_id, answer)
        run.kind, run.rows = answer.kind, answer.total
        return wire.success(statement, answer)


def passed(statement: Statement) -> Answer:
    """The answer of the chain of handlers."""

    def step(position: int) -> Callable[[Statement], Answer]:
        def proceed(one: Statement) -> Answer:
            return plugins.HANDLERS[position](one, step(position + 1))

        return proceed

    return step(0)(statement)


async def in_thread(function: Callable[..., Any], *values: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(THREADS, partial(function, *values))


def drop(send: Any) -> None:
    """Cut the connection of a request without an answer, as a broken network does."""
    while not hasattr(send, "__self__"):
        send = send.__closure__[0].cell_contents
    send.__self__.transport.abort()
