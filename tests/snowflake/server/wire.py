"""Answers in Snowflake's wire format: `rowtype`, Arrow for queries, JSON rows for everything else."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tests.snowflake.server import parameters
from tests.snowflake.server.model import Answer, Column, Session, SnowflakeError, Statement

SELECT, INSERT, UPDATE, DELETE, MERGE, COPY = 0x1000, 0x3100, 0x3200, 0x3300, 0x3400, 0x3600
USE, SHOW, DESCRIBE, TCL, DDL = 0x4300, 0x4400, 0x4500, 0x5000, 0x6000

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
TEXT_LENGTH = 16_777_216
BINARY_LENGTH = 8_388_608


def success(statement: Statement, answer: Answer) -> dict[str, Any]:
    """The body of a query response."""
    session = statement.session
    if answer.raw is not None:
        return {
            "data": {**answer.raw, "queryId": statement.query_id},
            "success": True,
            "code": None,
            "message": None,
        }
    data: dict[str, Any] = {
        "parameters": [{"name": "TIMEZONE", "value": parameters.get(session, "TIMEZONE")}],
        "rowtype": [row_type(column) for column in answer.columns],
        "total": answer.total,
        "returned": answer.total,
        "queryId": statement.query_id,
        "statementTypeId": answer.kind,
        "sqlState": "00000",
        **final_names(session),
        **answer.extra,
    }
    if answer.counts:
        data["stats"] = {
            "numRowsInserted": answer.counts.get("inserted", 0),
            "numRowsUpdated": answer.counts.get("updated", 0),
            "numRowsDeleted": answer.counts.get("deleted", 0),
            "numDmlDuplicates": 0,
        }
    if answer.kind == SELECT:
        data |= {"queryResultFormat": "arrow", "rowsetBase64": arrow(answer)}
    else:
        data |= {"queryResultFormat": "json", "rowset": json_rows(answer)}
    return {"data": data, "success": True, "code": None, "message": None}


def failure(error: SnowflakeError, query_id: str | None = None) -> dict[str, Any]:
    """The body of an answer that is an error."""
    data = {
        "errorCode": error.code,
        "sqlState": error.state,
        "queryId": query_id,
        "internalError": False,
        **error.data,
    }
    return {"data": data, "code": error.code, "message": error.message, "success": False, "headers": None}


def final_names(session: Session) -> dict[str, Any]:
    return {
        "finalDatabaseName": session.database,
        "finalSchemaName": session.schema,
        "finalWarehouseName": session.warehouse,
        "finalRoleName": session.role,
    }


def row_type(column: Column) -> dict[str, Any]:
    """One entry of `rowtype`."""
    precision, scale, length = column.precision, column.scale, column.length
    if column.type == "fixed":
        precision, scale = precision or 38, scale or 0
    elif column.type.startswith("time"):
        precision, scale = 0, 9 if scale is None else scale
    elif column.type == "text":
        length = length or TEXT_LENGTH
    elif column.type == "binary":
        length = length or BINARY_LENGTH
    return {
        "name": column.name,
        "database": "",
        "schema": "",
        "table": "",
        "nullable": column.nullable,
        "type": column.type,
        "byteLength": length,
        "length": length,
        "scale": scale,
        "precision": precision,
        "collation": None,
    }


def arrow(answer: Answer) -> str:
    """The rows as a base64 Arrow stream, each column in the physical type that Snowflake uses."""
    table = answer.rows if isinstance(answer.rows, pa.Table) else None
    if table is None:
        raise TypeError("a query's rows are a pyarrow.Table")
    arrays, fields = [], []
    for column, values in zip(answer.columns, table.columns, strict=True):
        array = physical(column, values.combine_chunks())
        kind = row_type(column)
        described = {
            "logicalType": column.type.upper(),
            "precision": str(kind["precision"] or 38),
            "scale": str(kind["scale"] or 0),
            "charLength": str(kind["length"] or 0),
            "byteLength": str(kind["byteLength"] or 0),
            "finalType": "T",
        }
        fields.append(pa.field(column.name, array.type, nullable=True, metadata=described))
        arrays.append(array)
    sink = pa.BufferOutputStream()
    schema = pa.schema(fields)
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in pa.Table.from_arrays(arrays, schema=schema).to_batches(max_chunksize=50_000):
            writer.write_batch(batch)
    return b64encode(sink.getvalue()).decode()


def physical(column: Column, values: pa.Array) -> pa.Array:
    """A column as Snowflake puts it into Arrow."""
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    if pa.types.is_null(values.type):
        return values.cast(pa.string())
    if column.type == "fixed":
        return numbers(values, column.scale or 0)
    if column.type == "time":
        return pc.multiply(values.cast(pa.time64("us")).cast(pa.int64()), 1000)
    if column.type.startswith("timestamp"):
        return instants(values, with_zone=column.type == "timestamp_tz")
    if column.type == "real":
        return values.cast(pa.float64())
    if column.type == "binary":
        return values.cast(pa.binary())
    if pa.types.is_nested(values.type):
        return pa.array(
            [None if value is None else json.dumps(value, default=str) for value in values.to_pylist()]
        )
    if column.type in ("text", "variant", "object", "array"):
        return values.cast(pa.string())
    return values


def numbers(values: pa.Array, scale: int) -> pa.Array:
    """Whole numbers that fit go as 64 bits, as Snowflake sends them, the others as decimals."""
    if scale == 0:
        try:
            return values.cast(pa.int64())
        except pa.ArrowInvalid:
            pass
    return values.cast(pa.decimal128(38, scale))


def instants(values: pa.Array, *, with_zone: bool) -> pa.Array:
    """Seconds since 1970, the nanoseconds above, and the offset plus 1440 minutes; NULL is NULL in each."""
    micros = values.cast(pa.timestamp("us", tz=values.type.tz)).cast(pa.int64())
    fraction = pc.subtract(micros, pc.multiply(floor_million(micros), 1_000_000))
    parts = {"epoch": floor_million(micros), "fraction": pc.multiply(fraction, 1000).cast(pa.int32())}
    if with_zone:
        parts["timezone"] = pc.if_else(
            pc.is_valid(micros), pa.scalar(1440, pa.int32()), pa.scalar(None, pa.int32())
        )
    return pa.StructArray.from_arrays(list(parts.values()), names=list(parts), mask=micros.is_null())


def floor_million(micros: pa.Array) -> pa.Array:
    """Floor division by a million; Arrow's own division rounds towards zero."""
    quotient = pc.divide(micros, 1_000_000)
    below = pc.less(micros, pc.multiply(quotient, 1_000_000))
    return pc.subtract(quotient, below.cast(pa.int64()))


def as_table(answer: Answer) -> pa.Table:
    """The rows of an answer as a table, for RESULT_SCAN."""
    if isinstance(answer.rows, pa.Table):
        return answer.rows
    rows = [dict(zip((column.name for column in answer.columns), row, strict=True)) for row in answer.rows]
    if not rows:
        return pa.table({column.name: pa.array([], pa.string()) for column in answer.columns})
    return pa.Table.from_pylist(rows)


def json_rows(answer: Answer) -> list[list[str | None]]:
    """The rows as lists of text, as Snowflake sends what is no query."""
    rows: Iterable[Sequence[Any]] = answer.rows
    if isinstance(answer.rows, pa.Table):
        rows = zip(*(column.to_pylist() for column in answer.rows.columns), strict=True)
    return [[json_value(value) for value in row] for row in rows]


def json_value(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, bytes):
        return value.hex().upper()
    if isinstance(value, dt.datetime):
        whole = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        micros = (whole - EPOCH) // dt.timedelta(microseconds=1)
        return f"{micros // 1_000_000}.{micros % 1_000_000:06d}000"
    if isinstance(value, dt.date):
        return str((value - EPOCH.date()).days)
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    return str(value)
