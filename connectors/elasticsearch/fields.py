"""Field types of a search mapping and the Arrow columns that hold them exactly.

Values are read from `_source`, which keeps the user's own JSON, not what the index made of it. So a type
here says which column holds every value that the index accepts for that field type, without loss:

- `float`, `half_float` and `scaled_float` become float64: their index form is narrower than `_source`.
- `date` becomes microseconds although the index holds milliseconds; `date_nanos` becomes nanoseconds.
- `binary` stays base64 text as it came; a target decodes it if it wants bytes.
- What may be an object, a list or one of several shapes becomes JSON text, and so does an unknown type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from state.errors import ConfigurationError

MICROS = pa.timestamp("us", "UTC")
NANOS = pa.timestamp("ns", "UTC")
UNSIGNED = pa.decimal128(20, 0)

DATE_FORMAT = "strict_date_optional_time||epoch_millis"
DATE_NANOS_FORMAT = "strict_date_optional_time_nanos||epoch_millis"

_STRINGS = (
    "keyword text match_only_text search_as_you_type annotated_text pattern_text wildcard constant_keyword version"
    " ip binary token_count icu_collation_keyword murmur3 string"
)
_JSON = (
    "object nested flattened flat_object passthrough join completion percolator semantic_text counted_keyword json"
    " geo_point geo_shape point shape xy_point xy_shape dense_vector sparse_vector rank_vectors knn_vector"
    " rank_features histogram exponential_histogram tdigest aggregate_metric_double"
    " integer_range long_range float_range double_range date_range ip_range"
)
_SCALARS: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "byte": pa.int8(),
    "short": pa.int16(),
    "integer": pa.int32(),
    "long": pa.int64(),
    "unsigned_long": UNSIGNED,
    "double": pa.float64(),
    "float": pa.float64(),
    "half_float": pa.float64(),
    "scaled_float": pa.float64(),
    "rank_feature": pa.float64(),
    "date": MICROS,
    "date_nanos": NANOS,
} | {name: pa.string() for name in _STRINGS.split()}

JSON_TYPES = frozenset(_JSON.split())
"""Field types that become JSON text; any type that is not known here does too."""

KNOWN_TYPES = frozenset(_SCALARS) | JSON_TYPES
"""Field types that an operator may choose for a column."""

ABSENT_TYPES = frozenset({"alias", "derived"})
"""Field types that never have a value in `_source`."""


@dataclass(frozen=True)
class FieldSpec:
    """One selected field of an index and the column it fills.

    `path`: the object names from the root of `_source` to the value; a document may also write them joined
    by dots. `es_type`: the field type of the mapping. `formats`: date formats in the order they are tried,
    empty for other types. `type`: of the column. `json`: the column holds the value's JSON text. `checked`: the
    type that values must fit although the column is text, and holds each of them as it came.
    """

    column: str
    path: tuple[str, ...]
    es_type: str
    formats: tuple[str, ...]
    type: pa.DataType
    json: bool
    checked: pa.DataType | None = None

    @property
    def is_raw(self) -> bool:
        """Whether the column is filled from the values' own texts."""
        return self.json or self.checked is not None

    def as_text(self) -> FieldSpec:
        """The same field in a column of text."""
        return self if self.type == pa.string() else replace(self, type=pa.string(), checked=self.type)

    @property
    def field(self) -> str:
        """The field's name as the index shows it."""
        return ".".join(self.path)


def arrow_type(es_type: str, mapping: Mapping[str, Any]) -> tuple[pa.DataType, bool, tuple[str, ...]]:
    """The column for a field: its Arrow type, whether it holds JSON text, and the date formats.

    `mapping` is the field's own entry in the index mapping (`format` is read from it). The names `string`
    and `json` serve for a type that an operator chose. Raises ConfigurationError for a type that has no
    value in `_source`.
    """
    if es_type in ABSENT_TYPES:
        raise ConfigurationError(
            f"a field of type '{es_type}' has no value in the documents",
            hint="select the field that it points to instead",
            code="field_without_value",
        )
    if es_type in _SCALARS:
        return _SCALARS[es_type], False, _formats(es_type, mapping)
    return pa.string(), True, ()


def _formats(es_type: str, mapping: Mapping[str, Any]) -> tuple[str, ...]:
    default = {"date": DATE_FORMAT, "date_nanos": DATE_NANOS_FORMAT}.get(es_type)
    if default is None:
        return ()
    return tuple(part.strip() for part in str(mapping.get("format") or default).split("||") if part.strip())
