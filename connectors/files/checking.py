"""What `doctor` looks at: the files, their columns, and every value of the cursor."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from connectors.cursor import Extent
from connectors.files.listing import SourceFile
from connectors.files.settings import FilesSettings
from state.checks import Check
from state.errors import SluicewayError


def files_check(settings: FilesSettings, files: Sequence[SourceFile]) -> Check:
    """How many files there are."""
    size = sum(file.size for file in files)
    return Check(
        "source files", True, f"{len(files):,} {settings.format} files, {size:,} bytes, at {settings.path}"
    )


def cursor_check(settings: FilesSettings, extents: Sequence[Extent]) -> Check:
    """What the cursor columns hold; `extents` of all files."""
    rows, nulls = sum(extent.rows for extent in extents), sum(extent.nulls for extent in extents)
    if settings.cursor is None:
        return Check("source rows", True, f"{rows:,} rows, which are read whole: there is no cursor")
    found = f"{rows:,} rows, {nulls:,} of them without a value in '{settings.cursor}'"
    if span := _span(extents):
        found += f"; from {span[0]} to {span[1]}"
    if any(pa.types.is_timestamp(extent.type) and extent.type.tz is None for extent in extents):
        found += "; instants without a zone are read as UTC"
    return Check("source cursor", not nulls or settings.null_cursor == "ignore", found, null_hint(settings))


def failed(name: str, error: SluicewayError) -> Check:
    """An error as the answer of a check."""
    return Check(name, False, error.message, error.hint)


def null_hint(settings: FilesSettings) -> str:
    """What to do with rows that have no cursor."""
    return f"Fill '{settings.cursor}', or set source_system.null_cursor: ignore to leave such rows out."


def _span(extents: Sequence[Extent]) -> tuple[str, str] | None:
    """The first and the last value of all, as text."""
    edges = [edge for extent in extents for edge in extent.edges()]
    return (min(edges), max(edges)) if edges else None
