"""What is found out about a source once per attempt, and what a snapshot of it needs."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.mysql.catalog import Relation, declared, look_up
from connectors.mysql.choosing import Chosen, chosen
from connectors.mysql.columns import Declared
from connectors.mysql.explaining import engines, require_snapshots
from connectors.mysql.fields import declared as field
from connectors.mysql.session import Session
from connectors.mysql.settings import MysqlSettings
from state.errors import ContractError, RestartAttempt


@dataclass(frozen=True)
class Source:
    """What is read, as it was first seen."""

    relation: Relation
    chosen: Chosen

    @property
    def is_walkable(self) -> bool:
        """True if an index has the rows in the order of the cursor, and nothing else is asked of them."""
        statements = self.chosen.statements
        is_plain = statements.fallback is None and statements.where is None
        return is_plain and self.relation.is_indexed(statements.cursor.column.name)


async def examine(session: Session, settings: MysqlSettings) -> Source:
    """Raises `ConfigurationError` as `Connector.contract` does, and for engines that have no snapshots."""
    relation = await _relation(session, settings)
    if settings.consistent:
        found = {relation.engine} if relation.engine else await engines(session, relation.sql)
        require_snapshots(settings, found)
    return Source(relation, chosen(settings, relation))


async def _relation(session: Session, settings: MysqlSettings) -> Relation:
    if settings.table is not None:
        return await look_up(session, settings, settings.table)
    sql = f"(\n{settings.query}\n) AS `query`"  # a comment in it ends with its line
    return Relation("", sql, await _columns(session, settings, "", sql))


async def _columns(session: Session, settings: MysqlSettings, name: str, sql: str) -> tuple[Declared, ...]:
    """The columns as they are declared now."""
    if settings.table is not None:
        return await declared(session, settings, name)
    fields = await session.fields("reading the columns of", f"SELECT * FROM {sql} LIMIT 0")
    return tuple(field(each) for each in fields)


async def require_same(session: Session, settings: MysqlSettings, source: Source) -> None:
    """Raise `RestartAttempt` if the columns are declared in another way now."""
    relation = source.relation
    if await _columns(session, settings, relation.name, relation.sql) != relation.columns:
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
