"""What a role may do to a table, found by statements that need one privilege each and change nothing (N-11).

A list of grants would not tell what comes from another role.
"""

from __future__ import annotations

from collections.abc import Sequence

from state.errors import ConfigurationError, ContractError, SluicewayError, TransientError
from state.snowflake.names import Name, quoted
from state.snowflake.session import Session

SELECT, INSERT, UPDATE, DELETE, OWNERSHIP = "SELECT", "INSERT", "UPDATE", "DELETE", "OWNERSHIP"

PROBES = {
    SELECT: "SELECT {column} FROM {table} WHERE FALSE",
    INSERT: "INSERT INTO {table} ({column}) SELECT NULL WHERE FALSE",
    UPDATE: "UPDATE {table} SET {column} = {column} WHERE FALSE",
    DELETE: "DELETE FROM {table} WHERE FALSE",
    OWNERSHIP: 'ALTER TABLE {table} DROP COLUMN IF EXISTS "__SLUICEWAY_DOCTOR"',
}
"""Each privilege with a statement that needs it and does nothing."""

READING = (UPDATE, DELETE)
"""Statements of these read the table as well: without SELECT they tell nothing."""

REFUSALS = ("privilege", "object")
"""Codes of errors that say that the role may not, or sees no such thing."""

LOCK_SECONDS = 5
"""How long a lock on a table is waited for: whoever would wait may do it."""


async def impatient(session: Session) -> None:
    """What a merge holds at the moment is not waited for. The session is not for others afterwards."""
    await session.rows(f"ALTER SESSION SET LOCK_TIMEOUT = {LOCK_SECONDS}")


async def lacking(session: Session, table: Name, column: str, privileges: Sequence[str]) -> list[str]:
    """Those of `privileges` that the role lacks on a table; `column`: one of its columns. All of them if it has
    none, and so sees no table. What cannot be told for want of SELECT is not among them."""
    found: list[str] = []
    for privilege in privileges:
        if privilege in READING and SELECT in found:
            continue
        refusal = await refused(session, PROBES[privilege].format(table=table.sql, column=quoted(column)))
        if refusal == "object":
            return list(privileges)
        if refusal:
            found.append(privilege)
    return found


async def owned(session: Session, table: Name) -> bool:
    """Whether the role may alter a table."""
    return await allowed(session, PROBES[OWNERSHIP].format(table=table.sql))


async def allowed(session: Session, sql: str) -> bool:
    """Whether the role may run a statement, which is run."""
    return not await refused(session, sql)


async def refused(session: Session, sql: str) -> str:
    """The code of the refusal if the role may not run a statement: `privilege`; or `object` if it has none on what
    is named, or that is not there. A lock that is held, or a column that takes no NULL, comes later."""
    try:
        await session.rows(sql)
    except ConfigurationError as error:
        if error.code not in REFUSALS:
            raise
        return error.code
    except (TransientError, ContractError):
        return ""
    return ""


async def taken(session: Session, kind: str, name: Name) -> bool:
    """Whether there is a table or stage of that name, for one that the role does not see: a CREATE that cannot
    succeed says that the name is taken before it says anything else. `kind`: TABLE or STAGE."""
    try:
        await session.rows(IMPOSSIBLE[kind].format(name=name.sql))
    except SluicewayError as error:
        return TAKEN in error.message
    raise AssertionError("unreachable: what makes nothing cannot succeed")


IMPOSSIBLE = {
    "TABLE": "CREATE TABLE {name} (PROBE NUMBER NOT NULL) AS SELECT 1 / 0",
    "STAGE": "CREATE STAGE {name} URL = 'nowhere://sluiceway'",
}
TAKEN = "(002002)"
"""Snowflake's number for an object that exists already, as our errors show it."""
