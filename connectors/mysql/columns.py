"""Columns of MySQL and MariaDB and the Arrow columns that hold them exactly.

- Integers keep their width and sign; BIGINT UNSIGNED is decimal(20,0), which a target holds in any case.
- BIT(n) is a whole number: int64 up to 63 bits, decimal(20,0) for 64. YEAR is one as well, 0000 being 0.
- DECIMAL keeps precision and scale up to 38 digits, 37 of them behind the point: more is refused, or text.
- FLOAT is asked for as a DOUBLE, because a server writes a FLOAT with six digits only.
- DATETIME is wall time and has no zone; TIMESTAMP is an instant, in UTC.
- TIME reaches from -838:59:59 to 838:59:59, beyond what a target's time of day holds: it stays text as the server
  writes it. As `time` it is a time of day, as `int64` microseconds with a sign.
- ENUM and SET are text, an ENUM of index 0 the empty string. Texts arrive in utf8mb4, whatever they are stored in.
- JSON of MySQL is JSON text; that of MariaDB is a LONGTEXT, and JSON text as `json`.
- Geometry is WKB (ST_AsBinary: without its SRID), or WKT as `string`. INET4, INET6 and UUID are text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

import pyarrow as pa

from connectors.policies import Policy
from state.contract import json_field
from state.errors import ConfigurationError

UNSIGNED = pa.decimal128(20, 0)
NAIVE, INSTANT = pa.timestamp("us"), pa.timestamp("us", "UTC")
MOST_DIGITS, MOST_SCALE = 38, 37


class Kind(Enum):
    """How the text that a server sends for a value is read."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"
    TIME = "time"
    TEXT = "text"
    JSON = "json"
    BYTES = "bytes"


@dataclass(frozen=True)
class Declared:
    """One row of information_schema.columns. `length` in characters; `extra` tells generated and INVISIBLE."""

    name: str
    data_type: str
    column_type: str
    nullable: bool
    precision: int | None
    scale: int | None
    datetime_precision: int | None
    length: int | None
    charset: str | None
    extra: str


@dataclass(frozen=True)
class Column:
    """A column that is read. `source`: its name in the table; `name` and `type`: in the contract.

    `expression`: what the SELECT asks for. `json`: the contract's field is marked as JSON text. `as_text`: the
    column is a string that holds the values as they came, good and bad; this is the type that the good ones fit.
    """

    source: str
    name: str
    kind: Kind
    type: pa.DataType
    expression: str
    json: bool = False
    as_text: pa.DataType | None = None

    @property
    def checked(self) -> pa.DataType:
        """The type that every good value fits."""
        return self.as_text or self.type

    @property
    def field(self) -> pa.Field:
        """The column in the contract's schema."""
        return json_field(self.name) if self.json else pa.field(self.name, self.type)

    @property
    def selected(self) -> str:
        """The column in the list of a SELECT, under the name that `wire.stream` expects."""
        return f"{self.expression} AS {quoted(self.source)}"


@dataclass(frozen=True)
class _Way:
    """One way to read a column; `{}` in `ask` is its quoted name. `is_safe`: every value of the column fits."""

    kind: Kind
    type: pa.DataType
    ask: str = "{}"
    is_safe: bool = True
    json: bool = False


_TEXT = _Way(Kind.TEXT, pa.string(), is_safe=False)
"""A server does not see to it that a text is UTF-8: it stores what it was given as such."""
_ASCII = replace(_TEXT, is_safe=True)
_BYTES = _Way(Kind.BYTES, pa.binary())
_DOUBLE, _WHOLE, _WKT = "CAST({} AS DOUBLE)", "CAST({} AS UNSIGNED)", "ST_AsText({})"

