"""The SQLite file itself: where it may lie, how it is opened, and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from state.errors import ConfigurationError, SluicewayError, TransientError

MOUNTS = Path("/proc/self/mountinfo")
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "glusterfs")
"""File systems on which SQLite's locks are not to be trusted (sqlite.org/howtocorrupt.html, 2.1)."""


def connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """A connection in autocommit mode: durable at each COMMIT, waiting `busy_seconds` for a lock."""
    connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()  # the file may be no database, or locked
        raise
    return connection


def make(path: Path) -> None:
    """An empty file of mode 0600, if there is none. Raises `ConfigurationError` if it cannot be made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise unusable(path, error.strerror or "error") from None


def require_local(path: Path) -> None:
    """Raises `ConfigurationError` if `path` lies on a network file system, as far as that can be seen."""
    kind = file_system(path.resolve())
    if kind in NETWORK:
        raise ConfigurationError(
            f"the drive table {path} lies on {kind}, a network file system, where SQLite's locks do not hold",
            hint="Set drive_table.path to a file on a local disk.",
            code="network_file_system",
            path="drive_table.path",
        )


def file_system(path: Path) -> str:
    """Type of the file system that holds `path`; empty where it is not known."""
    try:
        lines = MOUNTS.read_text().splitlines()
    except OSError:
        return ""
    found = Path(), ""
    for line in lines:
        left, _, right = line.partition(" - ")
        point = Path(left.split()[4].replace("\\040", " "))
        if path.is_relative_to(point) and len(point.parts) >= len(found[0].parts):
            found = point, right.split()[0]
    return found[1]


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """SQLite's errors as the tree of `state.errors`."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(path, error) from error


def explain(path: Path, error: sqlite3.Error) -> SluicewayError:
    """What an error of SQLite means for the one who runs Sluiceway."""
    name = getattr(error, "sqlite_errorname", "")
    match name.split("_")[1] if "_" in name else "":
        case "BUSY" | "LOCKED":
            return TransientError(
                f"the drive table {path} is locked by another process",
                hint="It is tried again by itself; look for a program that holds the file open for writing.",
                code="locked",
            )
        case "FULL" | "IOERR":
            return TransientError(
                f"the drive table {path} cannot be written: {error}",
                hint="Free space on its disk, or mend the disk; nothing was half written.",
                code="disk",
            )
        case "CORRUPT" | "NOTADB":
            return ConfigurationError(
                f"{path} is no intact drive table: {error}",
                hint="Restore it, or move it away and run `sluiceway drive init`: the receipts in the target"
                " repair a new one, and nothing is loaded twice.",
                code="corrupt",
                path="drive_table.path",
            )
    return unusable(path, str(error))


def unusable(path: Path, why: str) -> ConfigurationError:
    """The file cannot be opened, read or written."""
    return ConfigurationError(
        f"the drive table {path} cannot be used: {why}",
        hint="Check that this user may read and write the file and its folder.",
        code="unusable",
        path="drive_table.path",
    )
