"""What the server says it would do: whether it passes over a whole table, and which tables a view reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from connectors.mysql.session import Session
from connectors.mysql.settings import MysqlSettings
from state.errors import ConfigurationError

INNODB = "InnoDB"
SMALL_ROWS = 100_000
"""Of a table that may be passed over whole for each part."""
SCANS = ("ALL", "index")
"""The ways of EXPLAIN that visit every row of a table, or every entry of an index."""

_TABLE = re.compile(r"`((?:[^`]|``)+)`\.`((?:[^`]|``)+)`")
VIEW = "SELECT view_definition FROM information_schema.views WHERE table_schema = %s AND table_name = %s"
ENGINE = "SELECT engine FROM information_schema.tables WHERE table_schema = %s AND table_name = %s"


async def full_scan(session: Session, sql: str) -> str:
    """What the statement would pass over whole though it is large, in words; empty if nothing.

    A table whose index the server could use and, for most of its rows, does not is none.
    """
    steps = await session.table("explaining how to read", f"EXPLAIN FORMAT=TRADITIONAL {sql}")
    found = [step for step in steps if _is_scan(step)]
    return ", ".join(f"{step['table']} with about {int(step['rows']):,} rows" for step in found)


def _is_scan(step: Mapping[str, Any]) -> bool:
    large = int(step["rows"] or 0) > SMALL_ROWS
    return step["type"] in SCANS and not step["possible_keys"] and large


async def require_no_scan(session: Session, settings: MysqlSettings, sql: str) -> None:
    """Raise `ConfigurationError` if each part would cost a pass over a large table."""
    if not settings.allow_full_scan and (found := await full_scan(session, sql)):
        raise ConfigurationError(
            f"each part of {settings.what} would be found by passing over {found}",
            hint=f"Create an index that begins with the column of '{settings.cursor}', or set"
            " source_system.allow_full_scan to true.",
            code="full_scan",
            path="source_system.cursor",
        )


async def engines(session: Session, relation: str) -> set[str]:
    """The engines of the tables that a view or a query reads. Raises `ConfigurationError` if that is secret.

    For no rows at all (LIMIT 0): else a table of one row is read at once, and its name is not in what is told.
    """
    extended = "EXTENDED " if session.is_mariadb else ""
    await session.table("explaining", f"EXPLAIN {extended}SELECT * FROM {relation} LIMIT 0")
    [*_, note] = await session.table("explaining", "SHOW WARNINGS")
    return await _engines(session, note["Message"], set())


async def _engines(session: Session, sql: str, seen: set[tuple[str, str]]) -> set[str]:
    """The engines of the tables in a statement as the server writes it; `seen`: those that were looked up."""
    found: set[str] = set()
    for schema, table in {(schema, table) for schema, table in _TABLE.findall(sql)} - seen:
        seen.add((schema, table))
        names = (schema.replace("``", "`"), table.replace("``", "`"))
        for (engine,) in await session.rows("looking up the engine of", ENGINE, *names):
            found |= {engine} if engine else await _engines_below(session, names, seen)
    return found


async def _engines_below(session: Session, names: tuple[str, str], seen: set[tuple[str, str]]) -> set[str]:
    """Those of a view that the server does not resolve in what it reads, because it groups or joins by itself."""
    for (definition,) in await session.rows("looking into a view of", VIEW, *names):
        if definition:
            return await _engines(session, definition, seen)
    return {f"what the user may not see of {'.'.join(names)}"}


def require_snapshots(settings: MysqlSettings, found: set[str]) -> None:
    """Raise `ConfigurationError` if an engine has no snapshots, and they are wanted."""
    others = sorted(str(engine) for engine in found if engine != INNODB)
    if settings.consistent and others:
        raise ConfigurationError(
            f"{settings.what} is stored by {', '.join(others)}, which has no snapshots",
            hint="Convert it to InnoDB, or set source_system.consistent to false: the proof then says so.",
            code="engine",
            path="source_system.consistent",
        )
