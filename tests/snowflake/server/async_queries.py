"""Statements as requests: each runs once however often it is asked for, and its answer can be fetched later.

A query request is known by its session and `requestId`; a repeated one joins the statement that runs or gets the
answer that was given, and nothing runs twice (documented for clients: snowflakedb/drivers, query-execution). An
answer that takes longer than `answer_within` seconds (a real server: 45), or is asked for with `asyncExec`,
becomes "in progress": code 333333 or 333334 and `getResultUrl`. A statement goes on whether its client is there
or not.

    GET  /monitoring/queries/ID          status: RUNNING, BLOCKED (by a lock), QUEUED, SUCCESS, FAILED_WITH_ERROR
    GET  /queries/ID/result              the answer, as the query request would have had it
    POST /queries/ID/abort-request       cancel it; refused with 000605 if it does not run
    POST /queries/v1/abort-request       the same by the `requestId` in the body

Statements of one session run one after another here, submitted asynchronously or not; a real server runs the
former side by side.
"""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.snowflake.server import app, transactions, warehouses, watch, wire
from tests.snowflake.server.model import Server, SnowflakeError, Statement

ANSWER_WITHIN = 45.0
KEPT = 5000
KEPT_BYTES = 64 * 1024 * 1024
"""Answers that are kept to be fetched or given again: the newest, so many, of so many bytes of Arrow together."""

Body = dict[str, Any]


@dataclass
class Submitted:
    """A statement that was submitted, and the body of its answer once there is one."""

    statement: Statement
    request_id: str
    answer: Future[Body]
    started: float = field(default_factory=time.time)
    ended: float | None = None
    requests: int = 1

    @property
    def id(self) -> str:
        return self.statement.query_id

    def error(self) -> Body | None:
        """The answer if it is an error."""
        if not self.answer.done():
            return None
        body = self.answer.result()
        return None if body["success"] else body


