"""The columns of a query as the server declares them with its answer: a query is in no catalogue."""

from __future__ import annotations

from typing import Any

from pymysql.constants import FIELD_TYPE, FLAG

from connectors.mysql.columns import Declared
from state.errors import ConfigurationError

BINARY = 63
"""The character set of what is no text."""
NAMES = {
    FIELD_TYPE.DECIMAL: "decimal",
    FIELD_TYPE.NEWDECIMAL: "decimal",
    FIELD_TYPE.TINY: "tinyint",
    FIELD_TYPE.SHORT: "smallint",
    FIELD_TYPE.INT24: "mediumint",
    FIELD_TYPE.LONG: "int",
    FIELD_TYPE.LONGLONG: "bigint",
    FIELD_TYPE.FLOAT: "float",
    FIELD_TYPE.DOUBLE: "double",
    FIELD_TYPE.BIT: "bit",
    FIELD_TYPE.YEAR: "year",
    FIELD_TYPE.DATE: "date",
    FIELD_TYPE.NEWDATE: "date",
    FIELD_TYPE.DATETIME: "datetime",
    FIELD_TYPE.TIMESTAMP: "timestamp",
    FIELD_TYPE.TIME: "time",
    FIELD_TYPE.JSON: "json",
    FIELD_TYPE.GEOMETRY: "geometry",
}
TEXTS = (
    *(FIELD_TYPE.VARCHAR, FIELD_TYPE.VAR_STRING, FIELD_TYPE.STRING, FIELD_TYPE.ENUM, FIELD_TYPE.SET),
    *(FIELD_TYPE.TINY_BLOB, FIELD_TYPE.MEDIUM_BLOB, FIELD_TYPE.LONG_BLOB, FIELD_TYPE.BLOB, FIELD_TYPE.NULL),
)
"""Text, or bytes where the character set is none."""


def declared(field: Any) -> Declared:
    """A column of an answer. Raises `ConfigurationError` for a type that nobody knows."""
    code, is_unsigned = field.type_code, bool(field.flags & FLAG.UNSIGNED)
    if code in TEXTS:
        name = "blob" if field.charsetnr == BINARY and code != FIELD_TYPE.NULL else "text"
    elif code in NAMES:
        name = NAMES[code]
    else:
        raise ConfigurationError(
            f"the query's column '{field.name}' is of a type ({code}) that is not known",
            hint="CAST it in the query.",
            code="column_type",
            path="source_system.query",
        )
    digits, scale = _digits(name, field.length, field.scale, is_unsigned)
    return Declared(
        name=field.name,
        data_type=name,
        column_type=f"{name} unsigned" if is_unsigned else name,
        nullable=not field.flags & FLAG.NOT_NULL,
        precision=digits,
        scale=scale,
        datetime_precision=field.scale if name in ("datetime", "timestamp", "time") else None,
        length=None,
        charset=None,
        extra="",
    )


def _digits(name: str, length: int, scale: int, is_unsigned: bool) -> tuple[int | None, int | None]:
    """Precision and scale of a DECIMAL, whose length counts its point and its sign; the bits of a BIT."""
    if name == "bit":
        return length, None
    if name != "decimal":
        return None, None
    return length - (scale > 0) - (not is_unsigned), scale
