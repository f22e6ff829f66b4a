"""What runs now: cancelled on demand, at its timeout, or when its client has been gone for long.

STATEMENT_TIMEOUT_IN_SECONDS (documented: sql-reference/parameters) counts everything, waiting for a lock or a
warehouse too; 0 is the longest time there is. ABORT_DETACHED_QUERY decides whether a statement is aborted
`detached_seconds` after its client has lost the connection, or has last asked for its result (documented: 5
minutes); to ask for its status is not to be there.
`SYSTEM$WAIT(n [, 'SECONDS'|'MILLISECONDS'])` is a statement that takes as long as is wished.
"""

from __future__ import annotations

import re
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.snowflake.server import parameters, wire
from tests.snowflake.server.model import Answer, Column, Server, SnowflakeError, Statement

LOOK = 0.02
"""Seconds between two looks at what runs."""

LONGEST = 7 * 24 * 3600.0
DETACHED_SECONDS = 300.0

WAIT = re.compile(r"(?:CALL|SELECT)\s+SYSTEM\$WAIT\s*\(\s*([\d.]+)\s*(?:,\s*'(\w+)'\s*)?\)", re.IGNORECASE)
CANCEL = re.compile(r"(?:CALL|SELECT)\s+SYSTEM\$CANCEL_QUERY\s*\(\s*'([^']+)'\s*\)", re.IGNORECASE)
UNITS = {"MILLISECONDS": 0.001, "SECONDS": 1.0, "MINUTES": 60.0}


@dataclass
class Running:
    """A statement that runs. `cause`: why it shall end; `in_engine`: DuckDB may be at work on it."""

    statement: Statement
    started: float = field(default_factory=time.monotonic)
    cause: SnowflakeError | None = None
    in_engine: bool = False
    client_gone: float | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Watch:
    """Everything that runs, and one thread that looks after it."""

    def __init__(self) -> None:
        self.detached_seconds = DETACHED_SECONDS
        self.chores: list[Callable[[], None]] = []
        """What else is to be done at each look."""
        self._running: dict[str, Running] = {}
        threading.Thread(target=self._look_after, name="watch", daemon=True).start()

    def running(self, query_id: str) -> Running | None:
        return self._running.get(query_id)

    def of_session(self, session: int) -> list[Running]:
        return [one for one in list(self._running.values()) if one.statement.session.id == session]

    def cancel(self, query_id: str, cause: SnowflakeError | None = None) -> bool:
        """Make the statement end with this error; False if it does not run."""
        one = self._running.get(query_id)
        if one is None:
            return False
        one.cause = one.cause or cause or SnowflakeError("000604", "57014", "SQL execution canceled")
        return True

    def client_gone(self, query_id: str) -> None:
        """The client that waited for the statement is not there any more."""
        one = self._running.get(query_id)
        if one is not None:
            one.client_gone = time.monotonic()

    def client_back(self, query_id: str) -> None:
        """A client asks for the result of the statement."""
        one = self._running.get(query_id)
        if one is not None:
            one.client_gone = None

    def check(self, query_id: str) -> None:
        """Raise what the statement shall end with, if anything."""
        one = self._running.get(query_id)
        if one is not None and one.cause is not None:
            raise one.cause

    @contextmanager
    def in_engine(self, query_id: str) -> Iterator[None]:
        """DuckDB is at work for the statement: only here a cancellation interrupts it."""
        one = self._running[query_id]
        self.check(query_id)
        one.in_engine = True
        try:
            yield
        finally:
            with one.lock:
                one.in_engine = False

    def handle(self, statement: Statement, proceed: Callable[[Statement], Answer]) -> Answer:
        """A handler: the statement runs under watch."""
        nobody_waits = time.monotonic() if statement.request.get("asyncExec") else None
        one = self._running[statement.query_id] = Running(statement, client_gone=nobody_waits)
        try:
            return proceed(statement)
        except SnowflakeError:
            if one.cause is not None:
                raise one.cause from None
            raise
        finally:
            del self._running[statement.query_id]

    def functions(self, statement: Statement, proceed: Callable[[Statement], Answer]) -> Answer:
        """A handler: SYSTEM$WAIT and SYSTEM$CANCEL_QUERY."""
        if found := WAIT.fullmatch(statement.bare):
            until = time.monotonic() + float(found[1]) * UNITS[(found[2] or "SECONDS").upper()]
            while time.monotonic() < until:
                self.check(statement.query_id)
                time.sleep(min(LOOK, max(until - time.monotonic(), 0)))
            return text_answer("SYSTEM$WAIT", f"waited {found[1]} {(found[2] or 'seconds').lower()}")
        if found := CANCEL.fullmatch(statement.bare):
            if not self.cancel(found[1]):
                raise SnowflakeError("000605", "02000", "Identified SQL statement is not currently executing.")
            return text_answer("SYSTEM$CANCEL_QUERY", f"query [{found[1]}] terminated.")
        return proceed(statement)

    def _look_after(self) -> None:
        while True:
            time.sleep(LOOK)
            try:
                for one in list(self._running.values()):
                    self._look_at(one)
                for chore in self.chores:
                    chore()
            except SnowflakeError:
                traceback.print_exc()

    def _look_at(self, one: Running) -> None:
        session = one.statement.session
        now, timeout = time.monotonic(), parameters.get(session, "STATEMENT_TIMEOUT_IN_SECONDS") or LONGEST
        if now - one.started > timeout:
            reached = f"Statement reached its statement or warehouse timeout of {timeout:.0f} second(s)"
            one.cause = one.cause or SnowflakeError("000630", "57014", f"{reached} and was canceled.")
        gone = one.client_gone is not None and now - one.client_gone > self.detached_seconds
        if gone and parameters.flag(session, "ABORT_DETACHED_QUERY"):
            self.cancel(one.statement.query_id)
        with one.lock:
            if one.cause is not None and one.in_engine:
                session.duck.interrupt()


def of(server: Server) -> Watch:
    """The watch of this server."""
    with server.lock:
        if "watch" not in server.plugins:
            server.plugins["watch"] = Watch()
        return server.plugins["watch"]


def handle(statement: Statement, proceed: Callable[[Statement], Answer]) -> Answer:
    """The first handler of all."""
    return of(statement.server).handle(statement, proceed)


def functions(statement: Statement, proceed: Callable[[Statement], Answer]) -> Answer:
    """A handler after that of `transactions`: who waits in a transaction is not idle."""
    return of(statement.server).functions(statement, proceed)


def text_answer(name: str, text: str | None) -> Answer:
    """One column with one text, as a query answers it."""
    return query_answer([name], [(text,)])


def query_answer(names: list[str], rows: list[tuple[str | None, ...]]) -> Answer:
    """Columns of text, as a query answers them."""
    import pyarrow as pa

    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    table = pa.Table.from_arrays([pa.array(column, pa.string()) for column in columns], names=names)
    return Answer([Column(name) for name in names], table, wire.SELECT)
