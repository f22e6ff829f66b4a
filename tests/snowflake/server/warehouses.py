"""Warehouses that refuse to work, or let statements wait.

Every warehouse works until a test says otherwise (`PUT /test/warehouses/NAME`): suspended without auto-resume, at
its resource monitor's limit, busy so that statements queue, or not there at all. Statements that need none (SHOW,
DESCRIBE, LIST, PUT, ALTER SESSION, a SELECT without FROM, DDL) go on. Texts of 000606 and 090073 as seen in the
field; that of a statement that queued for longer than STATEMENT_QUEUED_TIMEOUT_IN_SECONDS is ours, under 000630.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.snowflake.server import app, parameters, watch
from tests.snowflake.server.model import Answer, Server, SnowflakeError, Statement

NEEDING = re.compile(
    r"(?:\(*\s*(?:SELECT|WITH)\b.*\bFROM\b|INSERT\b|UPDATE\b|DELETE\b|MERGE\b|COPY\s+INTO\b|CREATE\b.*\bAS\s+\(*\s*SELECT\b)",
    re.IGNORECASE | re.DOTALL,
)
LOOK = 0.02


@dataclass
class Warehouse:
    """How a warehouse behaves. `monitor`: the resource monitor whose limit it has reached."""

    missing: bool = False
    suspended: bool = False
    auto_resume: bool = True
    monitor: str | None = None
    busy: bool = False


class Warehouses:
    """The warehouses that are not as usual."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._queued: set[str] = set()
        self._warehouses: dict[str, Warehouse] = {}

    def get(self, name: str) -> Warehouse:
        return self._warehouses.get(name.upper(), Warehouse())

    def put(self, name: str, warehouse: Warehouse) -> None:
        self._warehouses[name.upper()] = warehouse

    def queued(self, query_id: str) -> bool:
        """Whether this statement waits for a warehouse."""
        return query_id in self._queued

    def handle(self, statement: Statement, proceed: Callable[[Statement], Answer]) -> Answer:
        """A handler: a statement that needs a warehouse gets one, waits for it, or fails."""
        if NEEDING.match(statement.bare):
            self._require(statement)
        return proceed(statement)

    def _require(self, statement: Statement) -> None:
        name = statement.session.warehouse
        warehouse = self.get(name or "")
        if not name or warehouse.missing or (warehouse.suspended and not warehouse.auto_resume):
            raise none_active()
        if warehouse.monitor is not None:
            raise SnowflakeError(
                "090073",
                "22000",
                f"Warehouse '{name}' cannot be resumed because resource monitor '{warehouse.monitor}' "
                "has exceeded its quota.",
            )
        self._queue(statement, name)

    def _queue(self, statement: Statement, name: str) -> None:
        started = time.monotonic()
        timeout = parameters.get(statement.session, "STATEMENT_QUEUED_TIMEOUT_IN_SECONDS")
        try:
            while self.get(name).busy:
                self._queued.add(statement.query_id)
                watch.of(self.server).check(statement.query_id)
                if timeout and time.monotonic() - started > timeout:
                    message = f"Statement reached its queued timeout of {timeout:.0f} second(s) and was canceled."
                    raise SnowflakeError("000630", "57014", message)
                time.sleep(LOOK)
        finally:
            self._queued.discard(statement.query_id)


def none_active() -> SnowflakeError:
    """The session has no warehouse that works."""
    message = (
        "No active warehouse selected in the current session.  "
        "Select an active warehouse with the 'use warehouse' command."
    )
    return SnowflakeError("000606", "57P03", message)


def of(server: Server) -> Warehouses:
    """The warehouses of this server."""
    return server.plugins.setdefault("warehouses", Warehouses(server))


def handle(statement: Statement, proceed: Callable[[Statement], Answer]) -> Answer:
    """The handler."""
    return of(statement.server).handle(statement, proceed)


def check(login: app.Login) -> None:
    """A session whose warehouse is missing has none, as with a real server."""
    if login.warehouse is not None and of(login.server).get(login.warehouse).missing:
        login.warehouse = None


def routes(server: Server) -> list[Route]:
    return [Route("/test/warehouses/{name}", partial(put, server), methods=["PUT"])]


async def put(server: Server, request: Request) -> Response:
    """PUT /test/warehouses/NAME {"missing", "suspended", "auto_resume", "monitor", "busy"}: {} works as usual."""
    warehouse = Warehouse(**await app.body_of(request))
    of(server).put(request.path_params["name"], warehouse)
    return JSONResponse(asdict(warehouse))
