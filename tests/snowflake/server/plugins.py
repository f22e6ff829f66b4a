"""Where parts of the server are plugged in. One line for each; the order matters.

HANDLERS        every statement passes these in order, the last one lets fakesnow and DuckDB run it
                (`model.Handler`). Whoever must see a statement before its effect, or its answer after, calls
                `proceed(statement)` in between. A handler runs in the statement's own thread and may block.
LOGIN_CHECKS    `check(login: app.Login)`: each looks at a login before its session is opened; it may change
                `login.user`, `.role`, `.warehouse`, and raises `SnowflakeError` to refuse.
ROUTES          functions `routes(server) -> list[starlette.routing.Route]`; they win over those of `app.py`
                (token-request, monitoring/queries, queries/ID/result, abort-request, /test/…).
WRAPPERS        functions `wrap(server, app) -> ASGI app` around everything, the first outermost: faults of the
                wire (status codes, hangs, dropped connections; `app.drop(send)` cuts one).
"""

from __future__ import annotations

from tests.snowflake.server import (
    async_queries,
    auth,
    consistency,
    copying,
    ddl,
    desk,
    engine,
    faults,
    grants,
    history,
    looking,
    parameters,
    show,
    stages,
    tokens,
    transactions,
    users,
    variables,
    visibility,
    warehouses,
    watch,
)

HANDLERS = (
    variables.handle,
    users.handle,
    engine.described,
    watch.handle,
    grants.handle,
    visibility.handle,
    warehouses.handle,
    consistency.handle,
    transactions.handle,
    watch.functions,
    looking.handle,
    history.handle,
    parameters.handle,
    stages.handle,
    copying.handle,
    ddl.handle,
    show.handle,
    engine.run,
)
LOGIN_CHECKS = (auth.check, grants.check, warehouses.check)
ROUTES = (async_queries.routes, tokens.routes, desk.routes, faults.routes, grants.routes, warehouses.routes)
WRAPPERS = (faults.wrap, tokens.wrap)
