"""What is found out about a source once per attempt, and what a snapshot of it needs."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.mysql.catalog import Relation, declared, look_up
from connectors.mysql.choosing import Chosen, chosen
from connectors.mysql.session import Session
from connectors.mysql.settings import MysqlSettings
from state.errors import ConfigurationError, ContractError, RestartAttempt

INNODB = "InnoDB"
SMALL_ROWS = 100_000
"""Of a table that may be passed over whole for each part."""


@dataclass(frozen=True)
class Source:
    """What is read, as it was first seen."""

    relation: Relation
    chosen: Chosen


async def examine(session: Session, settings: MysqlSettings) -> Source:
    """Raises `ConfigurationError` as `Connector.contract` does, and for an engine that has no snapshots."""
    relation = await look_up(session, settings, str(settings.table))
    if settings.consistent and relation.engine not in (INNODB, None):
        raise ConfigurationError(
            f"{settings.what} is stored by {relation.engine}, which has no snapshots",
            hint="Convert it to InnoDB, or set source_system.consistent to false: the proof then says so.",
            code="engine",
            path="source_system.consistent",
        )
    return Source(relation, chosen(settings, relation))


async def require_same(session: Session, settings: MysqlSettings, source: Source) -> None:
    """Raise `RestartAttempt` if the columns are declared in another way now."""
    if await declared(session, settings, source.relation.name) != source.relation.columns:
        raise RestartAttempt(
            f"the columns of {settings.what} were changed after they had been looked at",
            hint="Nothing to do: the next attempt compares them with the target.",
            code="altered",
        )


async def absent(session: Session, settings: MysqlSettings, source: Source) -> int:
    """Rows that no span holds. Raises `ContractError` if there are some and they are not to be left out."""
    if settings.cursor is None:
        return 0
    rows = await session.one("counting", source.chosen.statements.absent())
    if rows and settings.null_cursor != "ignore":
        raise ContractError(
            f"{rows} rows of {settings.what} have no value, or a zero date, in their cursor '{settings.cursor}'",
            hint="Fill it, name source_system.cursor_fallback, or set source_system.null_cursor to ignore.",
            code="null_cursor",
        )
    return rows
