"""Settings of files as a source: `source_system` with `type: files`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from state.settings import Group

Name = Annotated[str, Field(min_length=1)]


class FilesSettings(Group):
    """Parquet, CSV or NDJSON files under a path or pattern."""

    type: Literal["files"]
    """Kind of source. No default: the source is named."""
    path: Name
    """Path or glob pattern of the files. No default."""
    format: Literal["parquet", "csv", "ndjson"] = "parquet"
    """Format of all files. Default parquet: the one that declares its own columns."""
    cursor: Name
    """Column that windows are cut by. No default."""
    key: tuple[Name, ...] = ()
    """Columns that identify a row. Default none: a file has no key of its own."""
    types: Mapping[Name, Name] = {}
    """Column to type word (string, int64, timestamp, …); needed by csv and ndjson, which declare none."""
