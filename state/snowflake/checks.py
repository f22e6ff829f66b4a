"""What `sluiceway doctor` asks of an account, whatever it is used for: warehouse, databases and schemas, with the
GRANT to run (N-10, N-11)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from state.checks import Check
from state.errors import ConfigurationError
from state.snowflake.names import Name, identifier, quoted
from state.snowflake.session import Session
from state.snowflake.settings import SnowflakeConnection

WAREHOUSE = "snowflake_connection.warehouse"
"""The name of a check: the setting that it is about."""

WORKS = "SELECT COUNT(*) FROM TABLE(GENERATOR(ROWCOUNT => 1))"
"""A query that only a warehouse can answer."""


async def check_warehouse(session: Session, settings: SnowflakeConnection, role: str) -> Check:
    """A session without a warehouse can neither COPY nor MERGE. One that is suspended resumes by itself for a role
    with USAGE, unless it was told not to."""
    warehouse = await session.value("SELECT CURRENT_WAREHOUSE()")
    if warehouse is None:
        hint = f"GRANT USAGE ON WAREHOUSE {identifier(settings.warehouse)} TO ROLE {quoted(role)};"
        found = f"the session has no warehouse: {settings.warehouse} is not there, or not for the role {role}"
        return Check(WAREHOUSE, False, found, hint)
    try:
        await session.rows(WORKS)
    except ConfigurationError as error:
        resume = f"ALTER WAREHOUSE {quoted(warehouse)} SET AUTO_RESUME = TRUE;"
        return Check(WAREHOUSE, False, error.message, resume if error.code == "no_warehouse" else error.hint)
    return Check(WAREHOUSE, True, f"the warehouse {warehouse} works")


@dataclass(frozen=True)
class Places:
    """Databases and schemas of objects, each by USE: the session is not for others afterwards."""

    session: Session
    role: str

    async def checks(self, schemas: Mapping[Name, str]) -> list[Check]:
        """`schemas`: each with the setting that names it. A database is looked at once."""
        found: list[Check] = []
        usable: dict[Name, bool] = {}
        for schema, setting in schemas.items():
            database = Name(schema.parts[:1])
            if database not in usable:
                found.append(await self._used(f"{setting}: database", "DATABASE", database))
                usable[database] = found[-1].ok
            if usable[database]:
                found.append(await self._used(f"{setting}: schema", "SCHEMA", schema))
        return found

    async def _used(self, name: str, kind: str, place: Name) -> Check:
        grant = f"GRANT USAGE ON {kind} {place.sql} TO ROLE {quoted(self.role)};"
        try:
            await self.session.rows(f"USE {kind} {place.sql}")
        except ConfigurationError as error:
            hint = f"If it is there: {grant} If not: CREATE {kind} {place.sql};"
            return Check(name, False, error.message, hint)
        return Check(name, True, f"{kind.lower()} {place} can be used")
