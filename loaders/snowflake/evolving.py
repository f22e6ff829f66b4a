"""`prepare`: make the target, add columns, change a type where the policy says so. Nothing of it is in a
transaction.

Snowflake cannot change NUMBER into VARCHAR in place. The column gets a successor, which is filled and takes its
name:

    wait out merges under way → ADD x__NEW → UPDATE x__NEW → x becomes x__OLD → x__NEW becomes x → DROP x__OLD

Each step is chosen by what the table is while the fence is held, so that no merge is under way and no step is
taken twice by two processes; only the filling, which may take long, is done without. A merge refuses a target in
which it sees x__NEW, and whoever prepares next goes on where another one stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from loaders.base import ConflictPolicy
from loaders.snowflake.schema import NEW, OLD, OWN, Table, Wanted, conflict, fits, look
from loaders.snowflake.sizes import declared
from loaders.snowflake.types import TEXT, VARIANT, as_json, as_text
from state.errors import ConfigurationError, PermanentError, SluicewayError
from state.port import Port
from state.snowflake.names import Name, quoted
from state.snowflake.session import Session

Alone = Callable[[], AbstractAsyncContextManager[Session]]


@dataclass(frozen=True)
class Evolution:
    """Makes and extends one target. `steady`: columns whose type may not change (key, version, cursor).
    `alone`: for as long as its block lasts no merge is under way and nobody else is in such a block; it gives a
    session that was opened in it, and sees all that was defined before. `large`: as the setting `large_values`."""

    session: Session
    table: Name
    policy: ConflictPolicy
    steady: frozenset[str]
    port: Port
    alone: Alone
    large: bool

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
        return await self._looked(self.session)

    async def _looked(self, session: Session) -> Table:
        found = await look(session, self.table)
        if found is None:
            raise PermanentError(
                f"the target {self.table} is not seen after it was made: another role's, or dropped meanwhile",
                hint="If it is there, grant the role what `sluiceway doctor` names; else a retry makes it again.",
                code="target_gone",
            )
        return found

    async def _create(self, want: Sequence[Wanted]) -> None:
        kinds = [f"{quoted(column.name)} {self._declared(column.type)}" for column in want]
        kinds += [f"{quoted(name)} {kind}" for name, kind in OWN.items()]
        with self.port("loader.prepare.create"):
            await self.session.rows(f"CREATE TABLE IF NOT EXISTS {self.table.sql} ({', '.join(kinds)})")

    async def _settle(self, found: Table, column: Wanted) -> bool:
        """Make one column fit; returns whether anything was done."""
        have = found.columns.get(column.name)
        halfway = [column.name + ending for ending in (NEW, OLD) if column.name + ending in found.columns]
        if have is None and not halfway:
            kind = self._declared(column.type)
            await self._alter(self.session, f"ADD COLUMN IF NOT EXISTS {quoted(column.name)} {kind}")
            return True
        if have is not None and not halfway and (fits(have, column) or self._becomes(have, column) == have):
            return False
        await self._change(column)
        return True

    async def _change(self, column: Wanted) -> None:
        """Change a column's type by the policy, from wherever it was left, and whoever else is at it."""
        async with self.alone() as session:
            found = await self._looked(session)
            if await self._ended(session, found, column):
                return
            have = found.columns[column.name]
            kind = self._becomes(have, column)
            new = quoted(column.name + NEW)
            await self._alter(session, f"ADD COLUMN IF NOT EXISTS {new} {self._declared(kind)}")
        value = as_text(quoted(column.name), have) if kind == TEXT else as_json(quoted(column.name), have)
        await self._fill(column, f"UPDATE {self.table.sql} SET {new} = {value}")
        async with self.alone() as session:
            found = await self._looked(session)
            if not await self._ended(session, found, column) and column.name + NEW in found.columns:
                old = quoted(column.name + OLD)
                await self._alter(session, f"RENAME COLUMN {quoted(column.name)} TO {old}")
                await self._renamed(session, column)

    async def _ended(self, session: Session, found: Table, column: Wanted) -> bool:
        """Whether the column has its type, or gets it now because all that is missing are the last steps."""
        have, new, old = (found.columns.get(column.name + ending) for ending in ("", NEW, OLD))
        if have is None:
            await self._renamed(session, column)
        elif new is None and old is not None:
            await self._alter(session, f"DROP COLUMN IF EXISTS {quoted(column.name + OLD)}")
        else:
            return new is None and (fits(have, column) or self._becomes(have, column) == have)
        return True

    async def _renamed(self, session: Session, column: Wanted) -> None:
        await self._alter(session, f"RENAME COLUMN {quoted(column.name + NEW)} TO {quoted(column.name)}")
        await self._alter(session, f"DROP COLUMN IF EXISTS {quoted(column.name + OLD)}")

    async def _fill(self, column: Wanted, statement: str) -> None:
        """Fill the new column; if it is gone meanwhile, another process was quicker."""
        try:
            with self.port("loader.prepare.fill"):
                await self.session.count(statement, long=True)
        except SluicewayError:
            async with self.alone() as session:
                if column.name + NEW in (await self._looked(session)).columns:
                    raise

    def _becomes(self, have: str, column: Wanted) -> str:
        """The type that the policy gives the column. Raises `ContractError` if it gives none."""
        if self.policy is ConflictPolicy.FAIL or column.name in self.steady or column.name in OWN:
            raise conflict(self.table, have, column, steady=self.policy is not ConflictPolicy.FAIL)
        return TEXT if self.policy is ConflictPolicy.TEXT else VARIANT

    def _declared(self, kind: str) -> str:
        return declared(kind, large=self.large)

    async def _alter(self, session: Session, change: str) -> None:
        with self.port("loader.prepare.alter"):
            await session.rows(f"ALTER TABLE {self.table.sql} {change}")


def require_table(found: Table, table: Name) -> None:
    """Raises `ConfigurationError` for a view and the like."""
    if found.kind != "BASE TABLE":
        raise ConfigurationError(
            f"the target {table} is a {found.kind.lower()}",
            hint="Name a table in target_system.table, or drop the view.",
            code="target_kind",
            path="target_system.table",
        )
