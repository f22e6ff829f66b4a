"""Arrow's types as DuckDB's, exactly or not at all.

- A naive timestamp is a TIMESTAMP, one with a zone a TIMESTAMPTZ: both in microseconds.
- Nanoseconds are kept: with or without a zone they become TIMESTAMP_NS, in UTC. Not every DuckDB that is supported
  has a zoned type that exact, and a column's type must not hang on the version that made it. DuckDB before 2.0
  reads nanoseconds with a zone from Parquet only to the microsecond: such a column is refused there.
- JSON stays text as it came: DuckDB's JSON functions rewrite numbers.
- Unsigned integers, binary, lists, structs and maps have types of their own. DECIMAL ends at 38 digits.
"""

from __future__ import annotations

import duckdb
import pyarrow as pa

from loaders.base import Mode
from loaders.columns import Needs
from loaders.duckdb.names import quoted
from state.contract import Contract
from state.errors import ConfigurationError, ContractError

SCALARS = {
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float16(): "FLOAT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.large_string(): "VARCHAR",
    pa.string_view(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.large_binary(): "BLOB",
    pa.binary_view(): "BLOB",
    pa.date32(): "DATE",
    pa.date64(): "DATE",
    pa.time32("s"): "TIME",
    pa.time32("ms"): "TIME",
    pa.time64("us"): "TIME",
    pa.time64("ns"): "TIME_NS",
}

READS_ZONED_NANOSECONDS = int(duckdb.__version__.split(".")[0]) >= 2

TEXT = "VARCHAR"
JSON = "JSON"
ZONED = "TIMESTAMP WITH TIME ZONE"
TIMES = {"TIMESTAMP", ZONED, "TIMESTAMP_NS", "DATE"}

BITS = {
    "TINYINT": (True, 8),
    "SMALLINT": (True, 16),
    "INTEGER": (True, 32),
    "BIGINT": (True, 64),
    "HUGEINT": (True, 128),
    "UTINYINT": (False, 8),
    "USMALLINT": (False, 16),
    "UINTEGER": (False, 32),
    "UBIGINT": (False, 64),
    "UHUGEINT": (False, 128),
}
"""Integer types: signed, bits."""


def require_types(contract: Contract, needs: Needs) -> None:
    """Raises `ContractError` for a type that DuckDB lacks, `ConfigurationError` if append has no time to go by."""
    kinds = {field.name: duck_type(field.name, field.type) for field in contract.schema}
    cursor = needs.cursor_column
    if needs.mode is Mode.APPEND and cursor is not None and kinds[cursor] not in TIMES:
        raise ConfigurationError(
            f"the cursor {cursor} is {kinds[cursor]}: append mode replaces a window's rows by a time",
            hint="Use mode merge, or a date or timestamp column as source_system.cursor.",
            code="cursor_type",
            path="source_system.cursor",
        )


def duck_type(name: str, kind: pa.DataType) -> str:
    """The DuckDB type that holds every value of `kind`. Raises `ContractError` naming the column if none does."""
    scalar = SCALARS.get(kind)
    if scalar is not None:
        return scalar
    if pa.types.is_timestamp(kind) and (READS_ZONED_NANOSECONDS or not (kind.tz and kind.unit == "ns")):
        return "TIMESTAMP_NS" if kind.unit == "ns" else ZONED if kind.tz else "TIMESTAMP"
    if pa.types.is_decimal(kind) and kind.precision <= 38 and kind.scale >= 0:
        return f"DECIMAL({kind.precision},{kind.scale})"
    if pa.types.is_fixed_size_binary(kind):
        return "BLOB"
    if pa.types.is_dictionary(kind):
        return duck_type(name, kind.value_type)
    nested = nested_type(name, kind)
    if nested is not None:
        return nested
    raise ContractError(
        f"column {name} is of type {kind}, which DuckDB {duckdb.__version__} cannot take exactly",
        hint="Map it to another type (source_system.columns.types), or leave it out (source_system.columns).",
        code="column_type",
    )


def nested_type(name: str, kind: pa.DataType) -> str | None:
    """A list, struct or map; None if it is none of them."""
    if pa.types.is_map(kind):
        return f"MAP({duck_type(name, kind.key_type)}, {duck_type(name, kind.item_type)})"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return f"{duck_type(name, kind.value_type)}[]"
    if pa.types.is_struct(kind) and kind.num_fields:
        fields = (f"{quoted(field.name)} {duck_type(f'{name}.{field.name}', field.type)}" for field in kind)
        return f"STRUCT({', '.join(fields)})"
    return None


def widens(have: str, want: str) -> bool:
    """True if a column of type `have` holds every value of `want` exactly, as it is."""
    if have == want:
        return True
    if have in BITS and want in BITS:
        (signed, bits), (other_signed, other_bits) = BITS[have], BITS[want]
        return bits > other_bits and (signed or not other_signed)
    if have == "DOUBLE":
        return want == "FLOAT" or (want in BITS and BITS[want][1] <= 32)
    a, b = digits(have), digits(want)
    return a is not None and b is not None and a[1] >= b[1] and a[0] - a[1] >= b[0] - b[1]


def digits(kind: str) -> tuple[int, int] | None:
    """Precision and scale of a DECIMAL, None for another type."""
    if not kind.startswith("DECIMAL("):
        return None
    precision, scale = kind.removeprefix("DECIMAL(").removesuffix(")").split(",")
    return int(precision), int(scale)


def as_json(value: str, kind: str) -> str:
    """`value` of type `kind` as JSON text. Numbers keep their digits; what has no JSON form becomes a string."""
    if kind in BITS or kind == "BOOLEAN" or digits(kind):
        return f"CAST({value} AS VARCHAR)"
    if kind in ("FLOAT", "DOUBLE"):
        shown = f"CAST({value} AS VARCHAR)"
        return f"CASE WHEN isfinite({value}) THEN {shown} ELSE CAST(to_json({shown}) AS VARCHAR) END"
    return f"CAST(to_json(CAST({value} AS VARCHAR)) AS VARCHAR)"
