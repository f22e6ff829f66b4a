"""What `sluiceway doctor` asks of a drive table in Snowflake: each privilege, with its GRANT (N-11)."""

from __future__ import annotations

from state.checks import Check
from state.errors import ConfigurationError, TransientError
from state.snowflake.drive_rows import Tables
from state.snowflake.names import parse, quoted
from state.snowflake.session import Account, Session
from state.snowflake.tag import Tag

SELECT = "SELECT 1 FROM {table} WHERE FALSE"
UPDATE = "UPDATE {table} SET {column} = {column} WHERE FALSE"
INSERT = "INSERT INTO {table} ({column}) SELECT NULL WHERE FALSE"
"""Statements that need a privilege, and do nothing."""
LOCK_SECONDS = 5


async def check(account: Account, database_schema: str) -> list[Check]:
    """One check for each table. Looked for by statements that change no row: a list of grants would not tell what
    comes from another role. A lock that a worker holds is not waited for: whoever would wait may do it."""
    tables = Tables(parse(database_schema, parts=2))
    needed = {
        tables.drive: ("TOUCHED", {"SELECT": SELECT, "UPDATE": UPDATE}),
        tables.tokens: ("TOKEN", {"SELECT": SELECT, "INSERT": INSERT, "UPDATE": UPDATE}),
        tables.runs: ("TOKEN", {"SELECT": SELECT, "INSERT": INSERT, "UPDATE": UPDATE}),
        tables.events: ("ACTOR", {"SELECT": SELECT, "INSERT": INSERT}),
    }
    async with account.session(Tag(phase="drive_table")) as session:
        await session.rows(f"ALTER SESSION SET LOCK_TIMEOUT = {LOCK_SECONDS}")
        role = str(await session.value("SELECT CURRENT_ROLE()"))
        found = [await _allowed(session, role, table, *which) for table, which in needed.items()]
        await session.close()  # its parameters are not those of the others any more
    return found


async def _allowed(session: Session, role: str, table: str, column: str, needed: dict[str, str]) -> Check:
    refused = []
    for privilege, sql in needed.items():
        try:
            await session.rows(sql.format(table=table, column=column))
        except ConfigurationError:
            refused.append(privilege)
        except TransientError:
            continue
    return Check(
        "drive_table privileges",
        not refused,
        f"the role {role} may not {', '.join(refused)} on {table}" if refused else f"{table} can be used",
        f"GRANT {', '.join(refused or needed)} ON TABLE {table} TO ROLE {quoted(role)};",
    )
