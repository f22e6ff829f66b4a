"""The target's columns: made from the contract, extended, and never narrowed.

The target's identity is the instant at which Snowflake made the table: dropping, replacing or restoring it gives
another one, and altering it does not (docs/decisions/0015). Nothing has to be written into a table for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from loaders.base import ConflictPolicy
from loaders.snowflake.names import spelled
from loaders.snowflake.settings import NameRule
from loaders.snowflake.types import TEXT, VARIANT, ZONED, as_json, as_text, parsed, snow_type, told_type, widens
from state.contract import LOADED_AT, READ_AT, RUN, is_json
from state.errors import ContractError, TransientError
from state.snowflake.names import Name, quoted
from state.snowflake.session import Session

OWN = {RUN.upper(): TEXT, READ_AT.upper(): ZONED, LOADED_AT.upper(): ZONED}
"""Columns that the target has beside the source's."""

NEW, OLD = "__SLUICEWAY_NEW", "__SLUICEWAY_OLD"
"""Endings of a column whose type is being changed: its successor while it is filled, itself until it is
dropped."""


FILL_SECONDS = 1_800.0
"""How long a run waits for a column that is being filled, each time, so that its attempts last through hours;
after the backoff of other errors it would wait for an operator within minutes."""


@dataclass(frozen=True)
class Wanted:
    """A column as the contract has it: `source` is its name there, `name` the one in Snowflake."""

    source: str
    name: str
    type: str
    json: bool = False

    @property
    def staged(self) -> str:
        """Its type in a stage table: JSON is text there."""
        return TEXT if self.json else self.type


@dataclass(frozen=True)
class Table:
    """A table as it is now. `columns`: name → type, in order."""

    kind: str
    made: datetime
    columns: Mapping[str, str]

    @property
    def identity(self) -> str:
        """Which of the tables that bear this name it is."""
        return identity_of(self.made)


def identity_of(made: datetime) -> str:
    """The identity of a table that was made at an instant."""
    return made.astimezone(UTC).isoformat(timespec="microseconds")


def is_table(table: Name) -> str:
    """SQL that is true while the table is the one that it was; parameters as `is_table_values`."""
    return f"EXISTS ({made_sql(table, '1')} AND DATEDIFF('MICROSECOND', CAST(? AS TIMESTAMP_LTZ), CREATED) = 0)"


def is_table_values(table: Name, identity: str) -> tuple[str, ...]:
    """The parameters of `is_table`."""
    return (*table.parts[1:], identity)


def wanted(schema: pa.Schema, rule: NameRule) -> list[Wanted]:
    """The columns of a contract. Raises `ContractError` for a type that Snowflake lacks."""
    return [
        Wanted(
            f.name, spelled(f.name, rule), VARIANT if is_json(f) else snow_type(f.name, f.type), bool(is_json(f))
        )
        for f in schema
    ]


def made_sql(table: Name, column: str = "CREATED") -> str:
    """A query for one fact of a table from the information schema, with its schema and name as parameters."""
    return (
        f"SELECT {column} FROM {quoted(table.parts[0])}.INFORMATION_SCHEMA.TABLES"
        " WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?"
    )


COLUMNS_SQL = (
    "SELECT t.TABLE_TYPE, t.CREATED, c.COLUMN_NAME, c.DATA_TYPE, c.NUMERIC_PRECISION, c.NUMERIC_SCALE,"
    " c.DATETIME_PRECISION, c.ORDINAL_POSITION FROM {0}.INFORMATION_SCHEMA.TABLES t"
    " LEFT JOIN {0}.INFORMATION_SCHEMA.COLUMNS c"
    " ON c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME"
    " WHERE t.TABLE_SCHEMA = ? AND t.TABLE_NAME = ?"
)


async def look(session: Session, table: Name) -> Table | None:
    """A table with its columns, in one statement; None if there is none that the role may see."""
    sql = COLUMNS_SQL.format(quoted(table.parts[0]))
    return table_of(await session.rows(f"{sql} ORDER BY 8", *table.parts[1:]))


async def look_with(session: Session, table: Name, *others: Name) -> tuple[Table | None, tuple[bool, ...]]:
    """A table with its columns, and whether there are other ones, in one statement."""
    sql, values = [COLUMNS_SQL.format(quoted(table.parts[0]))], [*table.parts[1:]]
    for number, other in enumerate(others):
        sql.append(made_sql(other, f"'other {number}', NULL, NULL, NULL, NULL, NULL, NULL, NULL"))
        values += other.parts[1:]
    found = await session.rows(f"{' UNION ALL '.join(sql)} ORDER BY 8", *values)
    kinds = {row[0] for row in found}
    mine = [row for row in found if not str(row[0]).startswith("other ")]
    return table_of(mine), tuple(f"other {number}" in kinds for number in range(len(others)))


def table_of(found: Sequence[tuple[Any, ...]]) -> Table | None:
    """The table in the rows of `look`."""
    if not found:
        return None
    kind, made = found[0][:2]
    columns = {row[2]: told_type(*row[3:7]) for row in found if row[2] is not None}
    return Table(kind, made, columns)


def fits(have: str, column: Wanted) -> bool:
    """True if a column of type `have` takes the contract's values as they are."""
    return have in (VARIANT, TEXT) if column.json else widens(have, column.type)


def value_for(have: str, column: Wanted, policy: ConflictPolicy, table: Name) -> str:
    """SQL that brings a column of the stage table `r` into one of type `have`.

    Raises `ContractError` where the policy forbids it.
    """
    name = f"r.{quoted(column.name)}"
    if column.json:
        if have == VARIANT:
            return parsed(name)
        if have == TEXT:
            return name
    elif fits(have, column):
        return name if have == column.type else f"CAST({name} AS {have})"
    elif policy is ConflictPolicy.TEXT and have == TEXT:
        return as_text(name, column.type)
    elif policy is ConflictPolicy.JSON and have == VARIANT:
        return as_json(name, column.type)
    raise conflict(table, have, column, steady=False)


def conflict(table: Name, have: str, column: Wanted, *, steady: bool) -> ContractError:
    """The source's type and the target's do not go together."""
    now = "JSON" if column.json else column.type
    remedy = "Give the source column its old type (source_system.columns.types)"
    return ContractError(
        f"column {column.source} is {now} in the source now, but {have} in the target {table}",
        hint=f"{remedy}: a key, version or cursor must keep its type."
        if steady
        else f"{remedy}, or let target_system.on_type_conflict keep its values as text or json.",
        code="type_conflict",
    )


def require_settled(found: Table, table: Name) -> None:
    """Raises `TransientError` while the type of a column is being changed: rows merged now would be lost."""
    halfway = [name.removesuffix(NEW) for name in found.columns if name.endswith(NEW)]
    if halfway:
        raise TransientError(
            f"the type of {', '.join(halfway)} in {table} is being changed",
            hint="It is tried again by itself; whoever prepares the target next goes on with it.",
            code="type_change",
            retry_after=FILL_SECONDS,
        )
