"""Pages of search hits → record batches under declared types, exactly.

A page is read in three steps. The envelope is decoded with the documents left as bytes. All documents go
through the column reader at once. If it refuses, the page is cut in pieces, and the pieces that are refused
again in smaller ones; the few documents that remain are read one by one. Both ways give the same values.

What becomes of a value that its column cannot hold, its policy says (`connectors.policies`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

import msgspec
import pyarrow as pa

from connectors.elasticsearch.decode_columns import ColumnReader, Refused
from connectors.elasticsearch.decode_envelope import Envelope, Hit, read_page
from connectors.elasticsearch.decode_values import BadValue as BadCell
from connectors.elasticsearch.decode_values import Cell, RowReader, Value, bad_text
from connectors.elasticsearch.fields import FieldSpec
from connectors.policies import BadValue, Policy, settle
from state.contract import json_field
from state.errors import ConfigurationError, ContractError

__all__ = ["Decoder", "Envelope", "Hit", "Page", "read_page"]

META: Mapping[str, pa.DataType] = {
    "_id": pa.string(),
    "_index": pa.string(),
    "_routing": pa.string(),
    "_seq_no": pa.int64(),
    "_primary_term": pa.int64(),
    "_version": pa.int64(),
}
"""Columns that come from the hit and not from the document."""

_ONE_BY_ONE = 32
_PIECES = 16


@dataclass(frozen=True)
class Page:
    """One page: its rows, where the next page starts, what the server says about it.

    `last_sort`: the JSON text of the last hit's sort values, for `search_after`; None on an empty page.
    `touched`: values changed by a policy, by column: made NULL or text, or taken out of a list of one.
    `quarantined`: documents that are no rows of the batch, under `connectors.policies.QUARANTINED`.
    """

    batch: pa.RecordBatch
    last_sort: bytes | None
    envelope: Envelope
    touched: Mapping[str, int]
    quarantined: pa.RecordBatch | None = None


class _Found(NamedTuple):
    """Of a page: values that do not fit, and rows and columns whose value had another shape."""

    bad: list[BadValue]
    reshaped: list[tuple[int, str]]


class Decoder:
    """Decodes pages; thread-safe and deterministic.

    `meta`: the hit's own columns, names of `META`, before the fields. `on_bad_value`: one policy for all
    columns, or one per column (the others: error); with `text` the column is one of text. `cursor`: the column
    that windows are cut by. Raises ConfigurationError for an unknown meta column, a policy for no column, two
    columns of one name, or a date format that is not known.
    """

    def __init__(
        self,
        fields: Sequence[FieldSpec],
        meta: Sequence[str] = ("_id",),
        on_bad_value: Policy | Mapping[str, Policy] = "error",
        cursor: str | None = None,
    ) -> None:
        names = [*meta, *(spec.column for spec in fields)]
        self._policy = _policies(names, on_bad_value)
        fields = [spec.as_text() if self._policy.get(spec.column) == "text" else spec for spec in fields]
        self._fields = tuple(fields)
        self._meta = tuple(meta)
        self._cursor = cursor
        _check(names, self._meta)
        self.schema = pa.schema([*(pa.field(name, META[name]) for name in meta), *map(_column, fields)])
        try:
            self._rows = RowReader(self._fields)
            self._columns = ColumnReader(self._fields)
        except ValueError as error:
            raise ConfigurationError(
                f"cannot read the dates: {error}",
                hint="set `types: {FIELD: string}` for that field",
                code="date_format",
            ) from error

    def decode(self, page: bytes) -> Page:
        """Decode one search response.

        Raises ContractError for a value that does not fit, for a hit without `_source`, and for documents
        that are no JSON; TransientError if the page itself is none.
        """
        return self.decode_hits(*read_page(page))

    def decode_hits(self, envelope: Envelope, hits: Sequence[Hit]) -> Page:
        """The same for a page that was read already, for a caller that asks for the next page first."""
        if not hits:
            return Page(self._batch([pa.array([], type_) for type_ in self.schema.types]), None, envelope, {})
        found = _Found([], [])
        documents = _sources(hits)
        pieces = list(self._pieces(hits, documents, found, 0))
        own = [pa.array([getattr(hit, name[1:]) for hit in hits], META[name]) for name in self._meta]
        columns = [parts[0] if len(parts) == 1 else pa.concat_arrays(parts) for parts in zip(*pieces, strict=True)]
        return self._settled(self._batch([*own, *columns]), envelope, hits, found)

    def _settled(self, batch: pa.RecordBatch, envelope: Envelope, hits: Sequence[Hit], found: _Found) -> Page:
        settled = settle(
            batch,
            found.bad,
            self._policy,
            lambda row: _where(hits[row]),
            lambda row: _whole(hits[row]),
            cursor=self._cursor,
        )
        aside = {one.row for one in found.bad if self._policy[one.column] == "quarantine"}
        touched = Counter(settled.touched) + Counter(column for row, column in found.reshaped if row not in aside)
        last = bytes(hits[-1].sort) or None
        return Page(settled.batch, last, envelope, dict(touched), settled.quarantined)

    def _batch(self, arrays: Sequence[pa.Array]) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _pieces(
        self, hits: Sequence[Hit], documents: Sequence[msgspec.Raw], found: _Found, first: int
    ) -> Iterator[list[pa.Array]]:
        """The columns of the documents, in pieces where some documents need the exact way. `first`: the place of
        the first of them in the page."""
        try:
            yield self._columns.read(documents)
        except Refused:
            if len(documents) <= _ONE_BY_ONE:
                yield self._one_by_one(hits, documents, found, first)
                return
            step = max(_ONE_BY_ONE, -(-len(documents) // _PIECES))
            for i in range(0, len(documents), step):
                yield from self._pieces(hits[i : i + step], documents[i : i + step], found, first + i)

    def _one_by_one(
        self, hits: Sequence[Hit], documents: Sequence[msgspec.Raw], found: _Found, first: int
    ) -> list[pa.Array]:
        rows = [
            self._row(hit, document, found, first + i)
            for i, (hit, document) in enumerate(zip(hits, documents, strict=True))
        ]
        return [pa.array([row[i] for row in rows], spec.type) for i, spec in enumerate(self._fields)]

    def _row(self, hit: Hit, document: msgspec.Raw, found: _Found, row: int) -> list[Value]:
        try:
            cells = self._rows.read(bytes(document).decode("utf-8", "surrogateescape"))
        except (ValueError, RecursionError) as error:
            raise ContractError(
                f"{_where(hit)} cannot be read as JSON: {error}",
                hint="exclude the document with `where`, or mend it in the source",
                code="bad_document",
            ) from error
        return [self._value(row, spec, cell, found) for spec, cell in zip(self._fields, cells, strict=True)]

    def _value(self, row: int, spec: FieldSpec, cell: Cell | BadCell, found: _Found) -> Value:
        if isinstance(cell, Cell):
            if cell.touched:
                found.reshaped.append((row, spec.column))
            return cell.value
        found.bad.append(BadValue(row, spec.column, cell.value, cell.reason))
        return bad_text(cell.value) if self._policy.get(spec.column) == "text" else None


def _sources(hits: Sequence[Hit]) -> list[msgspec.Raw]:
    """The documents, as they are: a view of each would be an object that the garbage collector looks at."""
    documents = [hit.source for hit in hits]
    if not all(map(len, documents)):
        without = next(hit for hit in hits if not len(hit.source))
        raise ContractError(
            f"{_where(without)} came without its `_source`",
            hint="the index must keep `_source`; columns are read from it",
            code="no_source",
        )
    return documents


def _where(hit: Hit) -> str:
    return f"document '{hit.id}' of index '{hit.index}'"


def _whole(hit: Hit) -> str:
    """The hit as JSON text: its document as it came, and where it is."""
    head = json.dumps({"_index": hit.index, "_id": hit.id}, ensure_ascii=False)
    return f'{head[:-1]}, "_source": {bytes(hit.source).decode("utf-8", "surrogateescape")}}}'


def _column(spec: FieldSpec) -> pa.Field:
    return json_field(spec.column) if spec.json else pa.field(spec.column, spec.type)


def _policies(columns: Sequence[str], on_bad_value: Policy | Mapping[str, Policy]) -> Mapping[str, Policy]:
    given = dict.fromkeys(columns, on_bad_value) if isinstance(on_bad_value, str) else dict(on_bad_value)
    if unknown := sorted(set(given) - set(columns)):
        raise _setting(f"on_bad_value names no column: {', '.join(unknown)}")
    if wrong := sorted(set(given.values()) - set(get_args(Policy))):
        raise _setting(f"on_bad_value is one of {', '.join(get_args(Policy))}, not {', '.join(wrong)}")
    return given


def _check(columns: Sequence[str], meta: Sequence[str]) -> None:
    if unknown := sorted(set(meta) - set(META)):
        raise _setting(f"no such property of a hit: {', '.join(unknown)}")
    if twice := sorted(name for name, times in Counter(columns).items() if times > 1):
        raise _setting(f"two columns of one name: {', '.join(twice)}")


def _setting(message: str) -> ConfigurationError:
    return ConfigurationError(message, hint="change `columns` of the source system", code="columns")
