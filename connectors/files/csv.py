"""CSV files: a header, UTF-8, quotes by RFC 4180, types as the configuration declares them.

pyarrow reads them block by block; nothing is inferred. A row is named by its number, the header being row 1.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.csv as pa_csv

from connectors.cursor import counts_of, held
from connectors.files.declared import Declared, refuse, refuse_text, values
from connectors.files.fitting import FALSE, TRUE, Aside
from connectors.files.formats import no_cursors
from connectors.files.listing import SourceFile
from connectors.files.settings import FilesSettings
from connectors.files.words import Misfit
from connectors.policies import Settled, settle
from state.errors import ContractError
from state.model import Window

BLOCK_BYTES = 1024 * 1024
"""Bytes that are read at once: pyarrow reads up to 32 blocks ahead."""
ROW_BYTES = 16 * 1024 * 1024
"""A row may not be longer. Where one is longer than a block, the file is read again in blocks of this size."""
FIRST_ROW = 2
"""Number of the first row after the header."""


class CsvFormat:
    """`Format` of CSV files."""

    def __init__(self, settings: FilesSettings) -> None:
        self._settings = settings
        self._declared = Declared(settings)

    def columns(self, file: SourceFile) -> pa.Schema:
        """The declared columns. Raises `ContractError` unless the header has them, and no other."""
        names = self._header(file)
        if twice := [name for name, times in Counter(names).items() if times > 1]:
            refuse_text(file, "row 1", f"column '{twice[0]}' is there twice")
        self._declared.require_known(names, file.path)
        if missing := [name for name in self._declared.words if name not in names]:
            raise ContractError(
                f"{file.path} has no column '{missing[0]}', which source_system.types declares",
                hint=f"Write the file with it, or take '{missing[0]}' out of source_system.types.",
                code="missing_column",
            )
        return self._declared.schema

    def cursors(self, file: SourceFile) -> Iterator[pa.Array]:
        cursor = self._settings.cursor
        for batch, first in self._batches(file, [cursor or self._declared.schema.names[0]]):
            if cursor is None:
                yield no_cursors(batch.num_rows)
            else:
                yield self._values(file, batch.column(0), cursor, pa.array(range(first, first + batch.num_rows)))

    def rows(
        self, file: SourceFile, schema: pa.Schema, span: Window | None, aside: Aside
    ) -> Iterator[pa.RecordBatch]:
        cursor = self._settings.cursor
        for batch, first in self._batches(file, schema.names):
            inside, numbers = batch, pa.array(range(first, first + batch.num_rows))
            if cursor is not None and span is not None:
                at = self._values(file, batch.column(cursor), cursor, numbers)
                mask = held(at.type, counts_of(at), span)
                inside, numbers = batch.filter(mask), numbers.filter(mask)
            yield aside.note(self._settled(file, inside, schema, numbers))

    def _settled(self, file: SourceFile, rows: pa.RecordBatch, schema: pa.Schema, numbers: pa.Array) -> Settled:
        """The columns in their types, and what policies make of those that do not fit."""
        fitting, columns, bad = self._declared.fitting, [], []
        for name in schema.names:
            if name in fitting.policies:
                column, misfits = fitting.column(name, rows.column(name))
                bad += misfits
            else:
                column = self._values(file, rows.column(name), name, numbers)
            columns.append(column)
        return settle(
            pa.RecordBatch.from_arrays(columns, schema=schema),
            bad,
            fitting.policies,
            lambda row: f"{file.path}, row {numbers[row]}",
            lambda row: msgspec.json.encode(rows.slice(row, 1).to_pylist()[0]).decode(),
            cursor=self._settings.cursor,
        )

    def _values(self, file: SourceFile, column: pa.Array, name: str, numbers: pa.Array) -> pa.Array:
        try:
            return values(self._declared.words[name], column)
        except Misfit as error:
            refuse(f"{file.path}, row {numbers[error.row]}", name, self._settings, str(error))

    def _header(self, file: SourceFile) -> list[str]:
        with Path(file.path).open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            try:
                names = next(csv.reader(text, delimiter=self._settings.delimiter), [])
            except csv.Error as error:
                refuse_text(file, "row 1", f"the header cannot be read: {error}")
        if any(0xD800 <= ord(letter) <= 0xDFFF for name in names for letter in name):
            refuse_text(file, "row 1", "the header is not UTF-8")
        return names

    def _batches(self, file: SourceFile, columns: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, int]]:
        """Batches and the number of their first row."""
        number = FIRST_ROW
        try:
            for batch in self._blocks(file, columns, BLOCK_BYTES):
                yield batch, number
                number += batch.num_rows
        except pa.ArrowInvalid as error:
            if "straddling" not in str(error):
                refuse_text(file, *explained(str(error), number))
            yield from self._in_large_blocks(file, columns, number)

    def _in_large_blocks(
        self, file: SourceFile, columns: Sequence[str], wanted: int
    ) -> Iterator[tuple[pa.RecordBatch, int]]:
        """The same from row `wanted` on, where a row is longer than a usual block."""
        number = FIRST_ROW
        try:
            for batch in self._blocks(file, columns, ROW_BYTES):
                done = max(0, wanted - number)
                yield batch.slice(done), number + done
                number += batch.num_rows
        except pa.ArrowInvalid as error:
            refuse_text(file, *explained(str(error), number))

    def _blocks(self, file: SourceFile, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        with Path(file.path).open("rb") as raw:
            watched = Watched(raw)
            with pa_csv.open_csv(pa.PythonFile(watched, "r"), **self._options(columns, size)) as reader:
                yield from reader
            self._require_whole(file, watched)

    def _require_whole(self, file: SourceFile, watched: Watched) -> None:
        if watched.quotes % 2:
            refuse_text(file, "last row", "a quoted value is not closed, or a quote in a value is not doubled")
        if self._settings.final_newline == "required" and watched.last not in (b"\n", b"\r"):
            refuse_text(file, "last row", "it does not end with a line break, so it may have been cut off")

    def _options(self, columns: Sequence[str], size: int) -> dict[str, Any]:
        words = self._declared.words
        as_text = {name for name in columns if words[name].convert or name in self._declared.fitting.policies}
        types = {name: pa.string() if name in as_text else words[name].type for name in columns}
        return {
            "read_options": pa_csv.ReadOptions(use_threads=False, block_size=size),
            "parse_options": pa_csv.ParseOptions(
                delimiter=self._settings.delimiter, newlines_in_values=True, ignore_empty_lines=False
            ),
            "convert_options": pa_csv.ConvertOptions(
                column_types=types,
                include_columns=list(columns),
                null_values=list(self._settings.null_values),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=list(TRUE),
                false_values=list(FALSE),
            ),
        }


class Watched(io.RawIOBase):
    """A file that is read from start to end. `quotes`: how many went by; `last`: the last byte so far."""

    def __init__(self, file: BinaryIO) -> None:
        self.quotes = 0
        self.last = b""
        self._file = file

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.quotes += data.count(b'"')
        self.last = data[-1:] or self.last
        return data


def explained(message: str, number: int) -> tuple[str, str]:
    """Where and what, from pyarrow's message; `number` of the first row of the block that it failed in."""
    if "straddling" in message:
        return f"row {number} or later", f"a row is longer than {ROW_BYTES:,} bytes"
    row = re.search(r"Row #(\d+): ", message)
    if row is None:
        return f"row {number} or later", message
    return f"row {row[1]}", message.replace(row[0], "")
