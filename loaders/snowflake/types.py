"""Arrow's types as Snowflake's, exactly or not at all.

- Whole numbers are NUMBER(38,0), whatever their width: it costs nothing, and a source that widens its column stays
  the same here. A decimal is a NUMBER of its precision and scale, 38 digits at most. Floats are FLOAT.
- A naive timestamp is a TIMESTAMP_NTZ, one with a zone a TIMESTAMP_LTZ: an instant, shown in UTC by our sessions.
  Both with nine digits of a second.
- JSON is a VARIANT, parsed once, when rows are merged; the stage table keeps its text. A VARCHAR column that is
  there already takes the text as it came.
- Lists, structs and maps are refused: inside a VARIANT their values would lose the types that the source declares.
"""

from __future__ import annotations

import re

import pyarrow as pa

from loaders.base import Mode
from loaders.columns import Needs
from state.contract import Contract
from state.errors import ConfigurationError, ContractError

TEXT, BINARY, VARIANT, WHOLE, FLOAT = "VARCHAR", "BINARY", "VARIANT", "NUMBER(38,0)", "FLOAT"
NAIVE, ZONED, OFFSET = "TIMESTAMP_NTZ(9)", "TIMESTAMP_LTZ(9)", "TIMESTAMP_TZ(9)"
TIMES = ("DATE", NAIVE, ZONED, OFFSET)

SCALARS = {
    pa.bool_(): "BOOLEAN",
    **dict.fromkeys((pa.int8(), pa.int16(), pa.int32(), pa.int64()), WHOLE),
    **dict.fromkeys((pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()), WHOLE),
    **dict.fromkeys((pa.float16(), pa.float32(), pa.float64()), FLOAT),
    **dict.fromkeys((pa.string(), pa.large_string(), pa.string_view()), TEXT),
    **dict.fromkeys((pa.binary(), pa.large_binary(), pa.binary_view()), BINARY),
    **dict.fromkeys((pa.date32(), pa.date64()), "DATE"),
    **dict.fromkeys((pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")), "TIME(9)"),
}

DIGITS = re.compile(r"NUMBER\((\d+),(\d+)\)")
SECONDS = re.compile(r"(TIME|TIMESTAMP_NTZ|TIMESTAMP_LTZ|TIMESTAMP_TZ)\((\d)\)")


def require_types(contract: Contract, needs: Needs) -> None:
    """Raises `ContractError` for a type that Snowflake lacks, `ConfigurationError` if append has no time to go
    by."""
    kinds = {field.name: snow_type(field.name, field.type) for field in contract.schema}
    cursor = needs.cursor_column
    if needs.mode is Mode.APPEND and cursor is not None and kinds[cursor] not in TIMES:
        raise ConfigurationError(
            f"the cursor {cursor} is {kinds[cursor]}: append mode replaces a window's rows by a time",
            hint="Use mode merge, or a date or timestamp column as source_system.cursor.",
            code="cursor_type",
            path="source_system.cursor",
        )


def snow_type(name: str, kind: pa.DataType) -> str:
    """The Snowflake type that holds every value of `kind`. Raises `ContractError` naming the column if none
    does."""
    scalar = SCALARS.get(kind)
    if scalar is not None:
        return scalar
    if pa.types.is_timestamp(kind):
        return ZONED if kind.tz else NAIVE
    if pa.types.is_decimal(kind) and kind.precision <= 38 and kind.scale >= 0:
        return f"NUMBER({kind.precision},{kind.scale})"
    if pa.types.is_fixed_size_binary(kind):
        return BINARY
    if pa.types.is_dictionary(kind):
        return snow_type(name, kind.value_type)
    raise ContractError(
        f"column {name} is of type {kind}, which Snowflake cannot take exactly",
        hint="Map it to another type, or to json (source_system.columns.types), or leave it out"
        " (source_system.columns).",
        code="column_type",
    )


def told_type(kind: str, precision: int | None, scale: int | None, second_digits: int | None) -> str:
    """A column's type as INFORMATION_SCHEMA.COLUMNS tells it, spelled as we do."""
    if kind == "NUMBER":
        return f"NUMBER({38 if precision is None else precision},{scale or 0})"
    if kind in ("TEXT", "FLOAT"):
        return {"TEXT": TEXT, "FLOAT": FLOAT}[kind]
    if kind == "TIME" or kind.startswith("TIMESTAMP_"):
        return f"{kind}({9 if second_digits is None else second_digits})"
    return kind


def widens(have: str, want: str) -> bool:
    """True if a column of type `have` holds every value of `want` exactly, as it is."""
    if have == want:
        return True
    a, b = DIGITS.fullmatch(have), DIGITS.fullmatch(want)
    if a and b:
        return int(a[2]) >= int(b[2]) and int(a[1]) - int(a[2]) >= int(b[1]) - int(b[2])
    a, b = SECONDS.fullmatch(have), SECONDS.fullmatch(want)
    if a and b:  # an instant is one in either zoned type
        same = a[1] == b[1] or {a[1], b[1]} == {"TIMESTAMP_LTZ", "TIMESTAMP_TZ"}
        return same and int(a[2]) >= int(b[2])
    return False


def as_text(value: str, kind: str) -> str:
    """`value` of type `kind` as text that does not hang on a session's formats: the shown form of a time is
    whole seconds by default."""
    if kind == VARIANT:
        return f"TO_JSON({value})"
    if kind == "DATE":
        return f"TO_VARCHAR({value}, 'YYYY-MM-DD')"
    if kind.startswith("TIME("):
        return f"TO_VARCHAR({value}, 'HH24:MI:SS.FF9')"
    if kind.startswith("TIMESTAMP_NTZ"):
        return f"TO_VARCHAR({value}, 'YYYY-MM-DD HH24:MI:SS.FF9')"
    if kind.startswith("TIMESTAMP_"):
        return f"TO_VARCHAR({value}, 'YYYY-MM-DD HH24:MI:SS.FF9 TZHTZM')"
    return f"CAST({value} AS {TEXT})"


def as_json(value: str, kind: str) -> str:
    """`value` of type `kind` as a VARIANT: numbers, booleans and texts as they are, all else as text."""
    plain = kind in ("BOOLEAN", FLOAT, TEXT) or DIGITS.fullmatch(kind) is not None
    return f"TO_VARIANT({value if plain else as_text(value, kind)})"


def parsed(value: str) -> str:
    """JSON text as a VARIANT, NULL where it is none: the one place where it is parsed."""
    return f"TRY_PARSE_JSON({value})"
