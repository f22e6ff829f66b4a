"""`/test/…`: what only tests ask. Plug-ins add routes of their own here with `plugins.ROUTES`."""

from __future__ import annotations

import dataclasses
import json
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.snowflake.server import catalog
from tests.snowflake.server.model import Server


def routes(server: Server) -> list[Route]:
    return [
        Route("/test/ready", ready),
        Route("/test/databases/{name}", partial(make_database, server), methods=["PUT"]),
        Route("/test/databases/{name}/clock", partial(put_clock, server), methods=["PUT"]),
        Route("/test/statements", partial(statements, server)),
        Route("/test/sessions", partial(sessions, server)),
    ]


async def ready(request: Request) -> Response:
    return JSONResponse({"ready": True})


def make_database(server: Server, request: Request) -> Response:
    """PUT /test/databases/NAME?schema=A&schema=B"""
    catalog.create_database(
        server, request.path_params["name"], ("PUBLIC", *request.query_params.getlist("schema"))
    )
    return JSONResponse({})


async def put_clock(server: Server, request: Request) -> Response:
    """PUT /test/databases/NAME/clock {"seconds"}: how far CURRENT_TIMESTAMP() is off in that database."""
    server.clocks[request.path_params["name"]] = float((await request.json())["seconds"])
    return JSONResponse({})


def statements(server: Server, request: Request) -> Response:
    """GET /test/statements?session=&database=&tag=: the history, oldest first (`model.Run`)."""
    asked = request.query_params
    found = [
        run
        for run in list(server.history)
        if asked.get("session") in (None, str(run.session))
        and asked.get("database") in (None, run.database)
        and (asked.get("tag") or "") in run.tag
    ]
    return plain([{**dataclasses.asdict(run), "running": run.running} for run in found])


def sessions(server: Server, request: Request) -> Response:
    """GET /test/sessions: the sessions that are open."""
    return plain(
        [
            {
                "id": one.id,
                "user": one.user,
                "role": one.role,
                "warehouse": one.warehouse,
                "database": one.database,
                "schema": one.schema,
                "parameters": one.parameters,
                "transaction": one.transaction and one.transaction.id,
                "last_query_id": one.last_query_id,
            }
            for one in list(server.sessions.values())
        ]
    )


def plain(thing: object) -> Response:
    return Response(json.dumps(thing, default=str), media_type="application/json")
