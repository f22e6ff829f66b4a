"""NDJSON files: one JSON object a line, UTF-8, types as the configuration declares them.

Each line is checked on its own, so that two values on one line, or one on two, are errors and never rows. Scalar
columns are then made by pyarrow's JSON reader under the declared types, JSON columns keep the text of their value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.json as pa_json

from connectors.cursor import counts_of, held
from connectors.files.declared import Declared, refuse, refuse_text, values
from connectors.files.listing import SourceFile
from connectors.files.settings import FilesSettings
from connectors.files.words import Misfit, Word, first_failing, shown
from state.model import Window

BLOCK_BYTES = 8 * 1024 * 1024
"""Bytes that are read at once."""
LINE_BYTES = 64 * 1024 * 1024
"""A line may not be longer."""

T = TypeVar("T")
Row = dict[str, msgspec.Raw]


@dataclass(frozen=True)
class Lines:
    """Whole lines without their ends, and their numbers in the file, from 1."""

    numbers: Sequence[int]
    texts: Sequence[bytes]

    def numbered(self) -> Iterator[tuple[int, bytes]]:
        return zip(self.numbers, self.texts, strict=True)

    def only(self, mask: pa.Array) -> Lines:
        """Those where `mask` is true."""
        kept = [line for line, keep in zip(self.numbered(), mask.to_pylist(), strict=True) if keep]
        return Lines([number for number, _ in kept], [text for _, text in kept])


class NdjsonFormat:
    """`Format` of NDJSON files."""

    def __init__(self, settings: FilesSettings) -> None:
        self._settings = settings
        self._declared = Declared(settings)
        self._row = msgspec.json.Decoder(Row)
        self._cursor_only = msgspec.json.Decoder(cursor_only(settings.cursor))

    def columns(self, file: SourceFile) -> pa.Schema:  # noqa: ARG002 - a file of lines declares nothing
        """The declared columns; a line may lack some, which are NULL."""
        return self._declared.schema

    def cursors(self, file: SourceFile) -> Iterator[pa.Array]:
        for lines in blocks(file, self._settings):
            yield self._instants(file, lines)

    def rows(self, file: SourceFile, schema: pa.Schema, span: Window) -> Iterator[pa.RecordBatch]:
        for lines in blocks(file, self._settings):
            at = self._instants(file, lines)
            inside = lines.only(held(at.type, counts_of(at), span))
            if not inside.texts:
                continue
            rows = [self._decoded(file, self._row, *line) for line in inside.numbered()]
            self._require_known(file, inside, rows)
            columns = self._scalars(file, inside)
            columns |= {name: json_column(rows, name) for name, word in self._declared.words.items() if word.json}
            yield pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)

    def _instants(self, file: SourceFile, lines: Lines) -> pa.Array:
        """The cursor of each line, NULL where it has none."""
        cursor = self._settings.cursor
        texts = [self._decoded(file, self._cursor_only, *line).at for line in lines.numbered()]
        return self._values(file, lines, cursor, pa.array(texts, pa.string()))

    def _decoded(self, file: SourceFile, decoder: msgspec.json.Decoder[T], number: int, line: bytes) -> T:
        try:
            return decoder.decode(line)
        except (msgspec.MsgspecError, RecursionError) as error:
            reason = f"{error}: {shown(line.decode())}" if line.strip() else "the line is empty"
            refuse_text(file, f"line {number}", reason)

    def _require_known(self, file: SourceFile, lines: Lines, rows: Sequence[Row]) -> None:
        known = self._declared.words.keys()
        for number, row in zip(lines.numbers, rows, strict=True):
            if not row.keys() <= known:
                self._declared.require_known(row, f"{file.path}, line {number},")

    def _scalars(self, file: SourceFile, lines: Lines) -> dict[str, pa.Array]:
        """All columns but the JSON ones."""
        types = {name: read_type(word) for name, word in self._declared.words.items() if not word.json}
        try:
            table = read_json(lines.texts, types)
        except pa.ArrowInvalid:
            self._refuse_first(file, lines, types)
        return {name: self._values(file, lines, name, table[name].combine_chunks()) for name in types}

    def _refuse_first(self, file: SourceFile, lines: Lines, types: Mapping[str, pa.DataType]) -> NoReturn:
        """Raise the error of the first line that pyarrow's reader refuses."""
        row = first_failing(len(lines.texts), lambda low, high: read_json(lines.texts[low:high], types))
        place, line = f"{file.path}, line {lines.numbers[row]}", lines.texts[row]
        found = self._row.decode(line)
        for name in [name for name in types if name in found]:
            try:
                read_json([msgspec.json.encode({name: found[name]})], {name: types[name]})
            except pa.ArrowInvalid:
                refuse(place, name, self._settings, f"{shown(bytes(found[name]).decode())} does not fit")
        refuse_text(file, f"line {lines.numbers[row]}", f"a name is there twice: {shown(line.decode())}")

    def _values(self, file: SourceFile, lines: Lines, name: str, column: pa.Array) -> pa.Array:
        try:
            return values(self._declared.words[name], column)
        except Misfit as error:
            refuse(f"{file.path}, line {lines.numbers[error.row]}", name, self._settings, str(error))


