"""The clock of a drive table in Snowflake: its database's."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from state.snowflake.drive_rows import utc
from state.snowflake.session import Session

MICROSECOND = timedelta(microseconds=1)


class DriveClock:
    """The drive database's clock: asked with every look, and carried on between by the monotonic one.

    A question may wait for the warehouse before the database looks at its clock, so time is counted from when the
    answer came. This clock is late by the way of the answer, and never early: a lease may seem to last a little
    longer than it does, and nobody takes a run whose lease is alive.
    """

    def __init__(self, instead: Callable[[], datetime] | None = None) -> None:
        self._instead = instead
        self._read_at = datetime.min.replace(tzinfo=UTC)
        self._told_at = 0.0

    def sql(self, later: timedelta = timedelta(0)) -> tuple[str, tuple[Any, ...]]:
        """The clock, or an instant so much later, as the database counts it: an expression and its values."""
        if self._instead:
            return "?", (self._instead() + later,)
        if not later:
            return "SYSDATE()", ()
        return "TIMESTAMPADD(microsecond, ?, SYSDATE())", (later // MICROSECOND,)

    def told(self, read_at: datetime) -> None:
        """The database's answer `read_at` came just now."""
        self._read_at, self._told_at = read_at, self.elapsed()

    def now(self) -> datetime:
        """What the clock shows, as far as this process knows."""
        if self._instead:
            return self._instead()
        return self._read_at + timedelta(seconds=self.elapsed() - self._told_at)

    @staticmethod
    def elapsed() -> float:
        """Seconds of the clock that never goes back."""
        return time.monotonic()

    async def ask(self, session: Session) -> datetime:
        """What the clock shows; one statement, which needs no warehouse."""
        self.told(utc(await session.value("SELECT SYSDATE()")))
        return self.now()
