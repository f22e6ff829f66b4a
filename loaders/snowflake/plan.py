"""Which column of a stage table goes into which of the target, and how."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from loaders.snowflake.names import LOADED, RUN_NAME, R
from loaders.snowflake.rows import RowRules, instant, within_window
from loaders.snowflake.schema import Table, Wanted, value_for, wanted
from loaders.snowflake.types import VARIANT
from loaders.snowflake.work import Work
from state.contract import Contract
from state.errors import ContractError
from state.model import Attempt
from state.snowflake.names import Name, quoted


@dataclass(frozen=True)
class Plan:
    """`values`: target column → SQL over `r`, a row of the stage; what else the target has is left alone.
    `variants`: those of `values` that are VARIANT. `parsed`: columns of JSON text that become one. `in_window`:
    SQL that is true for a row of the run's window, with two parameters. `mark`: what the transaction left in the
    fence. `at`: when."""

    work: Work
    stage: Name
    values: dict[str, str]
    variants: frozenset[str]
    parsed: tuple[Wanted, ...]
    in_window: str
    attempt: Attempt
    mark: str
    at: datetime

    @property
    def rules(self) -> RowRules:
        return self.work.rules

    @property
    def target(self) -> str:
        return self.work.target

    @property
    def rows(self) -> str:
        """The staged rows in a FROM."""
        return self.work.staged(self.stage)

    @property
    def inserted(self) -> str:
        """The columns of an INSERT: the source's, then our own."""
        return ", ".join([*(quoted(name) for name in self.values), R, RUN_NAME, LOADED])

    @property
    def bounds(self) -> tuple[str, str]:
        """The parameters of `in_window`."""
        window = self.attempt.run.window
        return instant(window.start), instant(window.end)

    @property
    def stamp(self) -> tuple[str, str]:
        """The run and the instant that its rows bear."""
        return self.attempt.name, instant(self.at)


def plan_for(work: Work, have: Table, contract: Contract, *, stage: Name, attempt: Attempt, mark: str) -> Plan:
    """Raises `ContractError` for a column that the target lacks or a type that the policy does not let in."""
    values, table, policy = {}, work.names.target, work.settings.on_type_conflict
    want = wanted(contract.schema, work.settings.names)
    for column in want:
        kind = have.columns.get(column.name)
        if kind is None:
            raise ContractError(
                f"the target {table} has no column {column.name}",
                hint="Somebody changed the table by hand; a new run over the window adds the column.",
                code="missing_column",
            )
        values[column.name] = value_for(kind, column, policy, table)
    return Plan(
        work,
        stage,
        values,
        frozenset(name for name in values if have.columns[name] == VARIANT),
        tuple(column for column in want if column.json and have.columns[column.name] == VARIANT),
        within_window(quoted(work.rules.cursor), have.columns[work.rules.cursor]),
        attempt,
        mark,
        datetime.now(UTC),
    )
