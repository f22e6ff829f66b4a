"""The application behind `/v1`: every request is named, limited, let in or not, checked, answered in one form."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from service.admin.auth import Guesses, Tokens
from service.admin.keys import HOLDER, REQUEST_ID
from service.admin.models import Key, Problem
from service.admin.openapi import document
from service.admin.operations import Call, Operation
from service.admin.page.forms import FORM, KEY_FIELD, LEADS_TO, METHOD_FIELD, fields_of, filled, form_of
from service.admin.page.pages import Page
from service.daemon.actions import By, Refused
from state.errors import SluicewayError

LARGEST_BODY = 64 * 1024
BODY_SECONDS = 10.0
"""Longest time that a body may take to come: it is small, and who sends it byte by byte holds up nothing."""
KEPT = ("Retry-After", "WWW-Authenticate", "Allow")
"""Headers of an error that are passed on."""
PAGE = web.AppKey("page", Page)

_log = logging.getLogger(__name__)


def admin_app(operations: Sequence[Operation], tokens: Tokens, page: Page, version: str) -> web.Application:
    """`/v1`, its document at `/v1/openapi.json`, and the status page."""
    app = web.Application(client_max_size=LARGEST_BODY, middlewares=[in_one_form, Gate(tokens), whole_in_time])
    app[PAGE] = page
    body = msgspec.json.encode(document(operations, version))

    async def openapi(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app.router.add_get("/v1/openapi.json", openapi)
    for operation in operations:
        app.router.add_route(operation.method, operation.path, answering(operation))
        if operation.method == "DELETE":
            app.router.add_post(operation.path, in_a_form(operation))
    app.add_routes(page.routes())
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
    response.headers.setdefault("Cache-Control", "no-store")
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
        given = request.headers.get("Authorization", "")
        holder = self._tokens.holder(given)
        if holder is None:
            if given:  # a browser asks without one first
                self._guesses.failed(address)
            told = Refused(401, "token", "a valid token is needed", "Send it as Authorization: Bearer TOKEN.")
            return problem(request, told, {"WWW-Authenticate": 'Bearer realm="sluiceway"'})
        request[HOLDER] = holder
        return await handler(request)


@web.middleware
async def whole_in_time(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Handlers find the body read. Raises `Refused` for one that does not come, or is no proper one."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            await request.read()
    except TimeoutError:
        hint = "Send the request again, whole."
        raise Refused(408, "slow", f"the body did not come within {BODY_SECONDS:g} s", hint) from None
    except web.RequestPayloadError:
        raise Refused(400, "body", "the body is not encoded as its Content-Encoding says") from None
    return await handler(request)


def answering(operation: Operation) -> Handler:
    """The request handler of an operation. A form leads to the page that shows what came of it."""

    async def handle(request: web.Request) -> web.Response:
        form = None
        if operation.method != "GET":
            form = await form_of(request, request.app[PAGE].form_tokens)
        holder = request[HOLDER]
        if holder.role < operation.role:
            raise Refused(403, "role", f"the token {holder.name} may look, not act", "Use an operate token.")
        key = request.headers.get("Idempotency-Key")
        if form is not None:
            form = filled(form)
            key = form.pop(KEY_FIELD, key)
        call = Call(
            dict(request.match_info),
            taken(dict(request.query), operation.query, strict=False),
            await body_of(request, operation, form),
            By(holder.name, request[REQUEST_ID]),
            taken(key, Key | None) or "" if operation.takes_key else "",
        )
        answer = await operation.handler(call)
        if form is not None:
            return web.Response(status=303, headers={"Location": LEADS_TO[operation.name](call, answer)})
        encoded = msgspec.json.encode(answer)
        return web.Response(body=encoded, status=operation.status, content_type="application/json")

    return handle


def in_a_form(operation: Operation) -> Handler:
    """The same for a method that a form cannot have: it says so in a field."""
    handle = answering(operation)

    async def handle_form(request: web.Request) -> web.StreamResponse:
        fields = await fields_of(request) if request.content_type == FORM else {}
        if fields.get(METHOD_FIELD) != operation.method:
            raise web.HTTPMethodNotAllowed(request.method, {operation.method, "GET"})
        return await handle(request)

    return handle_form


async def body_of(request: web.Request, operation: Operation, form: Mapping[str, str] | None) -> Any:
    """The body, or the form, as its model. Raises `Refused`."""
    if operation.body is None:
        return None
    if form is not None:
        return taken(form, operation.body, strict=False)
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
    """An error as the client sees it: a person on a page, a program in the form of RFC 9457."""
    page = request.app[PAGE]
    if page.wanted(request):
        return page.problem(request, error, _kept(headers))
    phrase = HTTPStatus(error.status).phrase
    told = Problem(error.status, phrase, error.code, error.message, error.hint, request[REQUEST_ID])
    body = msgspec.json.encode(told)
    kind = "application/problem+json"
    return web.Response(body=body, status=error.status, content_type=kind, headers=_kept(headers))


def _kept(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {name: value for name, value in (headers or {}).items() if name in KEPT}
