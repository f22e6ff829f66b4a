"""The fast way: many documents at once → columns, or `Refused` where a value needs the exact way.

Arrow's JSON reader with an explicit schema never changes a value that it accepts, with these exceptions, which
are closed here: it takes `null` for a document (and crashes if it comes first); it does not see `"a.b": 1`
when it looks for `{"a": {"b": 1}}`; it takes NaN; it rounds numbers beyond 2^53 to doubles; it takes dates of
the year 0; it does not check UTF-8. A form that is not looked for gets a guard: a column of type null, which
refuses any value.

Producers differ in how they write: names joined by dots, numbers or epoch dates in quotes. The first document
decides which form is looked for (a `Shape`); others are refused, never misread.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from connectors.elasticsearch.decode_dates import all_iso, number_unit
from connectors.elasticsearch.decode_values import BadValue, converter, json_text
from connectors.elasticsearch.fields import FieldSpec

Tree = dict[str, Any]
"""Name → Arrow type, or a tree of the names below."""

Form = tuple[tuple[str, ...], str]
"""The names to follow, and how the value is written: `as_is`, `quoted` or `number`."""

_EXACT_FLOAT = 2.0**53
_YEAR_1 = pa.scalar(-62_135_596_800_000_000, pa.timestamp("us", "UTC"))
_LAST = pa.scalar(253_402_300_799_999_999, pa.timestamp("us", "UTC"))
_GUARDED_DEPTH = 5
"""Longer paths have too many ways to be written; any other way but the one in use is refused as a whole."""
_CACHED_SHAPES = 64
_NULL = msgspec.Raw(b"null")


class Refused(Exception):
    """Some document of the batch needs the exact way."""


@dataclass(frozen=True)
class _Reader:
    """What one shape needs: Arrow's options for the scalar columns and a decoder for the JSON columns."""

    options: pj.ParseOptions
    raw: msgspec.json.Decoder[Any] | None
    raw_at: Mapping[int, Sequence[str]]


class ColumnReader:
    """Reads whole batches of documents into columns. Thread-safe: its cache only ever gains equal entries."""

    def __init__(self, fields: Sequence[FieldSpec]) -> None:
        self._fields = tuple(fields)
        self._scalars = [i for i, spec in enumerate(fields) if not spec.is_raw]
        self._checked = [i for i, spec in enumerate(fields) if spec.checked is not None]
        self._convert = {i: converter(fields[i]) for i in (*self._scalars, *self._checked)}
        self._hopeless = any(_clash(a, b) for a in fields for b in fields)
        self._flat = [any(_inside(spec, other) for other in fields) for spec in fields]
        self._readers: dict[tuple[Form, ...], _Reader] = {}

    def read(self, documents: Sequence[msgspec.Raw]) -> list[pa.Array]:
        """The columns in order. Raises Refused if any document needs the exact way; never a wrong value."""
        if self._hopeless or any(memoryview(document)[0] != 0x7B for document in documents):
            raise Refused  # not an object: the reader would take it for an empty one
        forms = self._forms(documents[0])
        reader = self._reader(forms)
        try:
            table = self._table(documents, reader)
            columns = {i: self._column(table, i, forms[i]) for i in self._scalars}
            columns |= _raw_columns(documents, reader)
            columns |= {i: self._converted(columns[i], i, lambda text: text) for i in self._checked}
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, msgspec.MsgspecError, RecursionError) as error:
            raise Refused from error
        return [columns[i] for i in range(len(self._fields))]

    def _reader(self, forms: tuple[Form, ...]) -> _Reader:
        reader = self._readers.get(forms)
        if reader is None:
            reader = _build(self._fields, forms)
            if len(self._readers) < _CACHED_SHAPES:
                self._readers[forms] = reader
        return reader

    def _table(self, documents: Sequence[msgspec.Raw], reader: _Reader) -> pa.Table:
        if not self._scalars:
            return pa.table({})
        text = b"\n".join(documents)
        read = pj.ReadOptions(use_threads=False, block_size=len(text) + 1)  # one block: none is cut in a document
        table = pj.read_json(pa.BufferReader(text), read_options=read, parse_options=reader.options)
        if table.num_rows != len(documents):
            raise Refused
        return table

    def _forms(self, document: msgspec.Raw) -> tuple[Form, ...]:
        """How the document writes each column; the usual form where it has no value."""
        try:
            source = msgspec.json.decode(document)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            source = {}
        return tuple(
            _form(spec, (spec.field,) if flat else spec.path, source)
            for spec, flat in zip(self._fields, self._flat, strict=True)
        )

    def _column(self, table: pa.Table, i: int, form: Form) -> pa.Array:
        names, written = form
        column = table[names[0]].combine_chunks()
        if len(names) > 1:
            column = pc.struct_field(column, list(names[1:]))
        type_ = self._fields[i].type
        if pa.types.is_string(column.type):
            column.validate(full=True)
            return self._unquoted(column, i) if written == "quoted" else column
        if written == "number":
            return _from_epoch(column, self._fields[i])
        if pa.types.is_floating(type_):
            _require(pc.less(pc.abs(column), _EXACT_FLOAT))
        elif type_ == _YEAR_1.type:
            _require(pc.and_(pc.greater_equal(column, _YEAR_1), pc.less_equal(column, _LAST)))
        return column

    def _unquoted(self, column: pa.Array, i: int) -> pa.Array:
        return self._converted(column, i, json.dumps)

    def _converted(self, column: pa.Array, i: int, as_json: Callable[[str], str]) -> pa.Array:
        """Texts through the exact converter, each distinct one once."""
        encoded = column.dictionary_encode()
        try:
            values = [self._convert[i](as_json(text)) for text in encoded.dictionary.to_pylist()]
        except BadValue as error:
            raise Refused from error
        if None in values:
            raise Refused  # an empty text is no value, and must be counted
        return pa.array(values, self._fields[i].type).take(encoded.indices)


