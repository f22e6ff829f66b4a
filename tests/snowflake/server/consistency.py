"""Commits that other sessions do not see at once.

Documented (sql-reference/parameters, READ_CONSISTENCY_MODE): with the default, SESSION, a session sees its own
changes at once, while those committed in another session that was open already may take a moment; a session that
opens after the commit sees them. With GLOBAL everybody sees them at once.

The server shows everything at once, unless a test sets a delay for its database (`Consistency.delays`): then every
other session that is open at a commit goes on reading what it could read before, for that many seconds, or until
it writes itself. A session that runs a statement at the moment of the commit may see it at once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from tests.snowflake.server import transactions
from tests.snowflake.server.model import Answer, Server, Session, SnowflakeError, Statement

READING = re.compile(r"\(*\s*(?:SELECT|WITH)\b", re.IGNORECASE)
STALE_UNTIL = "stale_until"
PATIENCE = 0.2
"""Seconds to wait for a session that is busy when another one commits."""


class Consistency:
    """Which databases show commits late, and to whom."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.delays: dict[str, float] = {}
        """Seconds by database."""

    def before_commit(self, session: Session) -> None:
        """Keep what the other sessions of the database see now."""
        delay = self.delays.get(session.database or "")
        if delay is None:
            return
        for other in list(self.server.sessions.values()):
            if (
                other is not session
                and other.database == session.database
                and other.lock.acquire(timeout=PATIENCE)
            ):
                try:
                    self._keep(other, delay)
                finally:
                    other.lock.release()

    def handle(self, statement: Statement, proceed: Callable[[Statement], Answer]) -> Answer:
        """A handler: before a session writes, or when its time is over, it gets to see everything."""
        session = statement.session
        until = session.plugins.get(STALE_UNTIL)
        if until is None:
            return proceed(statement)
        if time.monotonic() >= until or not READING.match(statement.bare):
            see_everything(session)
            return proceed(statement)
        try:
            return proceed(statement)
        except SnowflakeError:
            see_everything(session)
            raise

    def _keep(self, session: Session, delay: float) -> None:
        busy = session.closed or transactions.of(self.server).in_engine(session)
        if not busy and STALE_UNTIL not in session.plugins:
            session.duck.execute("BEGIN TRANSACTION")
            session.duck.execute("SELECT count(*) FROM duckdb_tables()").fetchall()  # an engine's snapshot is lazy
            session.plugins[STALE_UNTIL] = time.monotonic() + delay


def see_everything(session: Session) -> None:
    """The session reads the newest state again."""
    del session.plugins[STALE_UNTIL]
    transactions.rolled_back(session)


def of(server: Server) -> Consistency:
    """The consistency of this server."""
    with server.lock:
        if "consistency" not in server.plugins:
            made = server.plugins["consistency"] = Consistency(server)
            transactions.of(server).before_commit.append(made.before_commit)
        return server.plugins["consistency"]


def handle(statement: Statement, proceed: Callable[[Statement], Answer]) -> Answer:
    """The handler; it comes before that of `transactions`."""
    return of(statement.server).handle(statement, proceed)