class Queries:
    """What was submitted, the newest of it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.answer_within = ANSWER_WITHIN
        self._by_id: OrderedDict[str, Submitted] = OrderedDict()
        self._by_request: dict[tuple[int, str], Submitted] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, query_id: str) -> Submitted | None:
        return self._by_id.get(query_id)

    def by_request(self, session: int, request_id: str) -> Submitted | None:
        return self._by_request.get((session, request_id))

    def submit(self, statement: Statement, request_id: str) -> Submitted:
        """Start it, unless this request was seen before."""
        known = self.by_request(statement.session.id, request_id)
        if known is not None:
            known.requests += 1
            return known
        submitted = Submitted(statement, request_id, Future())
        with self._lock:
            self._by_id[submitted.id] = self._by_request[statement.session.id, request_id] = submitted
            self._forget()
        app.THREADS.submit(self._run, submitted)
        return submitted

    def fail(self, statement: Statement, request_id: str, error: SnowflakeError) -> Submitted:
        """A statement that is not run and has this error for its answer."""
        submitted = Submitted(statement, request_id, Future())
        submitted.answer.set_result(wire.failure(error, submitted.id))
        with self._lock:
            self._by_id[submitted.id] = self._by_request[statement.session.id, request_id] = submitted
        return submitted

    def _forget(self) -> None:
        while len(self._by_id) > KEPT or self._bytes > KEPT_BYTES:
            oldest = next(iter(self._by_id.values()))
            if not oldest.answer.done():
                return
            del self._by_id[oldest.id]
            del self._by_request[oldest.statement.session.id, oldest.request_id]
            self._bytes -= size(oldest.answer.result())

    def _run(self, submitted: Submitted) -> None:
        try:
            body = app.executed(submitted.statement)
        except SnowflakeError as error:
            body = wire.failure(error, submitted.id)
        except Exception as error:  # noqa: BLE001 - a defect of this server is an answer too, not a client that waits
            traceback.print_exc()
            body = wire.failure(
                SnowflakeError("000603", "XX000", f"the test server failed: {error!r}"), submitted.id
            )
        with self._lock:
            self._bytes += size(body)
            submitted.ended = time.time()
            submitted.answer.set_result(body)

    def status(self, submitted: Submitted) -> Body:
        """One entry of the monitoring endpoint."""
        error = submitted.error() or {}
        ended = submitted.ended
        session = submitted.statement.session
        return {
            "id": submitted.id,
            "status": self.status_name(submitted),
            "state": self.status_name(submitted),
            "errorCode": error.get("code"),
            "errorMessage": error.get("message"),
            "startTime": int(submitted.started * 1000),
            "endTime": int(ended * 1000) if ended else 0,
            "totalDuration": int(((ended or time.time()) - submitted.started) * 1000),
            "sessionId": session.id,
            "sqlText": submitted.statement.text,
            "warehouseName": session.warehouse,
        }

    def status_name(self, submitted: Submitted) -> str:
        if submitted.answer.done():
            return "SUCCESS" if submitted.error() is None else "FAILED_WITH_ERROR"
        if transactions.of(self.server).locks.waiting(submitted.id):
            return "BLOCKED"
        running = watch.of(self.server).running(submitted.id)
        return "QUEUED" if running is None or warehouses.of(self.server).queued(submitted.id) else "RUNNING"


def of(server: Server) -> Queries:
    """The queries of this server."""
    return server.plugins.setdefault("queries", Queries(server))


def size(body: Body) -> int:
    """The bytes of an answer that count."""
    return len((body["data"] or {}).get("rowsetBase64") or "")


def in_progress(submitted: Submitted, code: str) -> Response:
    message = "Query execution in progress." if code == "333333" else "Asynchronous execution in progress."
    data = {"queryId": submitted.id, "getResultUrl": f"/queries/{submitted.id}/result", "progressDesc": None}
    return JSONResponse({"data": data, "code": code, "message": message, "success": True})


async def answered(server: Server, submitted: Submitted, request: Request) -> Response:
    """The answer if it comes in time and the client is still there."""
    await request.body()  # what is received after it is that the client is gone
    watch.of(server).client_back(submitted.id)
    answer = asyncio.ensure_future(asyncio.wrap_future(submitted.answer))
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({answer, gone}, timeout=of(server).answer_within, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return JSONResponse(answer.result())
        watch.of(server).client_gone(submitted.id)  # until it asks again
        return in_progress(submitted, "333333")
    finally:
        gone.cancel()


async def query(server: Server, request: Request) -> Response:
    try:
        session = app.session_of(server, request)
        address = f"{request.url.scheme}://{request.url.netloc}"
        body = await app.body_of(request) | {"address": address}
        statement = app.statement_of(server, session, body)
    except SnowflakeError as error:
        return app.refused(error)
    submitted = of(server).submit(statement, request.query_params.get("requestId", statement.query_id))
    if body.get("asyncExec"):
        return in_progress(submitted, "333334")
    return await answered(server, submitted, request)


async def failed(server: Server, request: Request, error: SnowflakeError) -> Response:
    """The answer to a statement that fails with this error: one that is submitted asynchronously has an id."""
    body = await app.body_of(request) if request.url.path.endswith("/query-request") else {}
    if not body.get("asyncExec"):
        return app.refused(error)
    statement = app.statement_of(server, app.session_of(server, request), body)
    submitted = of(server).fail(statement, request.query_params["requestId"], error)
    return in_progress(submitted, "333334")


async def result(server: Server, request: Request) -> Response:
    try:
        app.session_of(server, request)
        submitted = of(server).get(request.path_params["query_id"])
        if submitted is None:
            raise SnowflakeError("000612", "02000", "Result not found")
    except SnowflakeError as error:
        return app.refused(error)
    return await answered(server, submitted, request)


async def status(server: Server, request: Request) -> Response:
    try:
        app.session_of(server, request)
    except SnowflakeError as error:
        return app.refused(error)
    submitted = of(server).get(request.path_params["query_id"].lstrip("/"))
    found = [] if submitted is None else [of(server).status(submitted)]
    return JSONResponse({"data": {"queries": found}, "code": None, "message": None, "success": True})


async def abort(server: Server, request: Request) -> Response:
    """By query id in the path, or by the id of the request that submitted it in the body."""
    try:
        session = app.session_of(server, request)
        query_id = request.path_params.get("query_id")
        if query_id is None:
            known = of(server).by_request(session.id, str((await app.body_of(request)).get("requestId")))
            query_id = known.id if known else ""
        if not watch.of(server).cancel(query_id):
            raise SnowflakeError("000605", "02000", "Identified SQL statement is not currently executing.")
    except SnowflakeError as error:
        return app.refused(error)
    return JSONResponse({"data": None, "code": None, "message": None, "success": True})


async def end_session(server: Server, request: Request) -> Response:
    """POST /session?delete=true: the open transaction is rolled back and gives its locks back."""
    try:
        session = app.session_of(server, request)
    except SnowflakeError as error:
        return app.refused(error)
    if request.query_params.get("delete"):
        await app.in_thread(transactions.of(server).end_session, session)
    return await app.end_session(server, request)


def routes(server: Server) -> list[Route]:
    return [
        Route("/queries/v1/query-request", partial(query, server), methods=["POST"]),
        Route("/queries/v1/abort-request", partial(abort, server), methods=["POST"]),
        Route("/queries/{query_id}/abort-request", partial(abort, server), methods=["POST"]),
        Route("/queries/{query_id}/result", partial(result, server)),
        Route("/monitoring/queries/{query_id:path}", partial(status, server)),  # driver 5.2 writes two slashes
        Route("/session", partial(end_session, server), methods=["POST"]),
    ]
