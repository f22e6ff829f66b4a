"""Rows of the twin: tables in memory, which of two rows is newer, and what a merge makes of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pyarrow as pa

from loaders.base import ConflictPolicy, Held, Mode
from loaders.columns import FILE, ROW, Needs
from loaders.retention import unusable_column
from state.contract import LOADED_AT, READ_AT, RUN, Contract, is_json, json_field
from state.errors import ContractError
from state.model import Attempt, MergeCounts, Receipt, Window

Row = dict[str, Any]
LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Outcome(StrEnum):
    """What becomes of a key."""

    INSERTED = "inserted"
    UPDATED = "updated"
    OLDER = "older"
    UNCHANGED = "unchanged"


@dataclass
class MemoryTable:
    """Rows of a target or stage table; `columns` are the source's, and those of somebody else's in a target, whose
    `defaults` a new row gets. A target has an identity once prepared."""

    made_at: datetime
    columns: dict[str, pa.Field] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    identity: str = ""
    defaults: Row = field(default_factory=dict)


@dataclass
class MemoryTarget:
    """What a database and a stage hold: tables, staged files with the instant of their arrival, the ledger."""

    tables: dict[str, MemoryTable] = field(default_factory=dict)
    files: dict[str, tuple[bytes, datetime]] = field(default_factory=dict)
    claims: list[Attempt] = field(default_factory=list)
    receipts: list[tuple[str, Receipt]] = field(default_factory=list)

    def saved(self) -> MemoryTarget:
        """Tables and ledger as they are now, to `restore` them."""
        tables = {name: replace(table, rows=list(table.rows)) for name, table in self.tables.items()}
        return MemoryTarget(tables, {}, list(self.claims), list(self.receipts))

    def restore(self, saved: MemoryTarget) -> None:
        """Undo what a transaction did; files are not part of any."""
        self.tables, self.claims, self.receipts = saved.tables, saved.claims, saved.receipts


def reconcile(table: MemoryTable, wanted: pa.Field, policy: ConflictPolicy, steady: Sequence[str]) -> None:
    """The table takes the column's values afterwards: added, or its type brought together by the policy."""
    have = table.columns.get(wanted.name)
    if have is None:
        table.columns[wanted.name] = wanted
        return
    if fits(have, wanted):
        return
    if policy is ConflictPolicy.FAIL or wanted.name in steady:
        raise conflict(have, wanted)
    by_policy = pa.field(wanted.name, pa.string()) if policy is ConflictPolicy.TEXT else json_field(wanted.name)
    if fits(have, by_policy) and is_json(have) == is_json(by_policy):
        return
    table.columns[wanted.name] = by_policy
    table.rows = [{**row, wanted.name: converted(row.get(wanted.name), have, policy)} for row in table.rows]


def require_known(rows: Iterable[Row], known: set[str]) -> None:
    """Raise `ContractError` if a row was written by a run that has no receipt any more."""
    strangers = sum(row.get(RUN) is not None and row[RUN] not in known for row in rows)
    if strangers:
        raise ContractError(f"{strangers} rows are of runs without a receipt", code="unknown_runs")


def fits(have: pa.Field, wanted: pa.Field) -> bool:
    """True if a column takes the values as they are. JSON text is text."""
    if is_json(wanted):
        return bool(have.type == pa.string())
    return bool(have.type == wanted.type) and not is_json(have)


def converted(value: Any, kind: pa.Field, policy: ConflictPolicy) -> Any:
    """A value of type `kind` as text, or as JSON text."""
    if value is None or is_json(kind):
        return value
    if policy is ConflictPolicy.TEXT:
        return str(value)
    return json.dumps(value, default=str)


def conflict(have: pa.Field, wanted: pa.Field) -> ContractError:
    return ContractError(
        f"column {wanted.name} is {wanted.type} in the source now, but {have.type} in the target",
        hint="Give the source column its old type, or let on_type_conflict keep its values as text or json.",
        code="type_conflict",
    )


@dataclass(frozen=True)
class Values:
    """How staged rows become target rows: under the target's columns, stamped with run and time."""

    table: MemoryTable
    contract: Contract
    policy: ConflictPolicy
    run: str
    at: datetime

    def data(self, row: Row) -> Row:
        """The data columns of the target that the source has."""
        ours = set(self.contract.schema.names)
        return {name: self._value(have, row) for name, have in self.table.columns.items() if name in ours}

    def _value(self, have: pa.Field, row: Row) -> Any:
        wanted = self.contract.schema.field(have.name)
        return row[have.name] if fits(have, wanted) else converted(row[have.name], wanted, self.policy)

    def full(self, row: Row) -> Row:
        """A whole row of the target, but for columns of others."""
        return {**self.data(row), READ_AT: row[READ_AT], RUN: self.run, LOADED_AT: self.at}


