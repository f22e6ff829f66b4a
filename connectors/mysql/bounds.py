"""Until when rows are surely there: held back by open transactions, and by a replica that lags.

The clock of `information_schema.innodb_trx` is that of the server's own zone, in whole seconds, and what it shows
may be a tenth of a second old: a bound is rounded down by as much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.mysql.grants import may_see_all
from connectors.mysql.session import Session
from connectors.mysql.settings import MysqlSettings
from state.errors import ConfigurationError, TransientError

OLD = timedelta(milliseconds=100)
"""What InnoDB shows of its transactions may be so old."""
SECOND = timedelta(seconds=1)

OLDEST = """SELECT CONVERT_TZ(MIN(trx_started), 'SYSTEM', '+00:00') FROM information_schema.innodb_trx
WHERE trx_is_read_only = 0"""
REPLICA = "SHOW REPLICA STATUS"
LAGS = ("Seconds_Behind_Source", "Seconds_Behind_Master")
"""What MySQL and MariaDB call the lag."""


async def readable_until(session: Session, settings: MysqlSettings, now: datetime) -> datetime:
    """See `Connector.readable_until`. Raises `ConfigurationError` where the user may not look, `TransientError`
    while a replica does not replicate."""
    until = now - await lag(session, settings) if settings.replica else now
    if settings.hold_back_open_transactions:
        until = min(until - OLD, await _oldest(session, settings) or until)
    return until


async def _oldest(session: Session, settings: MysqlSettings) -> datetime | None:
    """When the oldest transaction began that may still write; None if there is none."""
    await _require_process(session, settings)
    [(started,)] = await session.rows("looking for open transactions beside", OLDEST)
    return None if started is None else datetime.fromisoformat(started).replace(tzinfo=UTC)


async def _require_process(session: Session, settings: MysqlSettings) -> None:
    """MariaDB shows no transactions, and no error, to one who may not see them."""
    grants = [grant for (grant,) in await session.rows("asking for the grants on", "SHOW GRANTS")]
    if not may_see_all(grants):
        raise ConfigurationError(
            f"user {settings.user} may not see who has transactions open at {settings.place}",
            hint=f"GRANT PROCESS ON *.* TO {settings.user}, or set source_system.hold_back_open_transactions to"
            " false.",
            code="no_process",
            path="source_system.hold_back_open_transactions",
        )


async def lag(session: Session, settings: MysqlSettings) -> timedelta:
    """How far the server is behind its own source, rounded up."""
    return behind(settings, await session.table("asking for the lag of", REPLICA))


def behind(settings: MysqlSettings, channels: Sequence[Mapping[str, Any]]) -> timedelta:
    """The lag of the slowest channel, a second more than the whole ones that are told."""
    if not channels:
        raise ConfigurationError(
            f"the server at {settings.place} replicates from nowhere",
            hint="Set source_system.replica to false, or source_system.host to the replica.",
            code="no_replica",
            path="source_system.replica",
        )
    told = [channel[name] for channel in channels for name in LAGS if name in channel]
    lags = [int(seconds) for seconds in told if seconds is not None]
    if not lags or len(lags) < len(told):
        raise TransientError(
            f"the replica at {settings.place} does not replicate: nobody knows how old its rows are",
            hint="Look at SHOW REPLICA STATUS there, and start it; windows wait until then.",
            code="replica_stopped",
        )
    return (max(lags) + 1) * SECOND
