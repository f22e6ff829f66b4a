"""What DuckDB's errors mean, as a table: each row is a test."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from state.errors import (
    ConfigurationError,
    ContractError,
    PermanentError,
    SluicewayError,
    TransientError,
    Unreachable,
)


@dataclass(frozen=True)
class Meaning:
    """The first row whose `kind` and `words` both match an error tells what it is.

    `words`: a regular expression that its text must hold, case ignored. `what` is put before DuckDB's own words,
    `{0}` is the first group of `words`.
    """

    kind: type[duckdb.Error]
    words: str
    becomes: type[SluicewayError]
    code: str
    what: str
    hint: str


FREE_DISK = "Free space there, or set target_system.temp_directory to a larger disk; nothing was half written."
RIGHTS = "Check that this user may read and write the file and its folder (target_system.database)."

MEANINGS: Sequence[Meaning] = (
    Meaning(
        duckdb.Error,
        r"conflicting lock is held in (.*?\(PID \d+\)|.*?)(?:\.|$)",
        Unreachable,
        "locked",
        "is open in another process, {0}, and an open DuckDB file locks out all others",
        "It is tried again by itself; close that program if it stays.",
    ),
    Meaning(
        duckdb.Error,
        r"could not set lock on file",
        Unreachable,
        "locked",
        "is open in another process, and an open DuckDB file locks out all others",
        "It is tried again by itself; look for a program that holds the file open.",
    ),
    Meaning(
        duckdb.Error,
        r"different configuration than existing connections|unique file handle conflict|already attached",
        Unreachable,
        "locked",
        "is open elsewhere in this process",
        "It is tried again by itself; a function of yours that opens the file should close it again soon.",
    ),
    Meaning(
        duckdb.Error,
        r"no space left on device|disk full|disk quota exceeded|file too large",
        TransientError,
        "disk_full",
        "has no room left on its disk",
        FREE_DISK,
    ),
    Meaning(
        duckdb.Error,
        r"max_temp_directory_size|failed to offload data block",
        TransientError,
        "disk_full",
        "has no room left to spill to",
        FREE_DISK,
    ),
    Meaning(
        duckdb.OutOfMemoryException,
        r"",
        TransientError,
        "out_of_memory",
        "needs more memory than target_system.memory_limit",
        "Raise target_system.memory_limit, lower target_system.threads, or make the windows shorter.",
    ),
    Meaning(
        duckdb.Error,
        r"conflict on|write-write conflict|transaction conflict|conflict: |has been altered|has been deleted",
        TransientError,
        "conflict",
        "was changed by another transaction at the same time",
        "It is tried again by itself.",
    ),
    Meaning(
        duckdb.Error,
        r"not a valid duckdb database|corrupt|checksum|serialization version|failed to deserialize|"
        r"newer version of duckdb|older version of duckdb",
        ConfigurationError,
        "corrupt",
        "is no intact DuckDB file of a version that this one reads",
        "Restore it from a backup, or move it away: a new one is made and every window is loaded again.",
    ),
    Meaning(
        duckdb.Error,
        r"permission denied|read-only|is a directory|no such file or directory|not a directory",
        ConfigurationError,
        "unusable",
        "cannot be opened for writing",
        RIGHTS,
    ),
    Meaning(
        duckdb.ConstraintException,
        r"",
        ContractError,
        "constraint",
        "has a constraint that a row breaks",
        "Mend the rows in the source, or take the constraint off the table.",
    ),
    Meaning(
        duckdb.Error,
        r"^(conversion|out of range|mismatch type|invalid type) error",
        ContractError,
        "conversion",
        "cannot take a value in the type of its column",
        "Map the column to a type that holds all its values (source_system.columns.types).",
    ),
    Meaning(
        duckdb.IOException,
        r"",
        TransientError,
        "disk",
        "could not be read or written",
        "It is tried again by itself; look at the disk if it stays.",
    ),
    Meaning(
        duckdb.InterruptException,
        r"",
        TransientError,
        "interrupted",
        "stopped a statement",
        "It is tried again by itself.",
    ),
    Meaning(
        duckdb.Error,
        r"database has been invalidated",
        TransientError,
        "invalidated",
        "was closed by DuckDB after an error of its own",
        "It is opened anew and tried again by itself.",
    ),
    Meaning(
        duckdb.Error,
        r"",
        PermanentError,
        "duckdb",
        "gave an error",
        "If somebody changed the table by hand, undo that; else this is a defect of Sluiceway, please report it.",
    ),
)


@contextmanager
def explained(database: Path) -> Iterator[None]:
    """DuckDB's errors as the tree of `state.errors`."""
    try:
        yield
    except duckdb.Error as error:
        raise explain(database, error) from error


def explain(database: Path, error: duckdb.Error) -> SluicewayError:
    """What an error of DuckDB means for the one who runs Sluiceway."""
    words = first_line(error)
    for meaning in MEANINGS:
        found = re.search(meaning.words, words, re.IGNORECASE)
        if found and isinstance(error, meaning.kind):
            what = meaning.what.format(*found.groups())
            return meaning.becomes(
                f"the database {database} {what}: {words}", hint=meaning.hint, code=meaning.code
            )
    raise AssertionError("unreachable: the last row matches every error")


def first_line(error: duckdb.Error) -> str:
    """DuckDB's own words without the statement that it repeats below them."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