_FAMILIES = {
    "whole": "tinyint smallint mediumint int integer bigint year",
    "bit": "bit",
    "decimal": "decimal numeric",
    "float": "float double real",
    "date": "date",
    "datetime": "datetime timestamp",
    "time": "time",
    "text": "char varchar tinytext text mediumtext longtext enum set inet4 inet6 uuid",
    "bytes": "binary varbinary tinyblob blob mediumblob longblob vector",
    "json": "json",
    "geometry": "geometry point linestring polygon multipoint multilinestring multipolygon"
    " geometrycollection geomcollection",
}
FAMILY: Mapping[str, str] = {word: family for family, words in _FAMILIES.items() for word in words.split()}
"""The family of a server's type; rules and overrides go by it."""

_FIXED: Mapping[str, _Way] = {
    "year": _Way(Kind.INTEGER, pa.int16()),
    "float": _Way(Kind.FLOAT, pa.float32(), _DOUBLE),
    "double": _Way(Kind.FLOAT, pa.float64()),
    "real": _Way(Kind.FLOAT, pa.float64()),
    "date": _Way(Kind.DATE, pa.date32(), is_safe=False),
    "datetime": _Way(Kind.DATETIME, NAIVE, is_safe=False),
    "timestamp": _Way(Kind.DATETIME, INSTANT, is_safe=False),
    "time": _ASCII,
    "json": _Way(Kind.TEXT, pa.string(), json=True),
}
"""Types whose column hangs on nothing else."""

_FLOATS = {"float": _DOUBLE}
"""What a number is asked as, where the server would round what it writes."""

_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 32, "int": 32, "integer": 32}
_SIGNED = {8: pa.int8(), 16: pa.int16(), 32: pa.int32()}
_UNSIGNED = {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32()}

_NUMBERS = ("whole", "bit", "decimal", "text")

OVERRIDES: Mapping[str, tuple[str, ...]] = {
    "string": (*_FAMILIES, "other"),
    "binary": ("bit", "text", "bytes", "geometry", "other"),
    "json": ("text", "bytes", "json"),
    "int64": (*_NUMBERS, "time"),
    "decimal(p,s)": _NUMBERS,
    "float64": (*_NUMBERS, "float"),
    "boolean": ("whole", "bit"),
    "time": ("time",),
}
"""The words of `types`, each with the families that it is for.

A value that the chosen type cannot hold exactly is a bad value (but `float64` rounds); a boolean is 0 or 1, and
JSON is parsed to see that it is some. `string` and `binary` hold what is sent: text in utf8mb4, a BIT's bytes.
"""


