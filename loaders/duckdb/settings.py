"""Settings of the DuckDB target and of its stage: `target_system` and `stage_system` in the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StrictBool

from loaders.base import ConflictPolicy, Mode
from loaders.swap import SwapGuard
from state.settings import Group

Name = Annotated[str, Field(min_length=1)]


class DuckDBTarget(Group):
    """A table in a DuckDB file on this machine."""

    type: Literal["duckdb"]
    """Kind of target. No default: the target is named."""
    database: Path
    """Path of the DuckDB file, made if absent. No default."""
    table: Name
    """Target table, `table` or `schema.table`, made if absent. No default."""
    mode: Mode = Mode.MERGE
    """`merge`: one row per key, the newest wins; `append`: the window's rows replace those an earlier run of it
    wrote; `snapshot`: each run replaces the whole table by the source as it is then. Default merge: it stays right
    when rows change or are read twice."""
    key: tuple[Name, ...] = ()
    """Columns that identify a row. Needed by merge, looked after in snapshot where it is given; empty by
    default, because guessing a key loses rows."""
    version: Name = "read_at"
    """What says which of two versions is newer: a column, or `read_at` for the later look. Default read_at: right
    without any promise by the source."""
    cursor_immutable: StrictBool = False
    """Declares that a key's cursor never changes, so that the target may be pruned by it. Default false: a wrong
    promise gives duplicates."""
    on_type_conflict: ConflictPolicy = ConflictPolicy.FAIL
    """What to do when a column's type changed: `fail`, or keep the values as `text` or `json`. Default fail: no
    silent change of a table that others read."""
    snapshot: SwapGuard = SwapGuard()
    """What mode snapshot does not do unasked: empty the table, or make it much smaller."""
    memory_limit: Annotated[str, Field(pattern=r"^[1-9]\d*(\.\d+)?\s?(KB|MB|GB|KiB|MiB|GiB)$")] = "1GB"
    """Memory that DuckDB may use, with its unit. Default 1GB: DuckDB's own default, 80 % of the machine, leaves
    nothing for reading."""
    threads: Annotated[int, Field(strict=True, ge=1, le=256)] = 2
    """Threads of DuckDB. Default 2: reading and compressing need the others."""
    temp_directory: Path | None = None
    """Where DuckDB spills to. Default: a folder beside the database, because /tmp is often small."""


class DuckDBStage(Group):
    """A directory that holds staged files, and the name that stage tables begin with."""

    type: Literal["duckdb"] = "duckdb"
    """Kind of stage. Default: the target's; there is no other choice."""
    directory: Path
    """Directory of staged files, made if absent. No default."""
    table: Name | None = None
    """Name that stage tables begin with. Default: the target table's name with `_stage`."""
