"""DuckDB's errors as Snowflake would tell them."""

from __future__ import annotations

import re

import duckdb

from tests.snowflake.server.model import SnowflakeError

COMPILATION = "SQL compilation error:\n"


def missing(what: str, name: object) -> SnowflakeError:
    """`what` is Table, Stage, Schema, Database, Object."""
    return SnowflakeError("002003", "42S02", f"{COMPILATION}{what} '{name}' does not exist or not authorized.")


def exists(what: str, name: object) -> SnowflakeError:
    return SnowflakeError("002002", "42710", f"{COMPILATION}{what} '{name}' already exists.")


def explained(error: duckdb.Error) -> SnowflakeError:
    """The nearest code that Snowflake documents or that its users report."""
    words = str(error)
    if "Malformed JSON" in words:
        return SnowflakeError("100069", "22P02", f"Error parsing JSON: {words}")
    for kind, explain in KINDS:
        if isinstance(error, kind):
            return explain(words)
    return SnowflakeError("000603", "XX000", f"SQL execution internal error: {words}")


def _catalog(words: str) -> SnowflakeError:
    if found := re.search(r"(?:Table|View|Schema) with name \"?(.+?)\"? does not exist", words):
        return missing("Object", found[1])
    if found := re.search(r"Function with name \"?(.+?)\"? does not exist", words):
        return SnowflakeError("002140", "42601", f"{COMPILATION}Unknown function {found[1].upper()}")
    if "already exists" in words:
        return SnowflakeError("002002", "42710", f"{COMPILATION}{words}")
    return SnowflakeError("002003", "42S02", f"{COMPILATION}{words}")


def _binder(words: str) -> SnowflakeError:
    if found := re.search(
        r"column \"?([^\"\s]+)\"? not found|does not have a column named \"(.+?)\"", words, re.I
    ):
        name = found[1] or found[2]
        return SnowflakeError("000904", "42000", f"{COMPILATION}error line 1: invalid identifier '{name}'")
    if re.search(r"Catalog \"?.+?\"? does not exist", words):
        return missing("Database", words.split('"')[1])
    if found := re.search(r"table \"?(.+?)\"? not found", words, re.I):
        return SnowflakeError("000904", "42000", f"{COMPILATION}error line 1: invalid identifier '{found[1]}'")
    return SnowflakeError("001044", "42P13", f"{COMPILATION}{words}")


def _conversion(words: str) -> SnowflakeError:
    if re.search(r"timestamp|\bdate|timezone", words, re.I):
        return SnowflakeError("100035", "22007", f"Timestamp is not recognized: {words}")
    if found := re.search(r"string ['\"](.*?)['\"]", words):
        return SnowflakeError("100038", "22018", f"Numeric value '{found[1]}' is not recognized")
    return SnowflakeError("100046", "22003", f"Number out of representable range: {words}")


def _range(words: str) -> SnowflakeError:
    return SnowflakeError("100039", "22003", f"Numeric value is out of range: {words}")


def _constraint(words: str) -> SnowflakeError:
    if "NOT NULL" in words:
        return SnowflakeError("100072", "22000", f"NULL result in a non-nullable column ({words})")
    return SnowflakeError("100132", "P0000", words)


def _transaction(words: str) -> SnowflakeError:
    return SnowflakeError("000603", "XX000", f"the test server's DuckDB cannot do what Snowflake would: {words}")


KINDS = (
    (duckdb.CatalogException, _catalog),
    (duckdb.BinderException, _binder),
    (duckdb.ConversionException, _conversion),
    (duckdb.OutOfRangeException, _range),
    (duckdb.ConstraintException, _constraint),
    (duckdb.ParserException, lambda words: SnowflakeError("001003", "42000", COMPILATION + words)),
    (duckdb.InterruptException, lambda words: SnowflakeError("000604", "57014", "SQL execution canceled")),
    (duckdb.TransactionException, _transaction),
    (duckdb.InvalidInputException, lambda words: SnowflakeError("002049", "42601", f"{COMPILATION}{words}")),
)
