"""SHOW LOCKS and SHOW TRANSACTIONS: IN ACCOUNT, or of the session or user alone (as documented on their pages)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.snowflake.server import transactions, wire
from tests.snowflake.server.model import Answer, Column, Session, Statement
from tests.snowflake.server.transactions import Transactions

SHOW = re.compile(r"SHOW\s+(LOCKS|TRANSACTIONS)(\s+IN\s+ACCOUNT)?", re.IGNORECASE)
LOCKS = (
    "resource",
    "type",
    "transaction",
    "transaction_started_on",
    "status",
    "acquired_on",
    "query_id",
    "session",
)
TRANSACTIONS = ("id", "user", "session", "name", "started_on", "state", "scope")
TYPES = {
    "started_on": "timestamp_ltz",
    "transaction_started_on": "timestamp_ltz",
    "acquired_on": "timestamp_ltz",
    "session": "fixed",
    "scope": "fixed",
}


def handle(statement: Statement, proceed: Callable[[Statement], Answer]) -> Answer:
    """The handler."""
    found = SHOW.fullmatch(statement.bare)
    if found is None:
        return proceed(statement)
    account, session = transactions.of(statement.server), None if found[2] else statement.session
    if found[1].upper() == "LOCKS":
        rows = [row for row in account.locks.rows() if session is None or row["session"] == session.id]
        return shown(LOCKS, rows)
    return shown(TRANSACTIONS, _transactions(account, session))


def _transactions(account: Transactions, session: Session | None) -> list[dict[str, Any]]:
    return [
        {
            "id": one.id,
            "user": one.owner.session.user,
            "session": one.owner.session.id,
            "name": one.name or one.id,
            "started_on": one.owner.transaction.began,
            "state": "running",
            "scope": 0,
        }
        for one in account.open()
        if (session is None or one.owner.session.user == session.user) and not one.aborted
    ]


def shown(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> Answer:
    kinds = [Column(name, TYPES.get(name, "text")) for name in columns]
    return Answer(kinds, [tuple(row[name] for name in columns) for row in rows], wire.SHOW)
