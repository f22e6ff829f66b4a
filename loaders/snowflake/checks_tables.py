"""What `sluiceway doctor` asks about the tables of a target in Snowflake."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from loaders.snowflake.schema import OWN, Table, look
from loaders.snowflake.work import Work
from state.checks import Check
from state.snowflake.names import Name, quoted
from state.snowflake.probes import DELETE, INSERT, OWNERSHIP, SELECT, UPDATE, allowed, lacking, owned, taken

TARGET, STAGED = "target_system.table", "stage_system.table"
"""Names of checks: the settings that they are about."""

ON_TARGET = (SELECT, INSERT, UPDATE, DELETE)
"""Merging takes SELECT, INSERT and UPDATE; append mode, snapshot mode and target cleaning DELETE."""

ON_LEDGER = (SELECT, INSERT, UPDATE)
"""Rows of the load table are added, and the fence's is changed."""


@dataclass(frozen=True)
class Tables:
    """One look with one session. `role`: the session's."""

    work: Work
    role: str

    async def staged(self) -> list[Check]:
        """A stage table can be made; and the one that is always empty is ours, because it is made again when the
        contract changes."""
        empty = self.work.empty
        found = [await self._made(STAGED, self.work.names.staged)]
        have = await look(self.work.session, empty)
        there = have is not None or (found[0].ok and await taken(self.work.session, "TABLE", empty))
        if there and not await owned(self.work.session, empty):
            said = f"{empty} is another role's, and is made again when the source's columns change"
            found.append(Check(f"{STAGED}: empty runs", False, said, self._grant(empty, [OWNERSHIP])))
        return found

    async def target(self) -> list[Check]:
        """Target and load table may be read and written, or made. Looked at without touching a row."""
        names, session = self.work.names, self.work.session
        have, loads = await look(session, names.target), await look(session, names.ledger)
        found = []
        if have is None or loads is None:
            found.append(await self._made(TARGET, names.target))
        can_make = not found or found[0].ok
        if can_make or have is not None:
            found += await self._target(have)
        if can_make or loads is not None:
            found += await self._ledger(loads)
        return found

    async def _target(self, have: Table | None) -> list[Check]:
        table = self.work.names.target
        if have is None:
            return [await self._unseen(TARGET, table, ON_TARGET)]
        if have.kind != "BASE TABLE":
            hint = "Name a table in target_system.table, or drop the view."
            return [Check(TARGET, False, f"{table} is a {have.kind.lower()}", hint)]
        may = await self._may(TARGET, table, next(iter(have.columns)), ON_TARGET)
        return [may, await self._evolving(table, have)] if may.ok else [may]

    async def _ledger(self, have: Table | None) -> list[Check]:
        name, table = f"{TARGET}: load table", self.work.names.ledger
        if have is None:
            return [await self._unseen(name, table, ON_LEDGER)]
        return [await self._may(name, table, "KIND", ON_LEDGER)]

    async def _may(self, name: str, table: Name, column: str, needed: Sequence[str]) -> Check:
        refused = await lacking(self.work.session, table, column, needed)
        if refused:
            said = f"the role {self.role} may not {', '.join(refused)} on {table}"
            return Check(name, False, said, self._grant(table, refused))
        return Check(name, True, f"{table} may be used: {', '.join(needed)}")

    async def _unseen(self, name: str, table: Name, needed: Sequence[str]) -> Check:
        """A table that the role does not see is not there, or is there and hidden."""
        if await taken(self.work.session, "TABLE", table):
            said = f"{table} is there, and the role {self.role} has no privilege on it"
            return Check(name, False, said, self._grant(table, needed))
        return Check(name, True, f"{table} will be made")

    async def _evolving(self, table: Name, have: Table) -> Check:
        """New columns take OWNERSHIP. Without it they are added by hand; ours are missing from the start."""
        name = f"{TARGET}: columns"
        if await owned(self.work.session, table):
            return Check(name, True, f"{len(have.columns)} columns; what the source gains is added")
        grant = self._grant(table, [OWNERSHIP])
        ours = [f"{quoted(column)} {kind}" for column, kind in OWN.items() if column not in have.columns]
        if ours:
            by_hand = f"ALTER TABLE {table.sql} ADD COLUMN {', '.join(ours)};"
            said = f"{table} lacks columns of Sluiceway, and the role {self.role} may not add any"
            return Check(name, False, said, f"{by_hand} Or let the role do it: {grant}")
        said = (
            f"{len(have.columns)} columns; what the source gains is to be added by hand: the role does not own it"
        )
        return Check(name, True, said, grant)

    async def _made(self, setting: str, name: Name) -> Check:
        """Whether the role may make a table beside `name`: one is made and dropped again."""
        probe = name.beside(f"{name.last[:200]}_DOCTOR_{uuid.uuid4().hex[:12].upper()}").sql
        if await allowed(self.work.session, f"CREATE TRANSIENT TABLE {probe} (PROBE BOOLEAN)"):
            await self.work.session.rows(f"DROP TABLE {probe}")
            return Check(setting, True, f"{name} and others beside it can be made")
        said = f"the role {self.role} may not make tables in {name.schema}"
        grant = f"GRANT CREATE TABLE ON SCHEMA {name.schema.sql} TO ROLE {quoted(self.role)};"
        return Check(setting, False, said, grant)

    def _grant(self, table: Name, privileges: Sequence[str]) -> str:
        more = " COPY CURRENT GRANTS" if OWNERSHIP in privileges else ""
        return f"GRANT {', '.join(privileges)} ON TABLE {table.sql} TO ROLE {quoted(self.role)}{more};"
