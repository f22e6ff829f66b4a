"""What a file format must do for this connector. All of it blocks, and runs in a thread."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Protocol

import pyarrow as pa

from connectors.files.fitting import Aside
from connectors.files.listing import SourceFile
from connectors.files.settings import FilesSettings
from state.errors import ContractError
from state.model import Window


class Format(Protocol):
    """Reads files of one format. Raises `ContractError` naming the file for what does not fit, and lets errors
    of pyarrow and of the operating system pass, for `listing.reading` to sort."""

    def columns(self, file: SourceFile) -> pa.Schema:
        """The columns of a file, as a contract has them."""

    def cursors(self, file: SourceFile) -> Iterator[pa.Array]:
        """The cursor column alone, every row of it, in bounded pieces: what rows are counted by. Where there is no
        cursor, `no_cursors` of them."""

    def rows(
        self, file: SourceFile, schema: pa.Schema, span: Window | None, aside: Aside
    ) -> Iterator[pa.RecordBatch]:
        """The rows of `span`, or all of them, under exactly `schema`, in pieces of bounded bytes. What policies
        make of them goes to `aside`."""


def no_cursors(rows: int) -> pa.Array:
    """What `Format.cursors` gives of so many rows where there is no cursor."""
    return pa.nulls(rows, pa.timestamp("us", "UTC"))


def is_excluded(settings: FilesSettings, column: str) -> bool:
    """True if a pattern of `exclude` names the column."""
    return any(fnmatchcase(column, pattern) for pattern in settings.exclude)


def require_same(found: pa.Schema, file: str, expected: pa.Schema, first: str) -> None:
    """Raise `ContractError` unless `found`, of `file`, has the columns and types of `expected`, of `first`.

    The order of columns may differ: they are read by name.
    """
    if missing := [name for name in expected.names if name not in found.names]:
        raise _differs(f"{file} lacks column '{missing[0]}', which {first} has", missing[0])
    for field in found:
        if field.name not in expected.names:
            raise _differs(f"{file} has column '{field.name}', which {first} lacks", field.name)
        if field.type != (there := expected.field(field.name).type):
            raise _differs(f"column '{field.name}' is {field.type} in {file} and {there} in {first}", field.name)


def _differs(message: str, column: str) -> ContractError:
    return ContractError(
        message,
        hint=f"Write the files alike, load them in pipelines of their own, or exclude '{column}'.",
        code="files_differ",
    )