def _require(mask: pa.Array) -> None:
    if not pc.all(mask, min_count=0).as_py():
        raise Refused


def _from_epoch(column: pa.Array, spec: FieldSpec) -> pa.Array:
    """Integers as dates. Four digits may be a year: those take the exact way."""
    _require(pc.greater(pc.abs_checked(column), 9_999))
    unit = number_unit(spec.formats) or 1
    step = 1_000 if spec.type.unit == "us" else 1
    instants = pc.multiply_checked(column, unit // step).cast(spec.type)
    if step == 1_000:
        _require(pc.and_(pc.greater_equal(instants, _YEAR_1), pc.less_equal(instants, _LAST)))
    return instants


def _inside(spec: FieldSpec, other: FieldSpec) -> bool:
    """True if `other`, of the same kind, is a parent of `spec`: possible where names hold dots."""
    depth = len(other.path)
    return spec.json == other.json and depth < len(spec.path) and spec.path[:depth] == other.path


def _clash(a: FieldSpec, b: FieldSpec) -> bool:
    """True if the two cannot be read together from one tree."""
    return (a.json and _inside(a, b)) or (a.path == b.path and a.json == b.json and a.type != b.type)


def _form(spec: FieldSpec, path: tuple[str, ...], source: object) -> Form:
    names, value = _follow(source, path) or (path, None)
    if spec.is_raw:
        return names, "as_is"
    if spec.formats:
        return names, _date_form(spec, value)
    quoted = isinstance(value, str) and not pa.types.is_string(spec.type)
    return names, "quoted" if quoted else "as_is"


def _date_form(spec: FieldSpec, value: object) -> str:
    if isinstance(value, int) and number_unit(spec.formats):
        return "number"
    digits = isinstance(value, str) and value.lstrip("-").replace(".", "", 1).isdigit()
    return "quoted" if digits or not all_iso(spec.formats) else "as_is"


def _follow(source: object, path: tuple[str, ...]) -> tuple[tuple[str, ...], object] | None:
    """The names that lead to a value other than null, joined by dots where the document joins them."""
    if not path:
        return ((), source) if source is not None else None
    if not isinstance(source, Mapping):
        return None
    for cut in range(1, len(path) + 1):
        name = ".".join(path[:cut])
        if name in source and (rest := _follow(source[name], path[cut:])):
            return (name, *rest[0]), rest[1]
    return None


def _build(fields: Sequence[FieldSpec], forms: Sequence[Form]) -> _Reader:
    scalars: Tree = {}
    raws: Tree = {}
    for spec, (names, written) in zip(fields, forms, strict=True):
        _plant(raws if spec.is_raw else scalars, names, _read_type(spec, written))
    for spec in sorted(fields, key=lambda spec: len(spec.path)):
        _guard(raws if spec.is_raw else scalars, spec.path)
    options = pj.ParseOptions(explicit_schema=pa.schema(_arrow(scalars)), unexpected_field_behavior="ignore")
    raw = msgspec.json.Decoder(_struct(raws)) if raws else None
    raw_at = {i: _attributes(raws, forms[i][0]) for i, spec in enumerate(fields) if spec.is_raw}
    return _Reader(options, raw, raw_at)


def _read_type(spec: FieldSpec, written: str) -> pa.DataType:
    return {"as_is": spec.type, "quoted": pa.string(), "number": pa.int64()}[written]


def _plant(tree: Tree, names: tuple[str, ...], type_: pa.DataType) -> None:
    for name in names[:-1]:
        tree = tree.setdefault(name, {})
    tree[names[-1]] = type_


def _guard(tree: Tree, path: tuple[str, ...]) -> None:
    """Add a null column for every other way to write `path`, so that a value there is refused."""
    for cut in range(1, len(path) + 1):
        name, rest = ".".join(path[:cut]), path[cut:]
        if not rest or len(path) > _GUARDED_DEPTH:
            tree.setdefault(name, pa.null())
        elif isinstance(below := tree.setdefault(name, {}), dict):
            _guard(below, rest)


def _arrow(tree: Tree) -> list[pa.Field]:
    """The schema's fields; a name with names below it is a struct."""
    types = {name: pa.struct(_arrow(below)) if isinstance(below, dict) else below for name, below in tree.items()}
    return [pa.field(name, type_) for name, type_ in types.items()]


def _struct(tree: Tree) -> Any:
    """A msgspec type that keeps the texts of the JSON columns and skips everything else unread."""
    members: list[tuple[str, Any, Any]] = []
    for i, (name, below) in enumerate(tree.items()):
        kind: Any = msgspec.Raw
        if isinstance(below, dict):
            kind = _struct(below) | None
        elif pa.types.is_null(below):
            kind = None
        members.append((f"f{i}", kind, msgspec.field(name=name, default=_NULL if kind is msgspec.Raw else None)))
    return msgspec.defstruct("Raws", members, gc=False)


def _attributes(tree: Tree, names: tuple[str, ...]) -> list[str]:
    """The attributes of the type above that lead to the value under `names`."""
    out = []
    for name in names:
        out.append(f"f{list(tree).index(name)}")
        tree = tree[name]
    return out


def _raw_columns(documents: Sequence[msgspec.Raw], reader: _Reader) -> dict[int, pa.Array]:
    """The JSON columns by position: the values' own texts."""
    if reader.raw is None:
        return {}
    rows = [reader.raw.decode(document) for document in documents]
    return {i: _texts([_text_at(row, attributes) for row in rows]) for i, attributes in reader.raw_at.items()}


def _text_at(row: Any, attributes: Sequence[str]) -> bytes | None:
    for name in attributes:
        row = getattr(row, name)
        if row is None:
            return None
    text = bytes(row)
    return None if text == b"null" else text


def _texts(values: Sequence[bytes | None]) -> pa.Array:
    """A column of JSON texts. Raises Refused for half of a surrogate pair, ArrowInvalid if not UTF-8."""
    try:
        for value in values:
            if value is not None and b"\\u" in value:
                json_text(value.decode())
    except (BadValue, UnicodeDecodeError) as error:
        raise Refused from error
    return pa.array(values, pa.binary()).cast(pa.string())
