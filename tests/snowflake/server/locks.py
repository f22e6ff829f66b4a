"""The locks of tables: who holds one, who waits, who is refused.

As documented (sql-reference/transactions, "Resource locking"): UPDATE, DELETE and MERGE take their table's lock
and keep it until their transaction ends; INSERT and COPY take none. Waiters are served in the order they came. A
table has `waiter_limit` waiters at most, the next statement fails with 000625; one that waits longer than its
session's LOCK_TIMEOUT fails too. Of a deadlock the statement that came last is the victim: it fails, its
transaction stays open. What the victim and the timed out waiter are told is not documented word by word: here
000625 with a last sentence of our own.

A waiter blocks the thread of its statement, and no other session.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.snowflake.server.model import Session, SnowflakeError, Transaction

DOCUMENTED_WAITERS = 20
LOOK = 0.02
"""Seconds between two looks of a waiter at whether its statement was cancelled."""


@dataclass
class Owner:
    """A transaction and its session: what holds locks and waits for them."""

    session: Session
    transaction: Transaction


@dataclass
class Waiter:
    """One statement that waits."""

    owner: Owner
    query_id: str
    granted: bool = False


@dataclass
class Lock:
    """One table's lock. It exists while somebody holds it."""

    table: str
    holder: Owner
    query_id: str
    acquired: datetime
    waiters: list[Waiter] = field(default_factory=list)


class Locks:
    """All locks of the account."""

    def __init__(self) -> None:
        self.waiter_limit = DOCUMENTED_WAITERS
        self._locks: dict[str, Lock] = {}
        self._changed = threading.Condition()

    def acquire(
        self, table: str, owner: Owner, query_id: str, timeout: float, stop: Callable[[], None] = lambda: None
    ) -> None:
        """Return once `owner` holds the table's lock. `timeout`: seconds; `stop` raises to end the wait."""
        with self._changed:
            lock = self._locks.get(table)
            if lock is None:
                self._locks[table] = Lock(table, owner, query_id, datetime.now(UTC))
                return
            if lock.holder.transaction is owner.transaction:
                return
            if len(lock.waiters) >= self.waiter_limit:
                limit = f"the number of waiters for this lock exceeds the {self.waiter_limit} statements limit."
                raise _refused(lock, query_id, limit)
            if self._waits_for(lock.holder, owner):
                raise _refused(lock, query_id, "it would wait for itself: it is the victim of a deadlock.")
            self._wait(lock, Waiter(owner, query_id), timeout, stop)

    def release(self, transaction: Transaction) -> None:
        """The transaction has ended: the first waiter of each of its locks holds it now."""
        with self._changed:
            for lock in [lock for lock in self._locks.values() if lock.holder.transaction is transaction]:
                if not lock.waiters:
                    del self._locks[lock.table]
                    continue
                first = lock.waiters.pop(0)
                lock.holder, lock.query_id, lock.acquired = first.owner, first.query_id, datetime.now(UTC)
                first.granted = True
            self._changed.notify_all()

    def blocking(self) -> list[Owner]:
        """The holders that somebody waits for."""
        with self._changed:
            return [lock.holder for lock in self._locks.values() if lock.waiters]

    def waiting(self, query_id: str) -> bool:
        """Whether this statement waits for a lock."""
        with self._changed:
            return any(waiter.query_id == query_id for lock in self._locks.values() for waiter in lock.waiters)

    def rows(self) -> list[dict[str, Any]]:
        """SHOW LOCKS IN ACCOUNT: of each table the holder, then those who wait in their order."""
        with self._changed:
            return [row for _, lock in sorted(self._locks.items()) for row in _rows(lock)]

    def _wait(self, lock: Lock, waiter: Waiter, timeout: float, stop: Callable[[], None]) -> None:
        lock.waiters.append(waiter)
        deadline = time.monotonic() + timeout
        try:
            while not waiter.granted:
                stop()
                left = deadline - time.monotonic()
                if left <= 0:
                    raise _refused(lock, waiter.query_id, f"it waited longer than LOCK_TIMEOUT, {timeout:g} s.")
                self._changed.wait(min(left, LOOK))
        finally:
            if waiter in lock.waiters:
                lock.waiters.remove(waiter)

    def _waits_for(self, holder: Owner, owner: Owner) -> bool:
        """Whether `holder` waits, itself or through others, for `owner`."""
        seen: set[int] = set()
        asked = [holder]
        while asked:
            one = asked.pop()
            if one.transaction is owner.transaction:
                return True
            if id(one.transaction) not in seen:
                seen.add(id(one.transaction))
                asked += [lock.holder for lock in self._locks.values() if _waits(lock, one)]
        return False


def _waits(lock: Lock, owner: Owner) -> bool:
    return any(waiter.owner.transaction is owner.transaction for waiter in lock.waiters)


def _refused(lock: Lock, query_id: str, why: str) -> SnowflakeError:
    name = lock.table.rsplit(".", 1)[-1]
    return SnowflakeError(
        "000625",
        "57014",
        f"Statement '{lock.query_id}' has locked table '{name}' in transaction {lock.holder.transaction.id} "
        f"and this lock has not yet been released.\nYour statement '{query_id}' was aborted because {why}",
    )


def _rows(lock: Lock) -> list[dict[str, Any]]:
    held = [(lock.holder, "HOLDING", lock.acquired, lock.query_id)]
    waiting = [(waiter.owner, "WAITING", None, waiter.query_id) for waiter in lock.waiters]
    return [
        {
            "resource": lock.table,
            "type": "PARTITIONS",
            "transaction": owner.transaction.id,
            "transaction_started_on": owner.transaction.began,
            "status": status,
            "acquired_on": acquired,
            "query_id": query_id,
            "session": owner.session.id,
        }
        for owner, status, acquired, query_id in held + waiting
    ]
