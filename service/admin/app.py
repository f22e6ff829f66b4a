"""The application behind `/v1`: every request is named, limited, let in or not, checked, answered in one form."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from service.admin.auth import Guesses, Holder, Tokens
from service.admin.models import Key, Problem
from service.admin.openapi import document
from service.admin.operations import Call, Operation
from service.daemon.actions import By, Refused
from state.errors import SluicewayError

LARGEST_BODY = 64 * 1024
KEPT = ("Retry-After", "WWW-Authenticate", "Allow")
"""Headers of an error that are passed on."""
HOLDER = web.RequestKey("holder", Holder)
REQUEST_ID = web.RequestKey("request_id", str)

_log = logging.getLogger(__name__)


def admin_app(operations: Sequence[Operation], tokens: Tokens, version: str) -> web.Application:
    """`/v1`, and its document at `/v1/openapi.json`."""
    app = web.Application(client_max_size=LARGEST_BODY, middlewares=[in_one_form, Gate(tokens)])
    body = msgspec.json.encode(document(operations, version))

    async def openapi(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app.router.add_get("/v1/openapi.json", openapi)
    for operation in operations:
        app.router.add_route(operation.method, operation.path, answering(operation))
    return app


@web.middleware
async def in_one_form(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as RFC 9457 has them; a defect says nothing of itself but its request id, which the log has too."""
    request[REQUEST_ID] = uuid4().hex
    try:
        response = await handler(request)
    except Refused as error:
        response = problem(request, error)
    except SluicewayError as error:
        response = problem(request, Refused(503, error.code, error.message, error.hint))
    except web.HTTPException as error:
        response = problem(request, Refused(error.status, "http", error.reason), error.headers)
    except Exception:  # noqa: BLE001 the one boundary of a request: a defect ends it, not the daemon
        _log.warning("a defect in answering request %s", request[REQUEST_ID], exc_info=True)
        told = Refused(500, "defect", "a defect of Sluiceway", "Look in the log for this request id.")
        response = problem(request, told)
    response.headers["X-Request-Id"] = request[REQUEST_ID]
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


class Gate:
    """Lets in who has a token. Without one the answer is always the same; who guesses is made to wait."""

    __middleware_version__ = 1

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._guesses = Guesses()

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        address = request.remote or ""
        if (wait := self._guesses.wait(address)) > 0:
            told = Refused(429, "wait", "too many wrong tokens", "Wait, then use a valid token.")
            return problem(request, told, {"Retry-After": str(int(wait) + 1)})
        holder = self._tokens.holder(request.headers.get("Authorization", ""))
        if holder is None:
            self._guesses.failed(address)
            told = Refused(401, "token", "a valid token is needed", "Send it as Authorization: Bearer TOKEN.")
            return problem(request, told, {"WWW-Authenticate": 'Bearer realm="sluiceway"'})
        request[HOLDER] = holder
        return await handler(request)


def answering(operation: Operation) -> Handler:
    """The request handler of an operation."""

    async def handle(request: web.Request) -> web.Response:
        holder = request[HOLDER]
        if holder.role < operation.role:
            raise Refused(403, "role", f"the token {holder.name} may look, not act", "Use an operate token.")
        call = Call(
            dict(request.match_info),
            taken(dict(request.query), operation.query, strict=False),
            await body_of(request, operation),
            By(holder.name, request[REQUEST_ID]),
            taken(request.headers.get("Idempotency-Key"), Key | None) or "" if operation.takes_key else "",
        )
        answer = await operation.handler(call)
        encoded = msgspec.json.encode(answer)
        return web.Response(body=encoded, status=operation.status, content_type="application/json")

    return handle


async def body_of(request: web.Request, operation: Operation) -> Any:
    """The body as its model. Raises `Refused`."""
    if operation.body is None:
        return None
    if request.content_type != "application/json":
        raise Refused(400, "content_type", "the body must be application/json")
    try:
        return msgspec.json.decode(await request.read(), type=operation.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, "body", f"the body is not what it must be: {error}") from None


def taken(value: Any, model: Any, *, strict: bool = True) -> Any:
    """`value` as `model`. Raises `Refused`."""
    try:
        return msgspec.convert(value, model, strict=strict)
    except msgspec.ValidationError as error:
        raise Refused(400, "parameter", f"a parameter is not what it must be: {error}") from None


def problem(request: web.Request, error: Refused, headers: Mapping[str, str] | None = None) -> web.Response:
    """An error as the client sees it."""
    phrase = HTTPStatus(error.status).phrase
    told = Problem(error.status, phrase, error.code, error.message, error.hint, request[REQUEST_ID])
    kept = {name: value for name, value in (headers or {}).items() if name in KEPT}
    body = msgspec.json.encode(told)
    return web.Response(body=body, status=error.status, content_type="application/problem+json", headers=kept)
