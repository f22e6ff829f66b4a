"""Parts of the Snowflake loader by themselves: types, names, the user's SQL, answers of PUT and COPY."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from loaders.base import ConflictPolicy, Mode
from loaders.columns import Needs
from loaders.snowflake import types
from loaders.snowflake.names import names, require_distinct, spelled
from loaders.snowflake.recent import Recent
from loaders.snowflake.rows import instant
from loaders.snowflake.schema import Wanted, fits, value_for
from loaders.snowflake.settings import NameRule, SnowflakeStage, SnowflakeTarget
from loaders.snowflake.transform import problem_of, relation, require_select
from state.contract import Contract
from state.errors import ConfigurationError, ContractError
from state.model import Attempt, RunId, Window
from state.snowflake.names import parse

TARGET = SnowflakeTarget(type="snowflake", table="db.s.events", key=("id",))
STAGE = SnowflakeStage(stage="db.raw.landing")
TABLE = parse("DB.S.EVENTS")
RUN = RunId("d", "p", Window(datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 2, tzinfo=UTC)), 1)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.uint64(), "NUMBER(38,0)"),
        (pa.decimal128(38, 37), "NUMBER(38,37)"),
        (pa.decimal256(20, 3), "NUMBER(20,3)"),
        (pa.float16(), "FLOAT"),
        (pa.dictionary(pa.int32(), pa.string()), "VARCHAR"),
        (pa.binary(16), "BINARY"),
        (pa.time32("s"), "TIME(9)"),
        (pa.timestamp("ns"), "TIMESTAMP_NTZ(9)"),
        (pa.timestamp("s", "Europe/Paris"), "TIMESTAMP_LTZ(9)"),
    ],
)
def test_an_arrow_type_has_its_snowflake_type(kind, expected):
    assert types.snow_type("x", kind) == expected


@pytest.mark.parametrize(
    "kind",
    [
        pa.decimal256(39, 0),
        pa.decimal128(5, -2),
        pa.duration("s"),
        pa.list_(pa.int64()),
        pa.struct([pa.field("a", pa.int64())]),
        pa.map_(pa.string(), pa.int64()),
        pa.null(),
    ],
)
def test_a_type_that_does_not_fit_names_its_column(kind):
    with pytest.raises(ContractError, match="column x is of type"):
        types.snow_type("x", kind)


WIDTHS = [
    ("NUMBER(38,0)", "NUMBER(38,0)", True),
    ("NUMBER(38,0)", "NUMBER(10,0)", True),
    ("NUMBER(10,0)", "NUMBER(38,0)", False),
    ("NUMBER(38,2)", "NUMBER(38,0)", False),
    ("NUMBER(38,2)", "NUMBER(36,2)", True),
    ("TIMESTAMP_TZ(9)", "TIMESTAMP_LTZ(9)", True),
    ("TIMESTAMP_LTZ(9)", "TIMESTAMP_TZ(6)", True),
    ("TIMESTAMP_LTZ(3)", "TIMESTAMP_LTZ(9)", False),
    ("TIMESTAMP_NTZ(9)", "TIMESTAMP_LTZ(9)", False),
    ("TIME(9)", "TIMESTAMP_NTZ(9)", False),
    ("FLOAT", "NUMBER(38,0)", False),
    ("VARCHAR", "NUMBER(38,0)", False),
    ("VARIANT", "VARCHAR", False),
]


@pytest.mark.parametrize(("have", "want", "expected"), WIDTHS)
def test_a_column_takes_what_it_holds_exactly(have, want, expected):
    assert types.widens(have, want) is expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (("NUMBER", 38, 0, None), "NUMBER(38,0)"),
        (("NUMBER", 12, 3, None), "NUMBER(12,3)"),
        (("TEXT", None, None, None), "VARCHAR"),
        (("TIMESTAMP_LTZ", None, None, 3), "TIMESTAMP_LTZ(3)"),
        (("TIMESTAMP_NTZ", None, None, None), "TIMESTAMP_NTZ(9)"),
        (("TIME", None, None, 0), "TIME(0)"),
        (("VARIANT", None, None, None), "VARIANT"),
    ],
)
def test_a_type_is_read_as_the_information_schema_tells_it(told, expected):
    assert types.told_type(*told) == expected


def test_json_goes_into_a_variant_parsed_once_and_into_text_as_it_is():
    doc = Wanted("doc", "DOC", "VARIANT", json=True)
    assert value_for("VARIANT", doc, TARGET.on_type_conflict, TABLE) == 'TRY_PARSE_JSON(r."DOC")'
    assert value_for("VARCHAR", doc, TARGET.on_type_conflict, TABLE) == 'r."DOC"'
    assert not fits("NUMBER(38,0)", doc)
    with pytest.raises(ContractError, match="doc"):
        value_for("BINARY", doc, TARGET.on_type_conflict, TABLE)


@pytest.mark.parametrize(
    ("policy", "have", "kind", "expected"),
    [
        ("text", "VARCHAR", "NUMBER(38,0)", 'CAST(r."X" AS VARCHAR)'),
        ("text", "VARCHAR", "TIMESTAMP_NTZ(9)", "TO_VARCHAR(r.\"X\", 'YYYY-MM-DD HH24:MI:SS.FF9')"),
        ("json", "VARIANT", "NUMBER(38,0)", 'TO_VARIANT(r."X")'),
        ("json", "VARIANT", "VARCHAR", 'TO_VARIANT(r."X")'),
        ("json", "VARIANT", "DATE", "TO_VARIANT(TO_VARCHAR(r.\"X\", 'YYYY-MM-DD'))"),
    ],
)
def test_a_changed_type_goes_by_the_policy(policy, have, kind, expected):
    assert value_for(have, Wanted("x", "X", kind), ConflictPolicy(policy), TABLE) == expected


def test_append_needs_a_time_to_go_by():
    contract = Contract(pa.schema([("n", pa.int64())]), "n", ())
    with pytest.raises(ConfigurationError, match="cursor n"):
        types.require_types(contract, Needs(Mode.APPEND, (), "read_at", "n"))


def test_names_follow_from_the_settings():
    found = names(TARGET, STAGE)
    assert str(found.ledger) == "DB.S.EVENTS__SLUICEWAY_LOADS"
    assert str(found.staged) == "DB.RAW.EVENTS_STAGE"
    assert str(found.empty_of("p")) == "DB.RAW.EVENTS_STAGE_EMPTY_148DE9C5A7A4"
    assert found.empty_of("q") != found.empty_of("p")
    table = found.stage_of(Attempt(RUN, "n", 7))
    assert str(table) == f"DB.RAW.EVENTS_STAGE_{RUN.hash.upper()}_A7"
    assert found.run_hash(table.last) == RUN.hash
    assert found.run_hash(found.empty_of("p").last) is None
    assert found.run_hash(f"OTHER_{RUN.hash.upper()}_A7") is None
    assert found.location("a/") == '@"DB"."RAW"."LANDING"/a/'


@pytest.mark.parametrize("setting", ["events", "a.b.c.d", 'a.b."c', "a.b.c; DROP TABLE x", ""])
def test_what_is_no_name_is_a_matter_of_configuration(setting):
    with pytest.raises((ConfigurationError, ValidationError)):
        names(SnowflakeTarget(type="snowflake", table=setting, key=("id",)), STAGE)


def test_columns_that_become_one_are_refused_by_name():
    require_distinct(["a", "b"], NameRule.UPPER)
    require_distinct(["straße", "strasse"], NameRule.EXACT)
    with pytest.raises(ContractError, match="straße and strasse"):
        require_distinct(["straße", "strasse"], NameRule.UPPER)
    assert (spelled("id", NameRule.UPPER), spelled("id", NameRule.EXACT)) == ("ID", "id")


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("order-id", "ORDER_ID"),
        ("1st", "_1ST"),
        ("a.b", "A_B"),
        ("straße", "STRASSE"),
        ("Größe", "GROSSE"),
        ("ﬁeld", "FIELD"),
        ("from", "FROM_"),
        ("Current_Date", "CURRENT_DATE_"),
        ("$x", "_$X"),
        ("x$", "X$"),
        ("日本", "__"),
        ("", "_"),
        ("_sluiceway_read_at", "_SLUICEWAY_READ_AT"),
    ],
)
def test_by_default_a_name_needs_no_quotes(name, plain):
    assert spelled(name, NameRule.UPPER) == plain
    assert spelled(name, NameRule.EXACT) == name


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM {stage}",
        " with x as (select * from {stage}) select * from x",
        "SELECT 'it''s -- no; comment', \"a;b\" FROM {stage} WHERE x = 'a\\'b'",
    ],
)
def test_one_select_over_the_stage_is_taken_x6(sql):
    require_select(sql)
    assert relation(sql, TABLE) == f"({sql.replace('{stage}', TABLE.sql)})"


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("DELETE FROM {stage}", "begin with"),
        ("SELECT 1", "read from"),
        ("SELECT '{stage}'", "read from"),
        ('SELECT 1 FROM "{stage}"', "read from"),
        ("SELECT * FROM {stage}; DROP TABLE x", "more than one"),
        ("SELECT * FROM {stage} -- )", "comment"),
        ("SELECT * FROM {stage} // )", "comment"),
        ("SELECT /* ) */ * FROM {stage}", "comment"),
        ("SELECT * FROM {stage}) UNION (SELECT 1", "brackets"),
        ("SELECT * FROM {stage}) s; --", "comment|brackets|more than one"),
        ("SELECT ((1) FROM {stage}", "brackets"),
        ("SELECT $$ ) $$ FROM {stage}", "dollar"),
        ("SELECT 'x FROM {stage}", "quote"),
        ("SELECTX FROM {stage}", "begin with"),
    ],
)
def test_anything_else_is_refused_x6(sql, what):
    with pytest.raises(ConfigurationError, match=what):
        require_select(sql)


@given(st.text(alphabet="()'\";-/*$\\ a{}", max_size=30))
def test_no_transform_leaves_its_brackets_x6(middle):
    """Whatever is taken is one piece: outside of quotes no bracket closes that was not opened."""
    sql = f"SELECT {middle} FROM {{stage}}"
    if problem_of(sql) is None:
        bare = strip_quoted(sql)
        depth = 0
        for letter in bare:
            depth += (letter == "(") - (letter == ")")
            assert depth >= 0
        assert depth == 0
        assert not any(part in bare for part in (";", "--", "//", "/*", "$$", "'", '"'))


def strip_quoted(sql):
    """The text outside of quotes, letter by letter."""
    bare, quote, place = [], "", 0
    while place < len(sql):
        letter = sql[place]
        if quote:
            if letter == "\\" and quote == "'":
                place += 1
            elif letter == quote:
                if sql[place + 1 : place + 2] == quote:
                    place += 1
                else:
                    quote = ""
        elif letter in "'\"":
            quote = letter
        else:
            bare.append(letter)
        place += 1
    return "".join(bare) + quote


def test_free_sql_is_off_until_it_is_trusted_x6():
    with pytest.raises(ValidationError, match="user_sql"):
        SnowflakeTarget(type="snowflake", table="A.B.C", transform="SELECT * FROM {stage}")
    SnowflakeTarget(type="snowflake", table="A.B.C", transform="SELECT * FROM {stage}", trust="user_sql")


def test_change_only_needs_a_version_column():
    for wrong in ({"version": "read_at"}, {"mode": "append", "version": "v"}):
        with pytest.raises(ValidationError, match="change_only"):
            SnowflakeTarget(type="snowflake", table="A.B.C", change_only=True, **wrong)


def test_an_instant_is_told_with_its_offset():
    assert instant(datetime(1, 2, 3, 4, 5, 6, 7, tzinfo=UTC)) == "0001-02-03 04:05:06.000007+00:00"


def test_what_is_remembered_is_bounded():
    recent: Recent[int] = Recent(2)
    for number in range(3):
        recent[str(number)] = number
    recent["1"] = 7
    assert [recent.get(str(number)) for number in range(3)] == [None, 7, 2]
    recent.forget("1")
    recent.forget("nothing")
    assert recent.get("1") is None
