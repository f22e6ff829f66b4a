"""What `sluiceway doctor` asks of Snowflake: each object and privilege by itself, with the GRANT to run."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from loaders.snowflake.preparing import stage_there
from loaders.snowflake.schema import look
from loaders.snowflake.work import Work
from state.checks import Check
from state.errors import ConfigurationError, SluicewayError, TransientError
from state.snowflake.names import Name, quoted
from state.snowflake.session import Account, Session
from state.snowflake.tag import Tag

PROBE = b"sluiceway doctor"
"""The bytes of the file that is put and removed again."""


async def check(account: Account, tag: Tag, working: Callable[[Session], Work]) -> Sequence[Check]:
    """Everything in the order in which one thing needs the other; what cannot be asked any more is left out."""
    try:
        async with account.session(tag, fresh=True) as session:
            first = Check("snowflake_connection", True, "logged in, parameters as asked for")
            found = [first, *await Doctor(working(session)).checks()]
            await session.close()  # its parameters are not those of the others any more
            return found
    except SluicewayError as error:
        return [Check("snowflake_connection", False, error.message, error.hint)]


@dataclass(frozen=True)
class Doctor:
    """One look with one session."""

    work: Work

    async def checks(self) -> list[Check]:
        names = self.work.names
        [(role, warehouse)] = await self.work.session.rows("SELECT CURRENT_ROLE(), CURRENT_WAREHOUSE()")
        found = [
            Check("snowflake_connection.role", True, f"the role is {role}"),
            usable_warehouse(role, warehouse),
        ]
        places = dict.fromkeys([(names.target, "target_system.table"), (names.stage, "stage_system.stage")])
        for name, setting in places:
            found += await self._place(name, setting, role)
        if all(check.ok for check in found):
            found.append(await self._guarded("stage_system.stage", lambda: self._stage(role)))
            found.append(
                await self._guarded("stage_system.table", lambda: self._made("TABLE", names.staged, role))
            )
            found.append(await self._guarded("target_system.table", lambda: self._target(role)))
        return found

    async def _place(self, name: Name, setting: str, role: str) -> list[Check]:
        """The database and the schema of an object, each by USE: the session ends with the look."""
        database, schema = quoted(name.parts[0]), name.schema
        usage, to = "GRANT USAGE ON DATABASE", f"TO ROLE {quoted(role)};"
        first = await self._used(f"{setting}: database", "DATABASE", database, f"{usage} {database} {to}")
        if not first.ok:
            return [first]
        grant = f"GRANT USAGE, CREATE TABLE, CREATE STAGE ON SCHEMA {schema.sql} {to}"
        return [first, await self._used(f"{setting}: schema", "SCHEMA", schema.sql, grant)]

    async def _used(self, check: str, kind: str, name: str, grant: str) -> Check:
        try:
            await self.work.session.rows(f"USE {kind} {name}")
        except ConfigurationError as error:
            return Check(check, False, error.message, f"CREATE {kind} {name}; or, if it is there: {grant}")
        return Check(check, True, f"{kind.lower()} {name} can be used", grant)

    async def _guarded(self, setting: str, look: Callable[[], Awaitable[Check]]) -> Check:
        try:
            return await look()
        except SluicewayError as error:
            return Check(setting, False, error.message, error.hint)

    async def _stage(self, role: str) -> Check:
        """A file is put, listed and removed again."""
        work, names = self.work, self.work.names
        hint = f"GRANT READ, WRITE ON STAGE {names.stage.sql} TO ROLE {quoted(role)};"
        if not await stage_there(work.session, names):
            return await self._made("STAGE", names.stage, role, hint)
        folder = f"{work.pipeline}/doctor-{uuid.uuid4().hex[:12]}/"
        try:
            with TemporaryDirectory() as local:
                path = Path(local) / "probe"
                path.write_bytes(PROBE)
                told = await work.session.put(path, names.location(folder))
            listed = await work.session.records(f"LIST {names.location(folder)}")
            await work.session.rows(f"REMOVE {names.location(folder)}")
        except SluicewayError as error:
            return Check("stage_system.stage", False, error.message, hint)
        ok = told.get("status") == "UPLOADED" and len(listed) == 1
        return Check("stage_system.stage", ok, f"a file was put into {names.stage}, listed and removed", hint)

    async def _made(self, kind: str, name: Name, role: str, other: str = "") -> Check:
        """Whether the role may make a stage or a table beside `name`: one is made and dropped again."""
        setting = "stage_system" if name in (self.work.names.stage, self.work.names.staged) else "target_system"
        probe = name.beside(f"{name.last[:200]}_DOCTOR_{uuid.uuid4().hex[:12].upper()}").sql
        grant = f"GRANT CREATE {kind} ON SCHEMA {name.schema.sql} TO ROLE {quoted(role)};"
        try:
            await self.work.session.rows(f"CREATE {kind} {probe}{' (PROBE BOOLEAN)' if kind == 'TABLE' else ''}")
            await self.work.session.rows(f"DROP {kind} {probe}")
        except ConfigurationError as error:
            hint = f"If it is there: {other} If it is to be made: {grant}" if other else grant
            return Check(f"{setting}.{kind.lower()}", False, error.message, hint)
        return Check(f"{setting}.{kind.lower()}", True, f"{name} and others beside it can be made", grant)

    async def _target(self, role: str) -> Check:
        """The target is a table that may be read and written; looked at without touching a row."""
        work, table = self.work, self.work.names.target
        have = await look(work.session, table)
        if have is None:
            return await self._made("TABLE", table, role)
        if have.kind != "BASE TABLE":
            return Check(
                "target_system.table",
                False,
                f"{table} is a {have.kind.lower()}",
                "Name a table in target_system.table, or drop the view.",
            )
        refused = await self._refused(table, next(iter(have.columns)))
        may = f"{table} is a table with {len(have.columns)} columns"
        return Check(
            "target_system.table",
            not refused,
            f"the role may not {', '.join(refused)} on {table}" if refused else may,
            f"GRANT {', '.join(refused or CHANGES)} ON TABLE {table.sql} TO ROLE {quoted(role)};",
        )

    async def _refused(self, table: Name, column: str) -> list[str]:
        """Privileges that the role lacks on a table, found by statements that change no row: a list of grants
        would not tell what comes from another role. What a merge holds at the moment is not waited for."""
        name, refused = quoted(column), []
        await self.work.session.rows(f"ALTER SESSION SET LOCK_TIMEOUT = {LOCK_SECONDS}")
        for privilege, sql in CHANGES.items():
            try:
                await self.work.session.rows(sql.format(table=table.sql, column=name))
            except ConfigurationError:
                refused.append(privilege)
            except TransientError:
                break
        return refused


CHANGES = {
    "SELECT": "SELECT {column} FROM {table} WHERE FALSE",
    "INSERT": "INSERT INTO {table} ({column}) SELECT NULL WHERE FALSE",
    "UPDATE": "UPDATE {table} SET {column} = {column} WHERE FALSE",
    "DELETE": "DELETE FROM {table} WHERE FALSE",
}
"""What the role must be allowed, each with a statement that needs it and does nothing."""

LOCK_SECONDS = 5
"""How long the doctor waits for a lock on the target."""


def usable_warehouse(role: str, warehouse: str | None) -> Check:
    """A session without a warehouse can neither COPY nor MERGE (N-10)."""
    return Check(
        "snowflake_connection.warehouse",
        warehouse is not None,
        f"the warehouse is {warehouse}" if warehouse else "the session has no warehouse",
        "Check its name in snowflake_connection.warehouse, and run:"
        f" GRANT USAGE ON WAREHOUSE <warehouse> TO ROLE {quoted(role)};",
    )
