"""The target's columns: made from the contract, extended, and never narrowed.

The target's identity is a comment on its column `_sluiceway_run`: it is there as long as the table, and dropping
or replacing the table loses it (docs/decisions/0004). A comment on a VARCHAR column marks JSON text.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from loaders.base import ConflictPolicy
from loaders.duckdb.file import Session
from loaders.duckdb.names import Table, quoted, text
from loaders.duckdb.types import JSON, TEXT, ZONED, as_json, duck_type, widens
from state.contract import LOADED_AT, READ_AT, RUN, Contract, is_json
from state.errors import ConfigurationError, ContractError
from state.port import Port

OWN = {RUN: TEXT, READ_AT: ZONED, LOADED_AT: ZONED}
"""Columns that the target has beside the source's."""
IDENTITY = "sluiceway target "
JSON_MARK = "JSON text"


@dataclass(frozen=True)
class Column:
    """A column of a table in the database."""

    name: str
    type: str
    comment: str

    @property
    def marked_json(self) -> bool:
        return self.type == TEXT and self.comment == JSON_MARK


@dataclass(frozen=True)
class Wanted:
    """A column as the contract has it."""

    name: str
    type: str
    json: bool


_spelled: dict[str, str] = {}
"""Types as DuckDB spells them, by our spelling: five times in a run it would be asked for the same."""

Columns = Mapping[str, Column]
"""Columns by their name in lower case: DuckDB tells no cases apart."""


def columns(session: Session, table: Table) -> dict[str, Column]:
    """The columns of a table in order, empty if there is no such table."""
    found = session.rows(
        "SELECT column_name, data_type, coalesce(comment, '') FROM duckdb_columns() WHERE database_name = ?"
        " AND lower(schema_name) = lower(?) AND lower(table_name) = lower(?) ORDER BY column_index",
        session.catalog,
        table.schema,
        table.name,
    )
    return {name.lower(): Column(name, kind, comment) for name, kind, comment in found}


def wanted(session: Session, schema: pa.Schema) -> list[Wanted]:
    """The columns of a contract, their types spelled as DuckDB itself spells them."""
    kinds = [duck_type(field.name, field.type) for field in schema]
    if unknown := [kind for kind in dict.fromkeys(kinds) if kind not in _spelled]:
        [found] = session.rows("SELECT " + ", ".join(f"typeof(CAST(NULL AS {kind}))" for kind in unknown))
        _spelled.update(zip(unknown, found, strict=True))
    return [Wanted(f.name, _spelled[kind], is_json(f)) for f, kind in zip(schema, kinds, strict=True)]


def identity(session: Session, table: Table) -> str | None:
    """The identity of the target as it is now; None if there is no table, or not one that was prepared."""
    return identity_of(columns(session, table))


def identity_of(have: Columns) -> str | None:
    run = have.get(RUN)
    if run is None or not run.comment.startswith(IDENTITY):
        return None
    return run.comment.removeprefix(IDENTITY)


