"""Which column holds what a server declares, and what an operator may choose instead (M-9…M-15)."""

from __future__ import annotations

import pyarrow as pa
import pytest

from connectors.mysql.columns import FAMILY, OVERRIDES, Column, Declared, Kind, column
from state.contract import is_json
from state.errors import ConfigurationError

UNSIGNED = pa.decimal128(20, 0)
PLAIN, DOUBLE, WHOLE, WKB, WKT = (
    *("`c`", "CAST(`c` AS DOUBLE)", "CAST(`c` AS UNSIGNED)", "ST_AsBinary(`c`)", "ST_AsText(`c`)"),
)


def declared(column_type: str, name: str = "c") -> Declared:
    """As information_schema tells a column of this type."""
    word, _, rest = column_type.partition("(")
    numbers = [int(part) for part in rest.partition(")")[0].split(",") if part.strip().isdigit()]
    is_exact = word in ("decimal", "bit")
    precision, scale = (*(numbers if is_exact else []), None, None)[:2]
    return Declared(name, word.split()[0], column_type, True, precision, scale, None, None, None, "")


def read_as(column_type: str, override: str | None = None, policy: str = "error") -> Column:
    return column(declared(column_type), "c", override, policy)


NATURAL = [
    ("tinyint(4)", Kind.INTEGER, pa.int8(), PLAIN),
    ("tinyint(3) unsigned", Kind.INTEGER, pa.uint8(), PLAIN),
    ("tinyint(1)", Kind.INTEGER, pa.int8(), PLAIN),
    ("smallint(6)", Kind.INTEGER, pa.int16(), PLAIN),
    ("smallint(5) unsigned zerofill", Kind.INTEGER, pa.uint16(), PLAIN),
    ("mediumint(9)", Kind.INTEGER, pa.int32(), PLAIN),
    ("mediumint(8) unsigned", Kind.INTEGER, pa.uint32(), PLAIN),
    ("int", Kind.INTEGER, pa.int32(), PLAIN),
    ("int unsigned", Kind.INTEGER, pa.uint32(), PLAIN),
    ("bigint(20)", Kind.INTEGER, pa.int64(), PLAIN),
    ("bigint(20) unsigned", Kind.DECIMAL, UNSIGNED, PLAIN),
    ("year(4)", Kind.INTEGER, pa.int16(), PLAIN),
    ("bit(1)", Kind.INTEGER, pa.int64(), WHOLE),
    ("bit(63)", Kind.INTEGER, pa.int64(), WHOLE),
    ("bit(64)", Kind.DECIMAL, UNSIGNED, WHOLE),
    ("decimal(10,2)", Kind.DECIMAL, pa.decimal128(10, 2), PLAIN),
    ("decimal(38,37)", Kind.DECIMAL, pa.decimal128(38, 37), PLAIN),
    ("decimal(38,0) unsigned", Kind.DECIMAL, pa.decimal128(38, 0), PLAIN),
    ("float", Kind.FLOAT, pa.float32(), DOUBLE),
    ("double", Kind.FLOAT, pa.float64(), PLAIN),
    ("date", Kind.DATE, pa.date32(), PLAIN),
    ("datetime(6)", Kind.DATETIME, pa.timestamp("us"), PLAIN),
    ("timestamp", Kind.DATETIME, pa.timestamp("us", "UTC"), PLAIN),
    ("time(3)", Kind.TEXT, pa.string(), PLAIN),
    ("varchar(20)", Kind.TEXT, pa.string(), PLAIN),
    ("longtext", Kind.TEXT, pa.string(), PLAIN),
    ("enum('a','b')", Kind.TEXT, pa.string(), PLAIN),
    ("set('unsigned','b')", Kind.TEXT, pa.string(), PLAIN),
    ("inet6", Kind.TEXT, pa.string(), PLAIN),
    ("uuid", Kind.TEXT, pa.string(), PLAIN),
    ("varbinary(20)", Kind.BYTES, pa.binary(), PLAIN),
    ("longblob", Kind.BYTES, pa.binary(), PLAIN),
    ("point", Kind.BYTES, pa.binary(), WKB),
    ("geometrycollection", Kind.BYTES, pa.binary(), WKB),
]


@pytest.mark.parametrize(("column_type", "kind", "type_", "expression"), NATURAL, ids=lambda one: str(one)[:40])
def test_a_declared_type_has_one_column_that_holds_it_exactly(column_type, kind, type_, expression):
    assert read_as(column_type) == Column("c", "c", kind, type_, expression)


def test_json_of_mysql_is_json_text():
    found = read_as("json")
    assert (found.kind, found.type, is_json(found.field)) == (Kind.TEXT, pa.string(), True)


