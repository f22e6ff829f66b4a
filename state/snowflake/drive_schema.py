"""The drive table's schema in Snowflake: made and upgraded by one script, the same that operators run by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator

from state import versions
from state.errors import ConfigurationError
from state.snowflake import scripts
from state.snowflake.drive_rows import SETTING, Tables, missing
from state.snowflake.names import Name, quoted
from state.snowflake.session import Session

VERSION = 1
"""The schema version of this program, which its script makes."""


def script() -> str:
    """The text of deploy/sql/drive_table.sql: it may be run again, and brings older versions up."""
    return scripts.text_of("drive_table")


def statements(text: str) -> Iterator[str]:
    """The statements of a script, one by one. A `;` at the end of a line ends one; comments are left out."""
    bare = re.sub(r"^\s*--.*\n", "", text, flags=re.MULTILINE)
    for statement in re.split(r";\s*\n", bare):
        if statement.strip():
            yield statement.strip().removesuffix(";")


async def upgrade(session: Session, tables: Tables) -> str:
    """Make the drive table, or bring the one that is there to this version; its id.

    Nothing is done where it is of this version: who may use it need not be allowed to make it. Raises
    `ConfigurationError` if it is of a newer program. Every statement commits by itself, as DDL does, and may be
    repeated; the version is written by the last one, so a script that broke off is run again.
    """
    if (version := await version_there(session, tables)) is not None:
        versions.refuse_newer(version, VERSION, place=tables.schema, path=SETTING)
    if version != VERSION:
        await _run_script(session, tables)
    return await require_current(session, tables)


async def _run_script(session: Session, tables: Tables) -> None:
    try:
        await session.rows(f"USE SCHEMA {tables.schema.sql}")
    except ConfigurationError as error:
        raise (no_schema(tables.schema) if error.code == "object" else error) from error
    try:
        for statement in statements(script()):
            await session.rows(statement)
    except ConfigurationError as error:
        raise (await _not_allowed(session, tables, error) if error.code == "privilege" else error) from error


async def _not_allowed(session: Session, tables: Tables, error: ConfigurationError) -> ConfigurationError:
    """The role may not make it: somebody else does, with the script that says it all."""
    role, schema = quoted(str(await session.value("SELECT CURRENT_ROLE()"))), tables.schema.sql
    return ConfigurationError(
        error.message,
        hint="Run what `sluiceway drive sql drive_table` prints, as the role that shall own the drive table; or"
        f" GRANT CREATE TABLE, CREATE VIEW ON SCHEMA {schema} TO ROLE {role};",
        code=error.code,
        path=SETTING,
    )


async def version_there(session: Session, tables: Tables) -> int | None:
    """The schema version that is written down; None if this role sees no drive table."""
    try:
        return await version_of(session, tables)
    except ConfigurationError as error:
        if error.code != "object":
            raise
        return None


async def require_made(session: Session, tables: Tables) -> None:
    """Raises `ConfigurationError` if there is no drive table."""
    if await version_there(session, tables) is None:
        raise missing(tables.schema)


async def require_current(session: Session, tables: Tables) -> str:
    """The id of the drive table. Raises `ConfigurationError` if this program cannot work with what is there."""
    try:
        found = await session.rows(f"SELECT id, schema_version FROM {tables.drive}")
    except ConfigurationError as error:
        raise (missing(tables.schema) if error.code == "object" else error) from error
    if not found:
        raise missing(tables.schema)
    if len(found) > 1:
        raise ConfigurationError(
            f"the drive table in {tables.schema} has {len(found)} ids instead of one",
            hint="Delete all rows of sluiceway_drive but the oldest: two `drive init` ran at the same time.",
            code="two_ids",
            path=SETTING,
        )
    identity, version = str(found[0][0]), int(found[0][1])
    versions.require_current(version, VERSION, place=tables.schema, path=SETTING)
    return identity


async def version_of(session: Session, tables: Tables) -> int:
    """The highest schema version that is written down; 0 if none is."""
    return int(await session.value(f"SELECT COALESCE(MAX(schema_version), 0) FROM {tables.drive}") or 0)


def no_schema(schema: Name) -> ConfigurationError:
    """The schema itself is not there for this role."""
    return ConfigurationError(
        f"there is no schema {schema}, or the role may not use it",
        hint=f"CREATE SCHEMA {schema.sql}; or grant USAGE on it and its database, CREATE TABLE and CREATE VIEW.",
        code="object",
        path=SETTING,
    )
