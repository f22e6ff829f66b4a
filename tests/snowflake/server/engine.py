"""The end of the chain: fakesnow translates a statement, DuckDB runs it, and its columns get Snowflake's types."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import duckdb
import snowflake.connector.errors
from fakesnow.dialect import parse_one
from fakesnow.statement_type import statement_type_id

from tests.snowflake.server import wire
from tests.snowflake.server.model import Answer, Column, SnowflakeError, Statement

warnings.filterwarnings("ignore", message="Arrow output on a DB-API result")

SNOWFLAKE_TYPES = {
    "BIGINT": "fixed",
    "BLOB": "binary",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "DOUBLE": "real",
    "FLOAT": "real",
    "HUGEINT": "fixed",
    "INTEGER": "fixed",
    "JSON": "variant",
    "SMALLINT": "fixed",
    "TIME": "time",
    "TIMESTAMP WITH TIME ZONE": "timestamp_ltz",
    "TIMESTAMP": "timestamp_ntz",
    "TIMESTAMP_NS": "timestamp_ntz",
    "TINYINT": "fixed",
    "UBIGINT": "fixed",
    "UHUGEINT": "fixed",
    "UINTEGER": "fixed",
    "VARCHAR": "text",
    '"NULL"': "text",
    "NULL": "text",
}


def run(statement: Statement, _proceed: Callable[[Statement], Answer]) -> Answer:
    """Run it as it is. Every error leaves as `SnowflakeError`."""
    try:
        return executed(statement)
    except snowflake.connector.errors.Error as error:
        raise SnowflakeError(
            f"{error.errno or 1:06d}", error.sqlstate or "42000", error.raw_msg or str(error)
        ) from error
    except duckdb.Error as error:
        raise SnowflakeError("000603", "XX000", str(error)) from error


def executed(statement: Statement) -> Answer:
    cursor = statement.session.fake.cursor()
    kind = statement_type_id(parse_one(statement.text))
    batch = statement.batch if statement.batch is not None else [statement.binds]
    touched = 0
    for values in batch:
        cursor.execute(statement.text, binding_params=values or None, server=True)
        touched += cursor.rowcount or 0
    table = cursor._arrow_table
    columns = [column_of(name, str(kind)) for name, kind, *_ in statement.session.duck.description]
    answer = Answer(columns, table, kind if kind else wire.SELECT)
    if kind in wire.DML_KINDS:
        answer.counts = dict(counts(columns, table))
    if statement.batch is not None and kind in wire.DML_KINDS:
        answer.rows = [(touched,) + (0,) * (len(columns) - 1)]
        answer.counts = {"inserted": touched}
    return answer


def counts(columns: list[Column], table: Any) -> Any:
    """Inserted, updated and deleted rows from the columns that say so."""
    for column, values in zip(columns, table.columns, strict=True):
        if found := re.match(r"number of rows (inserted|updated|deleted)", column.name):
            yield found[1], int(values[0].as_py() or 0)


def column_of(name: str, kind: str) -> Column:
    """The column of an answer for a DuckDB type."""
    if found := re.match(r"DECIMAL\((\d+),\s*(\d+)\)", kind):
        return Column(name, "fixed", int(found[1]), int(found[2]))
    if kind not in SNOWFLAKE_TYPES:
        raise SnowflakeError(
            "002040", "42601", f"the test server has no Snowflake type for DuckDB's {kind} of {name}"
        )
    return Column(name, SNOWFLAKE_TYPES[kind])