CHOSEN = [
    ("bigint unsigned", "int64", Kind.INTEGER, pa.int64(), PLAIN),
    ("varchar(9)", "int64", Kind.INTEGER, pa.int64(), PLAIN),
    ("decimal(65,30)", "int64", Kind.INTEGER, pa.int64(), PLAIN),
    ("time", "int64", Kind.TIME, pa.int64(), PLAIN),
    ("time", "time", Kind.TIME, pa.time64("us"), PLAIN),
    ("bit(64)", "int64", Kind.INTEGER, pa.int64(), WHOLE),
    ("decimal(65,30)", "decimal(38,10)", Kind.DECIMAL, pa.decimal128(38, 10), PLAIN),
    ("int", "DECIMAL( 5, 0 )", Kind.DECIMAL, pa.decimal128(5, 0), PLAIN),
    ("decimal(65,30)", "float64", Kind.FLOAT, pa.float64(), PLAIN),
    ("float", "float64", Kind.FLOAT, pa.float64(), DOUBLE),
    ("tinyint(1)", "boolean", Kind.BOOLEAN, pa.bool_(), PLAIN),
    ("bit(1)", "boolean", Kind.BOOLEAN, pa.bool_(), WHOLE),
    ("decimal(65,30)", "string", Kind.TEXT, pa.string(), PLAIN),
    ("float", "string", Kind.TEXT, pa.string(), DOUBLE),
    ("date", "string", Kind.TEXT, pa.string(), PLAIN),
    ("bit(10)", "string", Kind.TEXT, pa.string(), WHOLE),
    ("bit(10)", "binary", Kind.BYTES, pa.binary(), PLAIN),
    ("polygon", "string", Kind.TEXT, pa.string(), WKT),
    ("polygon", "binary", Kind.BYTES, pa.binary(), WKB),
    ("blob", "string", Kind.TEXT, pa.string(), PLAIN),
    ("varchar(9)", "binary", Kind.BYTES, pa.binary(), PLAIN),
    ("xmltype", "string", Kind.TEXT, pa.string(), PLAIN),
    ("xmltype", "binary", Kind.BYTES, pa.binary(), PLAIN),
]


@pytest.mark.parametrize(("column_type", "word", "kind", "type_", "ask"), CHOSEN, ids=lambda one: str(one)[:40])
def test_a_chosen_type_takes_the_place_of_the_declared_one(column_type, word, kind, type_, ask):
    assert read_as(column_type, word) == Column("c", "c", kind, type_, ask)


@pytest.mark.parametrize(
    ("column_type", "kind"), [("longtext", Kind.JSON), ("blob", Kind.JSON), ("json", Kind.TEXT)]
)
def test_a_text_chosen_as_json_is_parsed_unless_the_server_did(column_type, kind):
    found = read_as(column_type, "json")
    assert (found.kind, is_json(found.field)) == (kind, True)


@pytest.mark.parametrize("word", [*OVERRIDES, "decimal(5,2)", "date"])
def test_each_chosen_type_is_for_the_families_of_its_row_only(word):
    families = OVERRIDES["decimal(p,s)"] if word == "decimal(5,2)" else OVERRIDES.get(word, ())
    for data_type in (*FAMILY, "xmltype"):
        one = Declared("c", data_type, data_type, True, 5, 2, None, None, None, "")
        if word != "decimal(p,s)" and FAMILY.get(data_type, "other") in families:
            assert column(one, "c", word).source == "c"
        else:
            with pytest.raises(ConfigurationError, match=f"cannot be read as {word.partition('(')[0]}"):
                column(one, "c", word)


@pytest.mark.parametrize(
    ("column_type", "word", "says"),
    [
        ("decimal(39,0)", None, "more digits than a target holds"),
        ("decimal(38,38)", None, "more digits than a target holds"),
        ("xmltype", None, "is not known"),
        ("int", "decimal(39,0)", r"there is no decimal\(39,0\)"),
        ("int", "decimal(38,38)", r"there is no decimal\(38,38\)"),
        ("int", "decimal(2,3)", r"there is no decimal\(2,3\)"),
        ("int", "decimal(0,0)", r"there is no decimal\(0,0\)"),
        ("int", "number", "cannot be read as number"),
    ],
)
def test_what_no_column_holds_is_an_error_that_says_what_to_do(column_type, word, says):
    with pytest.raises(ConfigurationError, match=says) as raised:
        read_as(column_type, word)
    assert raised.value.path == "source_system.columns.types.c"
    assert "string" in raised.value.hint or "decimal(38,37)" in raised.value.hint


@pytest.mark.parametrize(
    ("column_type", "word", "fits"),
    [
        ("date", None, pa.date32()),
        ("datetime", None, pa.timestamp("us")),
        ("timestamp", None, pa.timestamp("us", "UTC")),
        ("varchar(9)", None, pa.string()),
        ("varchar(9)", "int64", pa.int64()),
        ("time", "time", pa.time64("us")),
        ("longtext", "json", pa.string()),
        ("bigint unsigned", "int64", pa.int64()),
        ("int", "boolean", pa.bool_()),
    ],
)
def test_under_the_policy_text_a_column_that_may_have_bad_values_is_text(column_type, word, fits):
    found = read_as(column_type, word, "text")
    assert (found.field, found.as_text, found.checked) == (pa.field("c", pa.string()), fits, fits)


@pytest.mark.parametrize("word", [None, "int64", "float64"])
@pytest.mark.parametrize("column_type", ["int", "bigint", "bit(5)"])
def test_under_the_policy_text_a_column_without_bad_values_keeps_its_type(column_type, word):
    assert read_as(column_type, word, "text") == read_as(column_type, word)


def test_names_are_quoted_whatever_is_in_them():
    found = column(declared("float", "a`b"), "x")
    assert found.selected == "CAST(`a``b` AS DOUBLE) AS `a``b`"
    assert (found.source, found.name) == ("a`b", "x")
