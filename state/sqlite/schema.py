"""The schema of the drive table and its versions: forward only, one step at a time, by one holder at a time."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from state import versions
from state.errors import ConfigurationError

SETTING = "drive_table.path"


def steps() -> list[str]:
    """The SQL of each version, in order; version n is the n-th."""
    folder = resources.files("state.sqlite").joinpath("migrations")
    return [file.read_text() for file in sorted(folder.iterdir(), key=lambda file: file.name)]


def version_of(connection: sqlite3.Connection) -> int:
    """Schema version of the file; 0 if it has no drive table yet."""
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'sluiceway_drive'").fetchone()
    if known is None:
        return 0
    row = connection.execute("SELECT schema_version FROM sluiceway_drive").fetchone()
    return int(row[0]) if row else 0


def id_of(connection: sqlite3.Connection) -> str:
    """The id made at `drive init`."""
    return str(connection.execute("SELECT id FROM sluiceway_drive").fetchone()[0])


def upgrade(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the newest version: all of it or nothing. Raises `ConfigurationError` if it is newer."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        version, scripts = version_of(connection), steps()
        versions.refuse_newer(version, len(scripts), place=path, path=SETTING)
        for script in scripts[version:]:
            for statement in statements(script):
                connection.execute(statement)
        if version == 0:
            connection.execute(
                "INSERT INTO sluiceway_drive VALUES (?, 0, strftime('%Y-%m-%d %H:%M:%f', 'now'))",
                (uuid.uuid4().hex,),
            )
        connection.execute("UPDATE sluiceway_drive SET schema_version = ?", (len(scripts),))
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def statements(script: str) -> Iterator[str]:
    """The statements of a script one by one; `executescript` would commit before the first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def require_current(connection: sqlite3.Connection, path: Path) -> None:
    """Raises `ConfigurationError` if this program cannot work with the file as it is."""
    version = version_of(connection)
    if version == 0:
        raise missing(path)
    versions.require_current(version, len(steps()), place=path, path=SETTING)


def missing(path: Path) -> ConfigurationError:
    """There is no drive table in `path`."""
    return versions.missing(path, SETTING)
