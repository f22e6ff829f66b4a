"""`prepare`: make the target, add columns, change a type where the policy says so. Nothing of it is in a
transaction.

Snowflake cannot change NUMBER into VARCHAR in place. The column gets a successor, which is filled and takes its
name:

    ADD x__NEW → wait out merges under way → UPDATE x__NEW → x becomes x__OLD → x__NEW becomes x → DROP x__OLD

A merge refuses a target in which it sees x__NEW, and whoever prepares next goes on where another one stopped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from loaders.base import ConflictPolicy
from loaders.snowflake.schema import NEW, OLD, OWN, Table, Wanted, conflict, fits, look
from loaders.snowflake.types import TEXT, VARIANT, as_json, as_text
from state.errors import ConfigurationError, PermanentError
from state.port import Port
from state.snowflake.names import Name, quoted
from state.snowflake.session import Session


@dataclass(frozen=True)
class Evolution:
    """Makes and extends one target. `steady`: columns whose type may not change (key, version, cursor).
    `wait_out`: returns when no merge is under way that began before."""

    session: Session
    table: Name
    policy: ConflictPolicy
    steady: frozenset[str]
    port: Port
    wait_out: Callable[[], Awaitable[object]]

    async def prepare(self, want: Sequence[Wanted]) -> Table:
        """The target holds every column afterwards; returns it as it is then."""
        found = await look(self.session, self.table)
        if found is None:
            await self._create(want)
            found = await self._look()
        require_table(found, self.table)
        own = [Wanted(name, name, kind) for name, kind in OWN.items()]
        changed = [await self._settle(found, column) for column in [*want, *own]]
        return await self._look() if any(changed) else found

    async def _look(self) -> Table:
        found = await look(self.session, self.table)
        if found is None:
            raise PermanentError(
                f"the target {self.table} is not seen after it was made: another role's, or dropped meanwhile",
                hint="If it is there, grant the role what `sluiceway doctor` names; else a retry makes it again.",
                code="target_gone",
            )
        return found

    async def _create(self, want: Sequence[Wanted]) -> None:
        kinds = [f"{quoted(column.name)} {column.type}" for column in want]
        kinds += [f"{quoted(name)} {kind}" for name, kind in OWN.items()]
        with self.port("loader.prepare.create"):
            await self.session.rows(f"CREATE TABLE IF NOT EXISTS {self.table.sql} ({', '.join(kinds)})")

    async def _settle(self, found: Table, column: Wanted) -> bool:
        """Make one column fit; returns whether anything was done."""
        have = found.columns.get(column.name)
        halfway = [column.name + ending for ending in (NEW, OLD) if column.name + ending in found.columns]
        if have is None and not halfway:
            await self._alter(f"ADD COLUMN IF NOT EXISTS {quoted(column.name)} {column.type}")
            return True
        if have is not None and not halfway and (fits(have, column) or self._becomes(have, column) == have):
            return False
        await self._change(found, column)
        return True

    async def _change(self, found: Table, column: Wanted) -> None:
        """Change a column's type by the policy, from wherever it was left."""
        name, new, old = column.name, column.name + NEW, column.name + OLD
        have = found.columns.get(name)
        if have is not None and new not in found.columns and old in found.columns:
            await self._alter(f"DROP COLUMN IF EXISTS {quoted(old)}")
            return
        if have is not None:
            kind = self._becomes(have, column)
            value = as_text(quoted(name), have) if kind == TEXT else as_json(quoted(name), have)
            await self._alter(f"ADD COLUMN IF NOT EXISTS {quoted(new)} {kind}")
            await self.wait_out()
            with self.port("loader.prepare.fill"):
                await self.session.count(f"UPDATE {self.table.sql} SET {quoted(new)} = {value}", long=True)
            await self._alter(f"RENAME COLUMN {quoted(name)} TO {quoted(old)}")
        await self._alter(f"RENAME COLUMN {quoted(new)} TO {quoted(name)}")
        await self._alter(f"DROP COLUMN IF EXISTS {quoted(old)}")

    def _becomes(self, have: str, column: Wanted) -> str:
        """The type that the policy gives the column. Raises `ContractError` if it gives none."""
        if self.policy is ConflictPolicy.FAIL or column.name in self.steady or column.name in OWN:
            raise conflict(self.table, have, column, steady=self.policy is not ConflictPolicy.FAIL)
        return TEXT if self.policy is ConflictPolicy.TEXT else VARIANT

    async def _alter(self, change: str) -> None:
        with self.port("loader.prepare.alter"):
            await self.session.rows(f"ALTER TABLE {self.table.sql} {change}")


def require_table(found: Table, table: Name) -> None:
    """Raises `ConfigurationError` for a view and the like."""
    if found.kind != "BASE TABLE":
        raise ConfigurationError(
            f"the target {table} is a {found.kind.lower()}",
            hint="Name a table in target_system.table, or drop the view.",
            code="target_kind",
            path="target_system.table",
        )
