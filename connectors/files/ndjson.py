"""NDJSON files: one JSON object a line, UTF-8, types as the configuration declares them.

Each line is checked on its own, so that two values on one line, or one on two, are errors and never rows. Scalar
columns are then made by pyarrow's JSON reader under the declared types, JSON columns keep the text of their value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.json as pa_json

from connectors.cursor import Extent, counts_of, held
from connectors.files.declared import Declared, refuse, refuse_text, values
from connectors.files.fitting import Aside
from connectors.files.formats import no_cursors
from connectors.files.lines import Block, Lines, read_blocks, read_lines
from connectors.files.listing import SourceFile
from connectors.files.settings import FilesSettings
from connectors.files.words import Misfit, Word, first_failing, shown
from connectors.policies import BadValue, Settled, settle
from state.model import Window

T = TypeVar("T")
Row = dict[str, msgspec.Raw]


class NdjsonFormat:
    """`Format` of NDJSON files."""

    def __init__(self, settings: FilesSettings) -> None:
        self._settings = settings
        self._declared = Declared(settings)
        self._row = msgspec.json.Decoder(Row)
        self._blocks: dict[SourceFile, list[Block]] = {}
        self._cursor_only = msgspec.json.Decoder(cursor_only(settings.cursor))

    def columns(self, file: SourceFile) -> pa.Schema:  # noqa: ARG002 - a file of lines declares nothing
        """The declared columns; a line may lack some, which are NULL."""
        return self._declared.schema

    def cursors(self, file: SourceFile) -> Iterator[pa.Array]:
        known: list[Block] = []
        for lines in read_lines(file, self._settings):
            at = self._instants(file, lines)
            known.append(
                Block(lines.start, lines.size, lines.numbers[0], Extent(at.type).with_counts(counts_of(at)))
            )
            yield at
        self._blocks[file] = known

    def rows(
        self, file: SourceFile, schema: pa.Schema, span: Window | None, aside: Aside
    ) -> Iterator[pa.RecordBatch]:
        """Blocks that `cursors` saw to hold nothing of the span are passed over."""
        known = self._blocks.get(file)
        near = None if known is None or span is None else [block for block in known if block.extent.meets(span)]
        for lines in read_lines(file, self._settings) if near is None else read_blocks(file, near):
            inside = lines if span is None else self._of_span(file, lines, span)
            if not inside.texts:
                continue
            rows = self._decoded(file, self._row, inside)
            self._require_known(file, inside, rows)
            columns = self._scalars(file, inside)
            columns |= {name: json_column(rows, name) for name, word in self._declared.words.items() if word.json}
            yield aside.note(self._settled(file, inside, schema, rows, columns))

    def _settled(
        self, file: SourceFile, lines: Lines, schema: pa.Schema, rows: Sequence[Row], columns: dict[str, pa.Array]
    ) -> Settled:
        """All columns, and what policies make of values that do not fit. `columns`: those without a policy."""
        fitting, bad = self._declared.fitting, []
        for name in fitting.policies.keys() - columns.keys():
            column, misfits = self._judged(name, json_column(rows, name))
            columns[name] = column
            bad += misfits
        return settle(
            pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema),
            bad,
            fitting.policies,
            lambda row: f"{file.path}, line {lines.numbers[row]}",
            lambda row: lines.texts[row].decode(),
            cursor=self._settings.cursor,
        )

    def _of_span(self, file: SourceFile, lines: Lines, span: Window) -> Lines:
        at = self._instants(file, lines)
        return lines.only(held(at.type, counts_of(at), span))

    def _instants(self, file: SourceFile, lines: Lines) -> pa.Array:
        """The cursor of each line, NULL where it has none."""
        cursor = self._settings.cursor
        if cursor is None:
            return no_cursors(len(lines.texts))
        texts = [row.at for row in self._decoded(file, self._cursor_only, lines)]
        return self._values(file, lines, cursor, pa.array(texts, pa.string()))

    def _decoded(self, file: SourceFile, decoder: msgspec.json.Decoder[T], lines: Lines) -> list[T]:
        try:
            return list(map(decoder.decode, lines.texts))
        except (msgspec.MsgspecError, RecursionError):
            self._refuse_line(file, decoder, lines)

    def _refuse_line(self, file: SourceFile, decoder: msgspec.json.Decoder[T], lines: Lines) -> NoReturn:
        """Raise the error of the first line that cannot be decoded."""
        for number, line in zip(lines.numbers, lines.texts, strict=True):
            try:
                decoder.decode(line)
            except (msgspec.MsgspecError, RecursionError) as error:
                reason = f"{error}: {shown(line.decode())}" if line.strip() else "the line is empty"
                refuse_text(file, f"line {number}", reason)
        raise AssertionError("unreachable: one of them was refused before")

    def _require_known(self, file: SourceFile, lines: Lines, rows: Sequence[Row]) -> None:
        known = self._declared.words.keys()
        for number, row in zip(lines.numbers, rows, strict=True):
            if not row.keys() <= known:
                self._declared.require_known(row, f"{file.path}, line {number},")

    def _judged(self, name: str, texts: pa.Array) -> tuple[pa.Array, list[BadValue]]:
        """A column with a policy from the JSON texts of its values, and those that do not fit."""
        fitting = self._declared.fitting
        said, others = plain(texts, self._declared.words[name])
        column, bad = fitting.column(name, said)
        if others and fitting.policies[name] == "text":
            column = pa.array([others.get(row, text) for row, text in enumerate(column.to_pylist())], pa.string())
        return column, [*bad, *(BadValue(row, name, text, "no string") for row, text in others.items())]

    def _scalars(self, file: SourceFile, lines: Lines) -> dict[str, pa.Array]:
        """All columns but the JSON ones."""
        policies = self._declared.fitting.policies
        types = {
            name: read_type(word)
            for name, word in self._declared.words.items()
            if not word.json and name not in policies
        }
        try:
            table = read_json(lines.texts, types)
        except pa.ArrowInvalid:
            if policies:
                lines = replace(lines, texts=[self._readable(text, types) for text in lines.texts])
            try:
                table = read_json(lines.texts, types)
            except pa.ArrowInvalid:
                self._refuse_first(file, lines, types)
        return {name: self._values(file, lines, name, table[name].combine_chunks()) for name in types}

    def _readable(self, text: bytes, types: Mapping[str, pa.DataType]) -> bytes:
        """A line as it is, or without the columns that have a policy if pyarrow chokes on one of them (a number
        beyond doubles); a name that is there twice is left to be refused."""
        try:
            read_json([text], types)
        except pa.ArrowInvalid:
            names = [name for name, _ in json.loads(text, object_pairs_hook=list)]
            if len(names) == len(set(names)):
                kept = {name: value for name, value in self._row.decode(text).items() if name in types}
                return msgspec.json.encode(kept)
        return text

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


def plain(texts: pa.Array, word: Word) -> tuple[pa.Array, dict[int, str]]:
    """What JSON texts say, and by row those that are no string where the word is written as one. Numbers and
    booleans stay as they are, so that a quoted one does not fit; a decimal may be quoted."""
    is_string = read_type(word) == pa.string()
    if not is_string and not pa.types.is_decimal(word.type):
        return texts, {}
    said: list[str | None] = []
    others: dict[int, str] = {}
    for row, text in enumerate(texts.to_pylist()):
        if text is None or text[0] == '"':
            said.append(text and msgspec.json.decode(text))
        elif is_string:
            said.append(None)
            others[row] = text
        else:
            said.append(text)
    return pa.array(said, pa.string()), others


def json_column(rows: Sequence[Row], name: str) -> pa.Array:
    """The texts of a column's values exactly as they came; a null is NULL."""
    texts = [bytes(row.get(name, NULL)) for row in rows]
    return pa.array([None if text == b"null" else text for text in texts], pa.binary()).cast(pa.string())


NULL = msgspec.Raw(b"null")


def cursor_only(column: str | None) -> Any:
    """The type of an object of which only the cursor is kept, as `at`; the rest of it is checked and dropped."""
    return msgspec.defstruct("CursorOnly", [("at", str | None, msgspec.field(name=column, default=None))])
