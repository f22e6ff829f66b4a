"""Transactions: how they begin and end, who waits for whom, and what becomes of those that nobody ends.

- BEGIN is ignored inside a transaction; COMMIT and ROLLBACK without one succeed; DDL commits the open one first;
  with AUTOCOMMIT=FALSE the first statement that writes begins one.
- UPDATE, DELETE, MERGE, TRUNCATE and INSERT OVERWRITE lock their table (`locks.py`) until their transaction ends,
  or for themselves alone without one. SHOW LOCKS and SHOW TRANSACTIONS [IN ACCOUNT] tell.
- A client that vanishes leaves its transaction open with its locks ("detached") until somebody calls
  SYSTEM$ABORT_TRANSACTION(id), or it was idle for `idle_seconds` while another one waited for it (documented:
  5 minutes), or idle for `idle_unblocking_seconds` (documented: 4 hours).
- A statement that fails is undone alone and its transaction stays open (documented), unless
  TRANSACTION_ABORT_ON_ERROR is true: then all of it is rolled back, and only COMMIT or ROLLBACK is taken.

READ COMMITTED. DuckDB gives a transaction one snapshot; Snowflake gives one to each statement. The engine's
transaction begins with the first statement that writes, and for one that locks, when it holds its lock: whoever
waited sees what the holder committed. Where a transaction that has written already locks a table that others have
changed since, or where one of its statements fails, its writes are done again in a new transaction of the engine,
and must touch as many rows as before; the server says so with 000603 if they do not. Not emulated: a query in a
transaction that has written sees the state at its first write, and none that others commit after it.

What a session is told whose transaction was aborted behind its back is not documented. `after_abort`: "error" (its
statements fail until COMMIT or ROLLBACK), or "autocommit" (it goes on as if it had no transaction). COMMIT
succeeds either way and commits nothing: the worst that code which relies on its transaction can meet.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import duckdb

from tests.snowflake.server import names, parameters, vendor, watch, wire
from tests.snowflake.server.locks import Locks, Owner
from tests.snowflake.server.model import (
    Answer,
    Server,
    Session,
    SnowflakeError,
    Statement,
    Transaction,
    done,
)

Proceed = Callable[[Statement], Answer]

IDLE_SECONDS = 300.0
IDLE_UNBLOCKING_SECONDS = 4 * 3600.0

FLAGS = re.IGNORECASE | re.DOTALL
LOCKING = re.compile(
    r"(?:UPDATE|DELETE\s+FROM|MERGE\s+INTO|INSERT\s+OVERWRITE\s+INTO|TRUNCATE(?:\s+TABLE)?(?:\s+IF\s+EXISTS)?)"
    rf"\s+({names.NAME})",
    FLAGS,
)
APPENDING = re.compile(rf"(?:INSERT|COPY)\s+INTO\s+({names.NAME})", FLAGS)
BEGIN = re.compile(r"(?:BEGIN|START\s+TRANSACTION)(?:\s+(?:WORK|TRANSACTION))?(?:\s+NAME\s+(\w+))?", FLAGS)
END = re.compile(r"(COMMIT|ROLLBACK)(?:\s+WORK)?", FLAGS)
DDL = re.compile(r"(?:CREATE|ALTER(?!\s+SESSION\b)|DROP|UNDROP|GRANT|REVOKE|COMMENT)\b", FLAGS)
ABORT = re.compile(r"(?:SELECT|CALL)\s+SYSTEM\$ABORT_TRANSACTION\s*\(\s*'?(\d+)'?\s*\)", FLAGS)


@dataclass
class Write:
    """A statement that has written in a transaction, to be done again if need be."""

    statement: Statement
    proceed: Proceed
    counts: dict[str, int]


@dataclass
class Open:
    """An open transaction.

    `snapshot`: the last commit that its engine's transaction can see, None while the engine has none. `aborted`:
    all is undone, the session still has to end it.
    """

    owner: Owner
    name: str = ""
    snapshot: int | None = None
    aborted: bool = False
    writes: list[Write] = field(default_factory=list)
    tables: set[str] = field(default_factory=set)
    idle_since: float | None = None

    @property
    def id(self) -> str:
        return self.owner.transaction.id


class Transactions:
    """All transactions of the account."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.locks = Locks()
        self.idle_seconds = IDLE_SECONDS
        self.idle_unblocking_seconds = IDLE_UNBLOCKING_SECONDS
        self.after_abort = "error"
        self.before_commit: list[Callable[[Session], None]] = []
        """Called with the session that is about to commit what it wrote."""
        self._commits = 0
        self._changed: dict[str, int] = {}
        self._open: dict[str, Open] = {}

    def handle(self, statement: Statement, proceed: Proceed) -> Answer:
        """A handler: everything that begins, ends, locks, or aborts."""
        session, text = statement.session, statement.bare
        if found := ABORT.fullmatch(text):
            self.abort(found[1])
            return watch.text_answer("SYSTEM$ABORT_TRANSACTION", f"Aborted transaction id : {found[1]}.")
        if (current := self._of(session)) is not None:
            current.idle_since = None
        try:
            return self._passed(statement, text, proceed)
        finally:
            if (current := self._of(session)) is not None:
                current.idle_since = time.monotonic()

    def _passed(self, statement: Statement, text: str, proceed: Proceed) -> Answer:
        session = statement.session
        if found := END.fullmatch(text):
            self.end(session, commit=found[1].upper() == "COMMIT")
            return done(kind=wire.TCL)
        current = self._of(session)
        if current is not None and current.aborted:
            message = f"Transaction {current.id} was aborted and rolled back; only COMMIT or ROLLBACK is taken."
            raise SnowflakeError("000637", "25P02", message)
        if found := BEGIN.fullmatch(text):
            if current is None:
                self._begin(session, found[1] or "")
            return done(kind=wire.TCL)
        if found := LOCKING.match(text) or APPENDING.match(text):
            table = str(names.resolve(session, found[1]))
            return self._write(statement, proceed, table, locking=found.re is LOCKING)
        if DDL.match(text):
            self.end(session, commit=True)
        try:
            return self._engine(statement, proceed)
        except SnowflakeError:
            if (current := self._of(session)) is not None:
                self._failed(current, alone=False)
            raise

    def _of(self, session: Session) -> Open | None:
        """The session's open transaction."""
        return self._open.get(session.transaction.id) if session.transaction else None

    # -- writing

    def _write(self, statement: Statement, proceed: Proceed, table: str, *, locking: bool) -> Answer:
        """A statement that writes: in the session's transaction, or in one of its own."""
        session = statement.session
        current = self._of(session)
        alone = current is None and parameters.flag(session, "AUTOCOMMIT")
        if current is None:
            current = self._begin(session, hidden=alone)
        write = Write(replace(statement), proceed, {})
        try:
            if locking:
                self._lock(statement, current.owner, table)
            self._ready(current, table)
            answer = self._engine(statement, proceed)
        except BaseException:
            self._failed(current, alone=alone)
            raise
        write.counts = dict(answer.counts)
        current.writes.append(write)
        current.tables.add(table)
        if alone:
            self._end(current, commit=True)
        return answer

    def _lock(self, statement: Statement, owner: Owner, table: str) -> None:
        timeout = float(parameters.get(statement.session, "LOCK_TIMEOUT"))
        looking = watch.of(self.server)
        self.locks.acquire(table, owner, statement.query_id, timeout, lambda: looking.check(statement.query_id))

    def _engine(self, statement: Statement, proceed: Proceed) -> Answer:
        with watch.of(self.server).in_engine(statement.query_id):
            return proceed(statement)

    def _ready(self, current: Open, table: str) -> None:
        """The engine has a transaction, and it sees all that was committed to the table."""
        if current.snapshot is None:
            self._start(current)
        elif self._changed.get(table, 0) > current.snapshot:
            self._again(current)

    def _start(self, current: Open) -> None:
        current.snapshot = self._commits
        current.owner.session.duck.execute("BEGIN TRANSACTION")

    def _again(self, current: Open) -> None:
        """All writes of the transaction once more, on a new snapshot."""
        rolled_back(current.owner.session)
        self._start(current)
        for write in current.writes:
            answer = write.proceed(replace(write.statement))
            if answer.counts != write.counts:
                what = f"{write.statement.text!r} touched {write.counts} rows, done again {answer.counts}"
                message = f"the test server cannot show this transaction what others committed: {what}"
                raise SnowflakeError("000603", "XX000", message)

    def _failed(self, current: Open, *, alone: bool) -> None:
        """A statement failed: it alone is undone, or its transaction is, which keeps its locks no longer."""
        if alone:
            self._end(current, commit=False)
        elif parameters.flag(current.owner.session, "TRANSACTION_ABORT_ON_ERROR"):
            self._roll_back(current)
        elif current.snapshot is not None:
            self._again(current)

    def _roll_back(self, current: Open) -> None:
        """Everything is undone; the session still has to end the transaction."""
        if current.snapshot is not None:
            rolled_back(current.owner.session)
        current.snapshot, current.aborted = None, True
        current.writes.clear()
        self.locks.release(current.owner.transaction)

    # -- beginning and ending

    def _begin(self, session: Session, name: str = "", *, hidden: bool = False) -> Open:
        transaction = Transaction(str(time.time_ns()), self.server.now(), implicit=hidden)
        current = self._open[transaction.id] = Open(Owner(session, transaction), name)
        if not hidden:
            session.transaction = transaction
        return current

    def end(self, session: Session, *, commit: bool) -> None:
        """End the session's transaction, if it has one."""
        if (current := self._of(session)) is not None:
            self._end(current, commit=commit)

    def _end(self, current: Open, *, commit: bool) -> None:
        session = current.owner.session
        try:
            if current.snapshot is not None and commit:
                for tell in self.before_commit:
                    tell(session)
                session.duck.execute("COMMIT")
                self._commits += 1
                self._changed |= dict.fromkeys(current.tables, self._commits)
            elif current.snapshot is not None:
                rolled_back(session)
        except duckdb.Error as error:
            raise vendor.explained(error) from error
        finally:
            if session.transaction is current.owner.transaction:
                session.transaction = None
            self._open.pop(current.id, None)
            self.locks.release(current.owner.transaction)

    def end_session(self, session: Session) -> None:
        """The session logs out or is no more: what it runs is cancelled, its transaction rolled back."""
        for one in watch.of(self.server).of_session(session.id):
            watch.of(self.server).cancel(one.statement.query_id)
        with session.lock:
            self.end(session, commit=False)

    def abort(self, transaction: str) -> None:
        """Roll back a transaction from outside, whatever it is doing. One that has ended is left as it is."""
        current = self._open.get(transaction)
        if current is None:
            return
        for one in watch.of(self.server).of_session(current.owner.session.id):
            watch.of(self.server).cancel(one.statement.query_id)
        with current.owner.session.lock:
            self._abort(current)

    def _abort(self, current: Open) -> None:
        if self._of(current.owner.session) is current and not current.aborted:
            self._roll_back(current)
            if self.after_abort == "autocommit":
                self._end(current, commit=False)

    def abort_idle(self) -> None:
        """A chore: transactions that were idle for too long are aborted. One that works is never waited for."""
        blocking = {owner.transaction.id for owner in self.locks.blocking()}
        for current in self.open():
            allowed = self.idle_seconds if current.id in blocking else self.idle_unblocking_seconds
            since, lock = current.idle_since, current.owner.session.lock
            if since is not None and time.monotonic() - since > allowed and lock.acquire(blocking=False):
                try:
                    self._abort(current)
                finally:
                    lock.release()

    def in_engine(self, session: Session) -> bool:
        """Whether the engine has a transaction of this session."""
        current = self._of(session)
        return current is not None and current.snapshot is not None

    def open(self) -> list[Open]:
        """All that are open now."""
        return list(self._open.values())


def of(server: Server) -> Transactions:
    """The transactions of this server."""
    with server.lock:
        if "transactions" not in server.plugins:
            made = server.plugins["transactions"] = Transactions(server)
            watch.of(server).chores.append(made.abort_idle)
        return server.plugins["transactions"]


def handle(statement: Statement, proceed: Proceed) -> Answer:
    """The handler; those that change data come after it."""
    return of(statement.server).handle(statement, proceed)


def rolled_back(session: Session) -> None:
    """The engine has no transaction of the session."""
    try:
        session.duck.execute("ROLLBACK")
    except duckdb.TransactionException as error:
        if "no transaction is active" not in str(error):
            raise