def column(declared: Declared, name: str, override: str | None = None, policy: Policy = "error") -> Column:
    """The column `name` of the contract. Under the policy `text` it is a string where a value can be bad.

    Raises `ConfigurationError` for a type that cannot be held, and for an override that cannot be.
    """
    way = _natural(declared) if override is None else _overridden(declared, override)
    ask = way.ask.format(quoted(declared.name))
    if policy == "text" and not way.is_safe:
        return Column(declared.name, name, way.kind, pa.string(), ask, as_text=way.type)
    return Column(declared.name, name, way.kind, way.type, ask, way.json)


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever is in it."""
    return "`" + name.replace("`", "``") + "`"


def _natural(declared: Declared) -> _Way:
    """The way that holds every value the server can send."""
    word = declared.data_type.lower()
    if word in _FIXED:
        return _FIXED[word]
    family = FAMILY.get(word, "other")
    if family == "whole":
        return _whole(word, "unsigned" in declared.column_type.lower())
    if family == "bit":
        wide = (declared.precision or 64) > 63
        return _Way(Kind.DECIMAL, UNSIGNED, _WHOLE) if wide else _Way(Kind.INTEGER, pa.int64(), _WHOLE)
    if family == "decimal":
        return _decimal(declared)
    if family in ("text", "bytes", "geometry"):
        return {"text": _TEXT, "bytes": _BYTES, "geometry": replace(_BYTES, ask="ST_AsBinary({})")}[family]
    raise _cannot(declared, f"the type {declared.column_type} is not known", "Name it string or binary")


def _whole(word: str, unsigned: bool) -> _Way:
    if word == "bigint":
        return _Way(Kind.DECIMAL, UNSIGNED) if unsigned else _Way(Kind.INTEGER, pa.int64())
    return _Way(Kind.INTEGER, (_UNSIGNED if unsigned else _SIGNED)[_BITS[word]])


def _decimal(declared: Declared) -> _Way:
    digits, scale = declared.precision or 10, declared.scale or 0
    if digits > MOST_DIGITS or scale > MOST_SCALE:
        what = f"{declared.column_type} has more digits than a target holds ({MOST_DIGITS}, {MOST_SCALE} of them"
        raise _cannot(declared, f"{what} behind the point)", "Name it string, or decimal(p,s) for what it holds")
    return _Way(Kind.DECIMAL, pa.decimal128(digits, scale))


def _overridden(declared: Declared, override: str) -> _Way:
    family = FAMILY.get(declared.data_type.lower(), "other")
    word = re.sub(r"\s", "", override.lower())
    if found := re.fullmatch(r"decimal\((\d{1,2}),(\d{1,2})\)", word):
        digits, scale = int(found[1]), int(found[2])
        if not (1 <= digits <= MOST_DIGITS and scale <= min(digits, MOST_SCALE)):
            raise _cannot(declared, f"there is no {override}", f"At most decimal({MOST_DIGITS},{MOST_SCALE})")
        word, exact = "decimal(p,s)", pa.decimal128(digits, scale)
    else:
        word, exact = word.replace("(p,s)", ""), UNSIGNED  # the word of the table is none of an operator's
    if family not in OVERRIDES.get(word, ()):
        able = ", ".join(name for name, families in OVERRIDES.items() if family in families)
        raise _cannot(declared, f"{declared.column_type} cannot be read as {override}", f"Use one of: {able}")
    return _way(word, family, declared, exact)


def _way(word: str, family: str, declared: Declared, exact: pa.DataType) -> _Way:
    """The way of an override that the family allows; `exact` is the type of `decimal(p,s)`."""
    ask = _WHOLE if family == "bit" else "{}"
    if word == "string":
        asks = {"geometry": _WKT, "bit": _WHOLE, "float": _FLOATS.get(declared.data_type.lower(), "{}")}
        is_free = family in ("text", "bytes", "json", "other")
        return replace(_TEXT if is_free else _ASCII, ask=asks.get(family, "{}"))
    if word == "binary":
        return replace(_BYTES, ask="ST_AsBinary({})" if family == "geometry" else "{}")
    if word == "json":
        return _FIXED["json"] if family == "json" else _Way(Kind.JSON, pa.string(), is_safe=False, json=True)
    if word == "time" or family == "time":
        return _Way(Kind.TIME, pa.time64("us") if word == "time" else pa.int64(), is_safe=word != "time")
    if word == "float64":
        ask = _FLOATS.get(declared.data_type.lower(), ask)
        return _Way(Kind.FLOAT, pa.float64(), ask, is_safe=family != "text")
    kinds = {"boolean": Kind.BOOLEAN, "int64": Kind.INTEGER, "decimal(p,s)": Kind.DECIMAL}
    types = {"boolean": pa.bool_(), "int64": pa.int64(), "decimal(p,s)": exact}
    return _Way(kinds[word], types[word], ask, is_safe=word == "int64" and _is_signed(declared, family))


def _is_signed(declared: Declared, family: str) -> bool:
    """True if every value of the column is an int64."""
    return family in ("whole", "bit") and pa.types.is_integer(_natural(declared).type)


def _cannot(declared: Declared, what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(
        f"column {declared.name}: {what}",
        hint=f"{hint} in source_system.columns.types, or leave the column out (source_system.columns.exclude).",
        code="column_type",
        path=f"source_system.columns.types.{declared.name}",
    )