def blocks(file: SourceFile, settings: FilesSettings) -> Iterator[Lines]:
    """The lines of a file, 8 MiB at a time. Raises `ContractError` if one is no UTF-8, or the last has no end."""
    number, rest = 1, b""
    with Path(file.path).open("rb") as source:
        while data := source.read(BLOCK_BYTES):
            whole, end, rest = (rest + data).rpartition(b"\n")
            if end:
                lines = whole.split(b"\n")
                require_utf8(file, whole, number)
                yield Lines(range(number, number + len(lines)), lines)
                number += len(lines)
            elif len(rest) > LINE_BYTES:
                refuse_text(file, f"line {number}", f"it is longer than {LINE_BYTES:,} bytes")
    if rest:
        if settings.final_newline == "required":
            refuse_text(file, f"line {number}", "it does not end with a line break, so it may have been cut off")
        require_utf8(file, rest, number)
        yield Lines([number], [rest])


def require_utf8(file: SourceFile, text: bytes, number: int) -> None:
    """Raise `ContractError` if `text`, whose first line has this number, is not UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        line = number + text.count(b"\n", 0, error.start)
        refuse_text(file, f"line {line}", f"it is not UTF-8: {error.reason}")


def read_json(texts: Sequence[bytes], types: Mapping[str, pa.DataType]) -> pa.Table:
    """Lines into columns of exactly these types. Raises ArrowInvalid."""
    text = b"\n".join(texts)
    read = pa_json.ReadOptions(use_threads=False, block_size=len(text) + 1)  # one block: none is cut in a line
    parse = pa_json.ParseOptions(
        explicit_schema=pa.schema(list(types.items())), unexpected_field_behavior="ignore"
    )
    return pa_json.read_json(pa.BufferReader(text), read_options=read, parse_options=parse)


def read_type(word: Word) -> pa.DataType:
    """What pyarrow's reader is asked for: text where the word has a conversion of its own."""
    return word.type if word.convert is None else pa.string()


def json_column(rows: Sequence[Row], name: str) -> pa.Array:
    """The texts of a column's values exactly as they came; a null is NULL."""
    texts = [bytes(row.get(name, NULL)) for row in rows]
    return pa.array([None if text == b"null" else text for text in texts], pa.binary()).cast(pa.string())


NULL = msgspec.Raw(b"null")


def cursor_only(column: str) -> Any:
    """The type of an object of which only the cursor is kept, as `at`; the rest of it is checked and dropped."""
    return msgspec.defstruct("CursorOnly", [("at", str | None, msgspec.field(name=column, default=None))])
