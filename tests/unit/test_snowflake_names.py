"""Names of Snowflake: parsed, told and written into statements (X-5)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.errors import ConfigurationError
from state.snowflake.names import Name, parse, plain, quoted, text

PARTS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=255)
NASTY = ['"; DROP TABLE t --', "a.b", "naïve", "日本", "x" * 255, "'", "\\", "\n", "$1", "a b", "Mixed", '""']


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("db.schema.table", ("DB", "SCHEMA", "TABLE")),
        ("DB.S_1.T$2", ("DB", "S_1", "T$2")),
        ('db."my schema"."a.b"', ("DB", "my schema", "a.b")),
        ('"d""b".s."t"', ('d"b', "S", "t")),
    ],
)
def test_a_name_is_read_as_snowflake_reads_it(written, parts):
    assert parse(written).parts == parts


@pytest.mark.parametrize(
    "written",
    [
        "",
        "t",
        "s.t",
        "a.b.c.d",
        "a..c",
        ".b.c",
        "a.b.",
        "1a.b.c",
        "a-b.c.d",
        "a.b.c d",
        'a.b."c',
        'a.b.""',
        "a.b.c\n",
        'a.b.c; DROP TABLE "x"',
        "a.b.c--",
        "a.b.ç",
        f'a.b."{"x" * 256}"',
        'a.b."c\0"',
        "a b.c.d",
        'a"b".c.d',
    ],
)
def test_what_is_no_name_is_refused_with_the_setting_it_stands_in(written):
    with pytest.raises(ConfigurationError) as caught:
        parse(written, path="target_system.table")
    assert (caught.value.code, caught.value.path) == ("name", "target_system.table")
    assert "DATABASE.SCHEMA.NAME" in caught.value.message
    assert caught.value.hint


def test_other_numbers_of_parts_can_be_asked_for():
    assert parse("s.t", parts=2).parts == ("S", "T")
    for written in ("t", "s.t.", "s.t.u"):
        with pytest.raises(ConfigurationError, match=r"SCHEMA\.NAME"):
            parse(written, parts=2)


@given(st.lists(PARTS, min_size=3, max_size=3))
def test_a_name_survives_being_told_and_being_written_x5(parts):
    name = Name(tuple(parts))
    assert parse(str(name)) == name
    assert parse(name.sql) == name


@given(PARTS)
def test_a_quoted_part_ends_where_it_should_x5(part):
    written = quoted(part)
    assert re.fullmatch(r'"(?:[^"]|"")+"', written)
    assert written[1:-1].replace('""', '"') == part


@pytest.mark.parametrize("part", NASTY)
def test_nasty_parts_stay_one_part_x5(part):
    assert parse(f"A.B.{quoted(part)}").last == part


@pytest.mark.parametrize("part", ["", "x" * 256, "a\0b"])
def test_what_cannot_be_a_part_is_not_written(part):
    with pytest.raises(ConfigurationError):
        quoted(part)


@given(st.text())
def test_a_text_ends_where_it_should_x5(value):
    written = text(value)
    found = re.fullmatch(r"'((?:[^'\\]|''|\\\\)*)'", written)
    assert found is not None
    assert found[1].replace("''", "'").replace("\\\\", "\\") == value


def test_a_name_is_told_with_quotes_only_where_they_are_needed():
    assert str(parse('db."s".T')) == 'DB."s".T'
    assert plain("ABC_1$") and not plain("abc") and not plain("1A")


def test_a_name_leads_to_its_neighbours():
    name = parse("db.s.t")
    assert (name.last, str(name.schema), str(name.beside("u v"))) == ("T", "DB.S", 'DB.S."u v"')
