"""`/test/…` for users, locks, transactions and what else is the account's: tests set it, and look at it."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.snowflake.server import app, async_queries, auth, consistency, control, tokens, transactions, watch
from tests.snowflake.server.model import Server


def routes(server: Server) -> list[Route]:
    return [
        Route("/test/users/{name}", partial(put_user, server), methods=["PUT"]),
        Route("/test/logins", partial(logins, server)),
        Route("/test/settings", partial(settings, server), methods=["GET", "PUT"]),
        Route("/test/consistency/{database}", partial(put_consistency, server), methods=["PUT"]),
        Route("/test/locks", partial(locks, server)),
        Route("/test/queries/{query_id}", partial(requests, server)),
    ]


async def put_user(server: Server, request: Request) -> Response:
    """PUT /test/users/NAME with properties of `auth.User`: the user as it is now."""
    user = auth.of(server).register(request.path_params["name"], **await app.body_of(request))
    return control.plain({"name": user.name, "locked": user.locked, "roles": user.roles})


def logins(server: Server, request: Request) -> Response:
    """GET /test/logins?user=: every login in order, with its outcome."""
    user = request.query_params.get("user")
    return control.plain([one for one in auth.of(server).attempts if user in (None, one["user"])])


async def settings(server: Server, request: Request) -> Response:
    """PUT /test/settings with some of `HOLDERS`' names; GET: all of them."""
    for name, value in (await app.body_of(request)).items():
        setattr(_holder(server, name), name, value)
    found = {name: getattr(_holder(server, name), name) for name in HOLDERS}
    return control.plain({**found, "renewals": tokens.of(server).renewals})


HOLDERS = {
    "idle_seconds": "transactions",
    "idle_unblocking_seconds": "transactions",
    "after_abort": "transactions",
    "waiter_limit": "locks",
    "detached_seconds": "watch",
    "answer_within": "queries",
}
"""Settings, and who keeps each; what they mean stands there."""


def _holder(server: Server, name: str) -> Any:
    keepers = {
        "transactions": transactions.of(server),
        "locks": transactions.of(server).locks,
        "watch": watch.of(server),
        "queries": async_queries.of(server),
    }
    return keepers[HOLDERS[name]]


async def put_consistency(server: Server, request: Request) -> Response:
    """PUT /test/consistency/DATABASE {"delay": seconds, null for none}"""
    delay = (await app.body_of(request)).get("delay")
    delays = consistency.of(server).delays
    if delay is None:
        delays.pop(request.path_params["database"], None)
    else:
        delays[request.path_params["database"]] = float(delay)
    return control.plain({})


def locks(server: Server, request: Request) -> Response:
    """GET /test/locks?table=: holders and waiters, of one table or all."""
    table = request.query_params.get("table")
    return control.plain([row for row in transactions.of(server).locks.rows() if table in (None, row["resource"])])


def requests(server: Server, request: Request) -> Response:
    """GET /test/queries/ID: how often it was asked for, and its status."""
    submitted = async_queries.of(server).get(request.path_params["query_id"])
    if submitted is None:
        return Response(status_code=404)
    return control.plain({"requests": submitted.requests, **async_queries.of(server).status(submitted)})
