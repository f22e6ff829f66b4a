"""The schema of the drive table and its versions: forward only, one step at a time, by one holder at a time.

MySQL ends a transaction at each CREATE or ALTER, so a step cannot be undone. It can be done again: the version is
raised when all of its statements are through, and one that finds its work done is passed over.
"""

from __future__ import annotations

import re
import uuid
from importlib import resources

from state import versions
from state.errors import ConfigurationError, SluicewayError, TransientError
from state.mysql.errors import number_of
from state.mysql.session import Session
from state.mysql.settings import MysqlDriveSettings

SETTING = "drive_table.database"

DONE_BEFORE = (1050, 1060, 1061, 1091)
"""The table, column or key is there already, or what is dropped is not there any more."""

STATEMENT_SECONDS = 86_400.0
"""A change of a large table may take its time."""

LOCK = "CONCAT('sluiceway.', MD5(DATABASE()))"
"""Name of the lock of this database; locks belong to the server, and their names have 64 characters at most."""


def steps() -> list[str]:
    """The SQL of each version, in order; version n is the n-th."""
    folder = resources.files("state.mysql").joinpath("migrations")
    return [file.read_text() for file in sorted(folder.iterdir(), key=lambda file: file.name)]


def statements(script: str) -> list[str]:
    """The statements of a script; each ends with a semicolon at the end of a line."""
    code = re.sub(r"^--.*\n", "", script, flags=re.MULTILINE)
    return [one.strip() for one in re.split(r";\s*$", code, flags=re.MULTILINE) if one.strip()]


async def version_of(session: Session) -> int:
    """Schema version of the database; 0 if it has no drive table yet, or not all of it."""
    if not await has_table(session, "sluiceway_drive"):
        return 0
    rows = await session.rows("SELECT schema_version FROM sluiceway_drive")
    return int(rows[0]["schema_version"]) if rows else 0


async def id_of(session: Session) -> str:
    """The id made at `drive init`."""
    [row] = await session.rows("SELECT id FROM sluiceway_drive")
    return str(row["id"])


async def has_table(session: Session, name: str) -> bool:
    """True if this user sees such a table."""
    return bool(
        await session.rows(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = %s", name
        )
    )


async def upgrade(session: Session, settings: MysqlDriveSettings, *, fresh: bool) -> str:
    """Bring the database to the newest version; returns its id.

    Raises `ConfigurationError` if it is newer, if a table of that name is another program's, or, without `fresh`,
    if there is none yet.
    """
    await be_alone(session, settings)
    version = await version_of(session)
    versions.refuse_newer(version, len(steps()), place=settings.place, path=SETTING)
    if version == 0:
        if not fresh:
            raise versions.missing(settings.place, SETTING)
        await require_free(session, settings)
    for number, script in enumerate(steps()[version:], start=version + 1):
        await climb(session, script, number)
    return await id_of(session)


async def climb(session: Session, script: str, version: int) -> None:
    """Do one step."""
    for statement in statements(script):
        try:
            await session.execute(statement)
        except SluicewayError as error:
            if error.__cause__ is None or number_of(error.__cause__) not in DONE_BEFORE:
                raise
    await session.execute(
        "INSERT INTO sluiceway_drive (id, schema_version, created_at) VALUES (%s, %s, UTC_TIMESTAMP(6))"
        " ON DUPLICATE KEY UPDATE schema_version = %s",
        uuid.uuid4().hex,
        version,
        version,
    )


async def be_alone(session: Session, settings: MysqlDriveSettings) -> None:
    """Until `session` is closed nobody else changes the schema. Raises `TransientError` while somebody does."""
    [row] = await session.rows(f"SELECT GET_LOCK({LOCK}, %s) AS got", settings.lock_wait_timeout_seconds)
    if row["got"] != 1:
        raise TransientError(
            f"another process makes or upgrades the drive table {settings.place} at this time",
            hint="Wait until it is done, then do it again.",
            code="locked",
        )


async def require_free(session: Session, settings: MysqlDriveSettings) -> None:
    """Raises `ConfigurationError`: a table that no `drive init` made is not taken over."""
    begun = await has_table(session, "sluiceway_drive")
    if not begun and await has_table(session, "pipeline_execution_drive"):
        raise ConfigurationError(
            f"{settings.place} holds a table pipeline_execution_drive that Sluiceway did not make",
            hint="Set drive_table.database to a database of its own.",
            code="foreign_table",
            path=SETTING,
        )


async def require_current(session: Session, settings: MysqlDriveSettings) -> None:
    """Raises `ConfigurationError` if this program cannot work with the database as it is."""
    version = await version_of(session)
    if version == 0:
        raise versions.missing(settings.place, SETTING)
    versions.require_current(version, len(steps()), place=settings.place, path=SETTING)