class Schema:
    """Makes and extends one target. `steady`: columns whose type may not change (key, version, cursor)."""

    def __init__(
        self, session: Session, table: Table, policy: ConflictPolicy, steady: Sequence[str], port: Port
    ) -> None:
        self._session = session
        self._table = table
        self._policy = policy
        self._steady = {name.lower() for name in steady}
        self._port = port

    def prepare(self, contract: Contract) -> str:
        """The target holds every column of the contract afterwards; returns its identity."""
        self._require_table()
        want = wanted(self._session, contract.schema)
        if not columns(self._session, self._table):
            self._create(want)
        self._extend(want)
        return self._identified()

    def _require_table(self) -> None:
        kind = self._session.value(
            "SELECT 'view' FROM duckdb_views() WHERE database_name = ? AND lower(schema_name) = lower(?)"
            " AND lower(view_name) = lower(?)",
            self._session.catalog,
            self._table.schema,
            self._table.name,
        )
        if kind is not None:
            raise ConfigurationError(
                f"the target {self._table} is a view",
                hint="Name a table in target_system.table, or drop the view.",
                code="target_kind",
                path="target_system.table",
            )

    def _create(self, want: Sequence[Wanted]) -> None:
        kinds = [f"{quoted(column.name)} {column.type}" for column in want]
        kinds += [f"{quoted(name)} {kind}" for name, kind in OWN.items()]
        with self._port("loader.prepare.create"):
            self._session.rows(f"CREATE TABLE IF NOT EXISTS {self._session.at(self._table)} ({', '.join(kinds)})")
        for column in want:
            if column.json:
                self._comment(column.name, JSON_MARK)

    def _extend(self, want: Sequence[Wanted]) -> None:
        """New columns are added; a changed type is refused or follows the policy."""
        have = columns(self._session, self._table)
        for column in [*want, *(Wanted(name, kind, False) for name, kind in OWN.items())]:
            there = have.get(column.name.lower())
            if there is None:
                self._add(column)
            elif not fits(there, column):
                self._reconcile(there, column)

    def _add(self, column: Wanted) -> None:
        self._alter(f"ADD COLUMN IF NOT EXISTS {quoted(column.name)} {column.type}")
        if column.json:
            self._comment(column.name, JSON_MARK)

    def _reconcile(self, there: Column, column: Wanted) -> None:
        policy = self._policy
        if policy is ConflictPolicy.FAIL or column.name.lower() in self._steady or column.name in OWN:
            raise conflict(self._table, there, column, steady=policy is not ConflictPolicy.FAIL)
        name = quoted(there.name)
        if policy is ConflictPolicy.TEXT:
            if there.type != TEXT:
                self._alter(f"ALTER COLUMN {name} TYPE {TEXT} USING CAST({name} AS {TEXT})")
            elif there.marked_json:
                self._comment(there.name, "")
        elif there.type != JSON:
            value = name if there.marked_json else as_json(name, there.type)
            self._alter(f"ALTER COLUMN {name} TYPE {JSON} USING CAST({value} AS {JSON})")

    def _alter(self, change: str) -> None:
        with self._port("loader.prepare.alter"):
            self._session.rows(f"ALTER TABLE {self._session.at(self._table)} {change}")

    def _comment(self, column: str, words: str) -> None:
        with self._port("loader.prepare.comment"):
            self._session.rows(
                f"COMMENT ON COLUMN {self._session.at(self._table)}.{quoted(column)} IS "
                + (text(words) if words else "NULL")
            )

    def _identified(self) -> str:
        found = identity(self._session, self._table)
        if found is None:
            found = uuid.uuid4().hex
            self._comment(RUN, IDENTITY + found)
        return found


def fits(there: Column, column: Wanted) -> bool:
    """True if the column takes the contract's values as they are. JSON text is text."""
    if column.json:
        return there.type in (TEXT, JSON)
    return not there.marked_json and widens(there.type, column.type)


def value_for(there: Column, column: Wanted, policy: ConflictPolicy, table: Table) -> str:
    """SQL that brings a stage column into a target column. Raises `ContractError` where the policy forbids it."""
    name = quoted(column.name)
    if fits(there, column):
        return name if there.type == column.type else f"CAST({name} AS {there.type})"
    if policy is ConflictPolicy.TEXT and there.type == TEXT:
        return f"CAST({name} AS {TEXT})"
    if policy is ConflictPolicy.JSON and there.type == JSON:
        return f"CAST({as_json(name, column.type)} AS {JSON})"
    raise conflict(table, there, column, steady=False)


def conflict(table: Table, there: Column, column: Wanted, *, steady: bool) -> ContractError:
    """The source's type and the target's do not go together."""
    now = "JSON" if column.json else column.type
    was = "JSON" if there.marked_json else there.type
    remedy = "Give the source column its old type (source_system.columns.types)"
    return ContractError(
        f"column {column.name} is {now} in the source now, but {was} in the target {table}",
        hint=f"{remedy}: a key, version or cursor must keep its type."
        if steady
        else f"{remedy}, or let target_system.on_type_conflict keep its values as text or json.",
        code="type_conflict",
    )
