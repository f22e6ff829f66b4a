"""Names in the target's database: one way to quote them, and which table is which."""

from __future__ import annotations

import re
from dataclasses import dataclass

from loaders.aside import SIDE
from loaders.aside import TABLE as QUARANTINE
from loaders.duckdb.settings import DuckDBStage, DuckDBTarget
from state.errors import ConfigurationError
from state.model import Attempt, RunId


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """`value` as an SQL string, for the few places that take no parameter."""
    return "'" + value.replace("'", "''") + "'"


@dataclass(frozen=True)
class Table:
    """A table by schema and name."""

    schema: str
    name: str

    def __str__(self) -> str:
        return self.name if self.schema == "main" else f"{self.schema}.{self.name}"

    def beside(self, name: str) -> Table:
        """Another table of the same schema."""
        return Table(self.schema, name)


@dataclass(frozen=True)
class Names:
    """The tables that a loader works with. `stage` is what stage tables' names begin with."""

    target: Table
    fence: Table
    loads: Table
    stage: Table
    quarantine: Table

    def stage_of(self, attempt: Attempt) -> Table:
        """The stage table of one attempt: `<stage table>_<run hash>_A<token>`."""
        return self.stage.beside(f"{self.stage_prefix(attempt.run)}{attempt.token}")

    def side_of(self, stage: Table) -> Table:
        """The stage table of side chunks, by the attempt's own."""
        return stage.beside(stage.name + SIDE)

    def stage_prefix(self, run: RunId) -> str:
        """What the names of a run's stage tables begin with."""
        return f"{self.stage.name}_{run.hash}_A"

    def run_hash(self, name: str) -> str | None:
        """The run that a stage table belongs to, by its hash; None for another table."""
        pattern = rf"{re.escape(self.stage.name)}_([0-9a-f]{{12}})_A\d+(?:{SIDE})?"
        found = re.fullmatch(pattern, name, re.IGNORECASE)
        return found[1].lower() if found else None


def names(target: DuckDBTarget, stage: DuckDBStage) -> Names:
    """All names that follow from the settings. Raises `ConfigurationError` for one that is no table name."""
    table = parsed(target.table, "target_system.table")
    staged = table.beside(f"{table.name}_stage")
    if stage.table is not None:
        staged = parsed(stage.table, "stage_system.table")
    fence, quarantine = table.beside(f"{table.name}__SLUICEWAY_FENCE"), table.beside(table.name + QUARANTINE)
    return Names(table, fence, table.beside("SLUICEWAY_LOADS"), staged, quarantine)


def parsed(name: str, path: str) -> Table:
    """`table` or `schema.table`."""
    parts = name.split(".")
    if not all(parts) or len(parts) > 2:
        raise ConfigurationError(
            f"{path}: {name!r} is neither like `table` nor like `schema.table`",
            hint="The database is named by target_system.database.",
            code="table_name",
            path=path,
        )
    return Table(*parts) if len(parts) == 2 else Table("main", name)
