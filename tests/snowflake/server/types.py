"""Types: as declared to Snowflake, as DuckDB keeps them, as an answer tells them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlglot import exp

from tests.snowflake.server.model import Column, SnowflakeError

T = exp.DataType.Type
INTEGERS = {T.INT, T.BIGINT, T.SMALLINT, T.TINYINT, T.INT128}
TEXTS = {T.VARCHAR, T.TEXT, T.CHAR, T.NCHAR, T.NVARCHAR}
TIMES = {
    T.TIMESTAMPNTZ: "TIMESTAMP_NTZ",
    T.TIMESTAMP: "TIMESTAMP_NTZ",
    T.DATETIME: "TIMESTAMP_NTZ",
    T.TIMESTAMPLTZ: "TIMESTAMP_LTZ",
    T.TIMESTAMPTZ: "TIMESTAMP_TZ",
    T.TIME: "TIME",
}
SEMI = {
    T.VARIANT: "VARIANT",
    T.OBJECT: "OBJECT",
    T.ARRAY: "ARRAY",
    T.STRUCT: "OBJECT",
    T.MAP: "OBJECT",
    T.JSON: "VARIANT",
}
TEXT_LENGTH, BINARY_LENGTH = 16_777_216, 8_388_608

ANSWERED = {
    "BOOLEAN": Column("", "boolean"),
    "DATE": Column("", "date"),
    "FLOAT": Column("", "real"),
    "VARIANT": Column("", "variant"),
    "OBJECT": Column("", "object"),
    "ARRAY": Column("", "array"),
}
FROM_DUCK = {
    "BIGINT": "NUMBER(38,0)",
    "BLOB": f"BINARY({BINARY_LENGTH})",
    "BOOLEAN": "BOOLEAN",
    "DATE": "DATE",
    "DOUBLE": "FLOAT",
    "FLOAT": "FLOAT",
    "HUGEINT": "NUMBER(38,0)",
    "INTEGER": "NUMBER(38,0)",
    "JSON": "VARIANT",
    "SMALLINT": "NUMBER(38,0)",
    "TIME": "TIME(9)",
    "TIMESTAMP": "TIMESTAMP_NTZ(9)",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP_LTZ(9)",
    "TIMESTAMPTZ": "TIMESTAMP_LTZ(9)",
    "TIMESTAMP_NS": "TIMESTAMP_NTZ(9)",
    "TIMESTAMP_S": "TIMESTAMP_NTZ(9)",
    "TIMESTAMP_MS": "TIMESTAMP_NTZ(9)",
    "TINYINT": "NUMBER(38,0)",
    "UBIGINT": "NUMBER(38,0)",
    "UHUGEINT": "NUMBER(38,0)",
    "UINTEGER": "NUMBER(38,0)",
    "USMALLINT": "NUMBER(38,0)",
    "UTINYINT": "NUMBER(38,0)",
    "UUID": f"VARCHAR({TEXT_LENGTH})",
    "VARCHAR": f"VARCHAR({TEXT_LENGTH})",
    '"NULL"': f"VARCHAR({TEXT_LENGTH})",
    "NULL": f"VARCHAR({TEXT_LENGTH})",
}


@dataclass(frozen=True)
class Type:
    """`declared`: as DESCRIBE TABLE spells it, `NUMBER(38,0)`; `duck`: what DuckDB keeps it in."""

    declared: str
    duck: str


def declared(kind: exp.DataType) -> Type:
    """The type of a column definition or a cast. Raises 002040 for what Snowflake has not."""
    sizes = [
        int(one.name) for one in kind.expressions if isinstance(one, exp.DataTypeParam) and one.name.isdigit()
    ]
    if kind.this in INTEGERS:
        return Type("NUMBER(38,0)", "HUGEINT")
    if kind.this == T.DECIMAL:
        precision, scale = (*sizes, *(38, 0)[len(sizes) :])
        return Type(
            f"NUMBER({precision},{scale})",
            "HUGEINT" if (precision, scale) == (38, 0) else f"DECIMAL({precision},{scale})",
        )
    if kind.this in (T.FLOAT, T.DOUBLE):
        return Type("FLOAT", "DOUBLE")
    if kind.this in TEXTS:
        default = 1 if kind.this in (T.CHAR, T.NCHAR) else TEXT_LENGTH
        return Type(f"VARCHAR({sizes[0] if sizes else default})", "VARCHAR")
    if kind.this in (T.BINARY, T.VARBINARY):
        return Type(f"BINARY({sizes[0] if sizes else BINARY_LENGTH})", "BLOB")
    if kind.this in TIMES:
        name = TIMES[kind.this]
        duck = {"TIME": "TIME", "TIMESTAMP_NTZ": "TIMESTAMP"}.get(name, "TIMESTAMPTZ")
        return Type(f"{name}({sizes[0] if sizes else 9})", duck)
    if kind.this in SEMI:
        return Type(SEMI[kind.this], "JSON")
    if kind.this in (T.BOOLEAN, T.DATE):
        return Type(kind.this.value, kind.this.value)
    raise SnowflakeError(
        "002040", "42601", f"SQL compilation error:\nUnsupported data type '{kind.sql('snowflake')}'."
    )


def from_duck(kind: str) -> str:
    """The Snowflake type of a DuckDB column that nobody declared."""
    if found := re.fullmatch(r"DECIMAL\((\d+),\s*(\d+)\)", kind):
        return f"NUMBER({found[1]},{found[2]})"
    if kind in FROM_DUCK:
        return FROM_DUCK[kind]
    if kind.endswith("[]") or kind.startswith(("STRUCT", "MAP")):
        return "VARIANT"
    raise SnowflakeError("002040", "42601", f"the test server has no Snowflake type for DuckDB's {kind}")


def answered(name: str, kind: str, *, nullable: bool = True) -> Column:
    """The column of an answer with that Snowflake type."""
    base, *sizes = re.findall(r"[A-Z_]+|\d+", kind)
    if base in ANSWERED:
        return Column(name, ANSWERED[base].type, nullable=nullable)
    if base == "NUMBER":
        return Column(name, "fixed", int(sizes[0]), int(sizes[1]), nullable=nullable)
    if base in ("VARCHAR", "BINARY"):
        return Column(name, "text" if base == "VARCHAR" else "binary", length=int(sizes[0]), nullable=nullable)
    return Column(name, base.lower(), scale=int(sizes[0]), nullable=nullable)


def as_json(kind: str, *, nullable: bool) -> dict[str, object]:
    """`data_type` of SHOW COLUMNS."""
    column = answered("", kind)
    told: dict[str, object] = {"type": column.type.upper(), "nullable": nullable}
    if column.type == "fixed":
        return {"type": "FIXED", "precision": column.precision, "scale": column.scale, "nullable": nullable}
    if column.type in ("text", "binary"):
        told |= {"length": column.length, "byteLength": column.length, "fixed": False}
    elif column.type.startswith("time"):
        told |= {"precision": 0, "scale": column.scale}
    return told
