"""Which column of a stage table goes into which of the target, and how."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from loaders.duckdb.names import Table, quoted
from loaders.duckdb.rows import R, RowRules, within_window
from loaders.duckdb.schema import Columns, identity_of, value_for, wanted
from loaders.duckdb.work import Work
from state.contract import LOADED_AT, RUN, Contract
from state.errors import ContractError
from state.model import Attempt


@dataclass(frozen=True)
class Plan:
    """`values`: target column → SQL over the stage table; what else the target has is left alone. `in_window`: SQL
    that is true for a row of the run's window, with two parameters; TRUE with none where there is no cursor.
    `identity`: the target's, now. `at`: when."""

    work: Work
    stage: str
    values: dict[str, str]
    in_window: str
    attempt: Attempt
    identity: str | None
    at: datetime

    @property
    def rules(self) -> RowRules:
        return self.work.rules

    @property
    def target(self) -> str:
        return self.work.target

    @property
    def inserted(self) -> str:
        """The columns of an INSERT: the source's, then our own."""
        return ", ".join([*(quoted(name) for name in self.values), R, quoted(RUN), quoted(LOADED_AT)])

    def count(self, sql: str, *values: object) -> int:
        """A count, by a query of its own."""
        return self.work.session.count(sql, *values)


def plan_for(work: Work, have: Columns, contract: Contract, *, stage: Table, attempt: Attempt) -> Plan:
    """Raises `ContractError` for a column that the target lacks or a type that the policy does not let in."""
    values = {}
    for column in wanted(work.session, contract.schema):
        there = have.get(column.name.lower())
        if there is None:
            raise ContractError(
                f"the target {work.names.target} has no column {column.name}",
                hint="Somebody changed the table by hand; a new run over the window adds the column.",
                code="missing_column",
            )
        values[there.name] = value_for(there, column, work.settings.on_type_conflict, work.names.target)
    in_window = in_window_of(have, work.rules.cursor)
    return Plan(work, work.session.at(stage), values, in_window, attempt, identity_of(have), datetime.now(UTC))


def in_window_of(have: Columns, cursor: str | None) -> str:
    """`Plan.in_window` over a table with these columns."""
    if cursor is None:
        return "TRUE"
    found = have[cursor.lower()]
    return within_window(quoted(found.name), found.type)
