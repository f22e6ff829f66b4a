"""What `sluiceway doctor` asks of a drive table in Snowflake: each privilege, with its GRANT (N-11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from state.checks import Check
from state.errors import ConfigurationError
from state.snowflake.checks import Places, check_warehouse
from state.snowflake.drive_rows import INIT, SETTING
from state.snowflake.login import hint_of
from state.snowflake.names import Name, parse, quoted
from state.snowflake.probes import INSERT, SELECT, UPDATE, impatient, lacking
from state.snowflake.session import Account, Session
from state.snowflake.tag import Tag

NEEDED: Mapping[str, tuple[str, Sequence[str]]] = {
    "SLUICEWAY_DRIVE": ("TOUCHED", (SELECT, UPDATE)),
    "PIPELINE_TOKENS": ("TOKEN", (SELECT, INSERT, UPDATE)),
    "PIPELINE_EXECUTION_DRIVE": ("TOKEN", (SELECT, INSERT, UPDATE)),
    "PIPELINE_EVENTS": ("ACTOR", (SELECT, INSERT)),
}
"""Tables, each with one of its columns and what the workers do there."""


async def check(account: Account, database_schema: str) -> list[Check]:
    """Warehouse, database, schema, and one check for each table, as far as one needs the other."""
    try:
        return await _looked(account, parse(database_schema, parts=2, path=SETTING))
    except ConfigurationError as error:
        return [Check("drive_table", False, error.message, hint_of(error, account.settings))]


async def _looked(account: Account, schema: Name) -> list[Check]:
    async with account.session(Tag(phase="drive_table")) as session:
        role = str(await session.value("SELECT CURRENT_ROLE()"))
        found = [await check_warehouse(session, account.settings, role)]
        found += await Places(session, role).checks({schema: SETTING})
        if all(look.ok for look in found):
            await impatient(session)
            found += await _tables(session, schema, role)
        await session.close()  # its parameters are not those of the others any more
    return found


async def _tables(session: Session, schema: Name, role: str) -> list[Check]:
    tables = {Name((*schema.parts, name)): needed for name, needed in NEEDED.items()}
    refused = {table: await lacking(session, table, *needed) for table, needed in tables.items()}
    if all(refused[table] == list(privileges) for table, (_, privileges) in tables.items()):
        return [Check("drive_table", False, f"the role {role} sees no drive table in {schema}", INIT)]
    return [_told(table, refused[table], privileges, role) for table, (_, privileges) in tables.items()]


def _told(table: Name, refused: Sequence[str], needed: Sequence[str], role: str) -> Check:
    if not refused:
        return Check("drive_table privileges", True, f"{table} may be used: {', '.join(needed)}")
    named = ", ".join(refused)
    grant = f"GRANT {named} ON TABLE {table.sql} TO ROLE {quoted(role)};"
    return Check("drive_table privileges", False, f"the role {role} may not {named} on {table}", grant)
