"""Which column of a stage table goes into which of the target, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from loaders.snowflake.copying import stage_kinds
from loaders.snowflake.names import LOADED, RUN_NAME, R
from loaders.snowflake.rows import RowRules, bounds_of, in_window_of, instant
from loaders.snowflake.schema import Table, Wanted, value_for, wanted
from loaders.snowflake.types import VARIANT
from loaders.snowflake.work import Work
from state.contract import Contract
from state.errors import ContractError
from state.model import Attempt
from state.snowflake.names import Name, quoted


@dataclass(frozen=True)
class Plan:
    """`rows`: the staged rows in a FROM. `values`: target column → SQL over `r`, one of them; what else the target
    has is left alone.
    `variants`: those of `values` that are VARIANT. `parsed`: columns of JSON text that become one. `in_window`:
    SQL that is true for a row of the run's window, with the parameters `bounds`. `mark`: what the transaction left
    in the fence. `identity`: the target's, now. `at`: when."""

    work: Work
    stage: Name
    rows: str
    values: dict[str, str]
    variants: frozenset[str]
    parsed: tuple[Wanted, ...]
    in_window: str
    attempt: Attempt
    mark: str
    identity: str
    at: datetime

    @property
    def rules(self) -> RowRules:
        return self.work.rules

    @property
    def target(self) -> str:
        return self.work.target

    @property
    def transformed(self) -> bool:
        """Whether `rows` went through a user's SQL."""
        return self.work.settings.transform is not None and not self.shared

    @property
    def shared(self) -> bool:
        """Whether the stage table is the one that the pipeline's runs without rows share."""
        return self.stage == self.work.empty

    @property
    def inserted(self) -> str:
        """The columns of an INSERT: the source's, then our own."""
        return ", ".join([*(quoted(name) for name in self.values), R, RUN_NAME, LOADED])

    @property
    def bounds(self) -> tuple[str, ...]:
        """The parameters of `in_window`."""
        return bounds_of(self.rules.cursor, self.attempt.run.window)

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
        no_rows(stage, want) if stage == work.empty else work.staged(stage),
        values,
        frozenset(name for name in values if have.columns[name] == VARIANT),
        tuple(column for column in want if column.json and have.columns[column.name] == VARIANT),
        in_window_of(work.rules.cursor, have.columns),
        attempt,
        mark,
        have.identity,
        datetime.now(UTC),
    )


def no_rows(table: Name, want: Sequence[Wanted]) -> str:
    """The rows of a run that has none, in a FROM: in the columns of its contract, which the shared `table` may
    lack, for another process may have made it anew for a contract of its own."""
    nulls = ", ".join(f"CAST(NULL AS {kind}) AS {quoted(name)}" for name, kind in stage_kinds(want).items())
    return f"(SELECT {nulls} FROM {table.sql} WHERE FALSE)"
