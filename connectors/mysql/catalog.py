"""What the server declares about a table or view: its columns, its indexes, what stores it."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.mysql.columns import Declared, quoted
from connectors.mysql.session import Session
from connectors.mysql.settings import MysqlSettings
from state.errors import ConfigurationError

TABLE = """SELECT table_name, table_type, engine, table_rows FROM information_schema.tables
WHERE table_schema = %s AND table_name = %s"""

COLUMNS = """SELECT table_name, column_name, data_type, column_type, is_nullable, numeric_precision, numeric_scale,
datetime_precision, character_maximum_length, character_set_name, extra FROM information_schema.columns
WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position"""

INDEXES = """SELECT table_name, index_name, column_name, non_unique, nullable, {used} FROM
information_schema.statistics WHERE table_schema = %s AND table_name = %s ORDER BY index_name, seq_in_index"""
USED_MARIADB, USED_MYSQL = "ignored = 'NO'", "is_visible = 'YES'"
"""Whether the server reads by an index: one that is kept from it still tells rows apart."""

PRIMARY = "PRIMARY"


@dataclass(frozen=True)
class Index:
    """An index: its columns in order, None for a part that is an expression. `used`: the server reads by it."""

    name: str
    columns: tuple[str | None, ...]
    unique: bool
    nullable: bool
    used: bool

    @property
    def is_key(self) -> bool:
        """True if its columns tell every row from every other."""
        return self.unique and not self.nullable and None not in self.columns


@dataclass(frozen=True)
class Relation:
    """A table, a view or a query as it is declared. `sql`: how a statement names it.

    `engine` is None for all but tables; `rows` is an estimate.
    """

    name: str
    sql: str
    columns: tuple[Declared, ...]
    indexes: tuple[Index, ...] = ()
    engine: str | None = None
    rows: int = 0

    @property
    def key(self) -> tuple[str, ...]:
        """The primary key; else the shortest unique key without NULL, by name where several are; else nothing."""
        keys = [index for index in self.indexes if index.is_key]
        keys.sort(key=lambda index: (index.name != PRIMARY, len(index.columns), index.name))
        return tuple(column for column in keys[0].columns if column) if keys else ()

    def is_indexed(self, column: str) -> bool:
        """True if an index that the server reads by begins with the column."""
        return any(index.used and index.columns[0] == column for index in self.indexes)


async def declared(session: Session, settings: MysqlSettings, table: str) -> tuple[Declared, ...]:
    """The columns of exactly this table; none if it is not there, or the user may read none of them."""
    found = await session.rows("reading the columns of", COLUMNS, settings.database, table)
    return tuple(
        Declared(
            name=name,
            data_type=data_type.lower(),
            column_type=column_type,
            nullable=nullable == "YES",
            precision=precision,
            scale=scale,
            datetime_precision=fraction,
            length=length,
            charset=charset,
            extra=extra,
        )
        for of, name, data_type, column_type, nullable, precision, scale, fraction, length, charset, extra in found
        if of == table
    )


async def indexes(session: Session, settings: MysqlSettings, table: str) -> tuple[Index, ...]:
    """The indexes of exactly this table."""
    asked = INDEXES.format(used=USED_MARIADB if session.is_mariadb else USED_MYSQL)
    found = await session.rows("reading the indexes of", asked, settings.database, table)
    parts: dict[str, list[tuple[str | None, bool, bool, bool]]] = {}
    for of, name, column, non_unique, nullable, used in found:
        if of == table:
            parts.setdefault(name, []).append((column, not non_unique, nullable == "YES", bool(used)))
    return tuple(_index(name, of_index) for name, of_index in parts.items())


def _index(name: str, parts: list[tuple[str | None, bool, bool, bool]]) -> Index:
    columns = tuple(column for column, *_ in parts)
    return Index(name, columns, parts[0][1], any(nullable for _, _, nullable, _ in parts), parts[0][3])


async def look_up(session: Session, settings: MysqlSettings, table: str) -> Relation:
    """The table or view as the server calls it. Raises `ConfigurationError` if the user can see none."""
    found = await session.rows("looking for", TABLE, settings.database, table)
    names = [name for name, *_ in found]
    if table not in names and len(names) != 1:
        raise _no_table(settings)
    name = table if table in names else names[0]
    [(engine, rows)] = [(engine, rows) for of, _, engine, rows in found if of == name]
    columns = await declared(session, settings, name)
    if not columns:
        raise _no_table(settings)
    sql = f"{quoted(settings.database)}.{quoted(name)}"
    return Relation(name, sql, columns, await indexes(session, settings, name), engine, int(rows or 0))


def _no_table(settings: MysqlSettings) -> ConfigurationError:
    return ConfigurationError(
        f"there is no table {settings.what} at {settings.place}, or the user may not see it",
        hint="Correct source_system.database and table, or grant the user SELECT on it.",
        code="no_table",
        path="source_system.table",
    )
