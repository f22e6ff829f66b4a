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
    """The drive database's clock: asked with every look, and carried on between by the monotonic one."""

    def __init__(self, instead: Callable[[], datetime] | None = None) -> None:
        self._instead = instead
        self._read_at = datetime.min.replace(tzinfo=UTC)
        self._asked_at = 0.0

    def sql(self, later: timedelta = timedelta(0)) -> tuple[str, tuple[Any, ...]]:
        """The clock, or an instant so much later, as the database counts it: an expression and its values."""
        if self._instead:
            return "?", (self._instead() + later,)
        if not later:
            return "SYSDATE()", ()
        return "TIMESTAMPADD(microsecond, ?, SYSDATE())", (later // MICROSECOND,)

    def told(self, read_at: datetime, asked_at: float) -> None:
        """The database said `read_at` to a question of the monotonic time `asked_at`."""
        self._read_at, self._asked_at = read_at, asked_at

    def now(self) -> datetime:
        """What the clock shows, as far as this process knows."""
        if self._instead:
            return self._instead()
        return self._read_at + timedelta(seconds=self.elapsed() - self._asked_at)

    @staticmethod
    def elapsed() -> float:
        """Seconds of the clock that never goes back."""
        return time.monotonic()

    async def ask(self, session: Session) -> datetime:
        """What the clock shows; one statement, which needs no warehouse."""
        asked = self.elapsed()
        self.told(utc(await session.value("SELECT SYSDATE()")), asked)
        return self.now()