@dataclass(frozen=True)
class RowRules:
    """How rows are told apart and ordered."""

    needs: Needs

    def inside(self, window: Window, row: Row) -> bool:
        """True if a row lies in a window; every row does where none is cut."""
        cursor = self.needs.cursor_column
        return cursor is None or inside(window, row[cursor])

    def key(self, row: Row) -> tuple[Any, ...]:
        return tuple(row.get(name) for name in self.needs.keys)

    def order(self, row: Row) -> tuple[Any, ...]:
        """`(version NULLS FIRST, _sluiceway_read_at)`."""
        version = self.needs.version_column
        stamp = row.get(version) if version is not None else None
        return (stamp is not None, stamp if stamp is not None else 0, row.get(READ_AT) or LONG_AGO)

    def place(self, row: Row) -> tuple[Any, ...]:
        """The order by which the newest row of a key is found: a total one."""
        return (*self.order(row), row[FILE], row[ROW])

    def newest(self, rows: Iterable[Row]) -> dict[tuple[Any, ...], Row]:
        """One row per key."""
        found: dict[tuple[Any, ...], Row] = {}
        for row in sorted(rows, key=self.place):
            found[self.key(row)] = row
        return found

    def upsert(self, values: Values, staged: list[Row]) -> MergeCounts:
        """Bring the newest rows into the target's table."""
        newest = self.newest(staged)
        there = {self.key(row): row for row in values.table.rows}
        outcomes = {key: self.outcome(values, row, there.get(key)) for key, row in newest.items()}
        for key, row in newest.items():
            there[key] = self.written(values, row, there.get(key), outcomes[key])
        values.table.rows = list(there.values())
        return self.counted(staged, outcomes.values())

    def counted(self, staged: list[Row], outcomes: Iterable[Outcome]) -> MergeCounts:
        counts = Counter(outcomes)
        return MergeCounts(
            stage_rows=len(staged),
            distinct_keys=len({self.key(row) for row in staged}),
            **{outcome.value: counts[outcome] for outcome in Outcome},
        )

    def outcome(self, values: Values, new: Row, old: Row | None) -> Outcome:
        """What becomes of a key, by docs/decisions/0002."""
        if old is None:
            return Outcome.INSERTED
        if self.order(new) < self.order(old):
            return Outcome.OLDER
        if self.order(new) == self.order(old) or not self.differs(values, new, old):
            return Outcome.UNCHANGED
        return Outcome.UPDATED

    def differs(self, values: Values, new: Row, old: Row) -> bool:
        return any(value != old.get(name) for name, value in values.data(new).items())

    def written(self, values: Values, new: Row, old: Row | None, outcome: Outcome) -> Row:
        """The target's row afterwards."""
        if old is None or outcome is Outcome.UPDATED:
            return {**(values.table.defaults if old is None else old), **values.full(new)}
        return self.seen_again(new, old) if outcome is Outcome.UNCHANGED else old

    def seen_again(self, new: Row, old: Row) -> Row:
        """Nothing changed but the instant that the row was seen at."""
        return {**old, READ_AT: new[READ_AT]}

    def answering(self, target: Iterable[Row], staged: Iterable[Row]) -> int:
        """Target rows that hold a staged key at its order or a newer one."""
        newest = self.newest(staged)
        pairs = [(row, newest.get(self.key(row))) for row in target]
        return sum(new is not None and self.order(row) >= self.order(new) for row, new in pairs)

    def held(self, window: Window, target: Sequence[Row], staged: Sequence[Row]) -> Held:
        """What the target holds of the stage, by whomever and in whatever version."""
        if self.needs.mode is not Mode.MERGE:
            return Held(len(staged), sum(self.inside(window, row) for row in target))
        keys = {self.key(row) for row in staged}
        return Held(len(keys), len(keys & {self.key(row) for row in target}))


def older(table: MemoryTable, column: str, before: datetime) -> Callable[[Row], bool]:
    """Whether a row is older; a date is over when its day is. Raises `ConfigurationError` for another column."""
    if column not in table.columns:
        raise unusable_column("the target", column, "does not exist")
    kind = table.columns[column].type
    if pa.types.is_date(kind):
        return lambda row: row.get(column) is not None and bool(row[column] < before.date())
    if not pa.types.is_timestamp(kind):
        raise unusable_column("the target", column, f"is {kind}, which tells no row's age")
    return lambda row: row.get(column) is not None and utc(row[column]) < before


def utc(at: datetime) -> datetime:
    """An instant; a naive one is UTC."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def inside(window: Window, at: Any) -> bool:
    """True if a cursor lies in a window; a naive one is UTC."""
    if at is None:
        return False
    return window.start <= utc(at) < window.end
