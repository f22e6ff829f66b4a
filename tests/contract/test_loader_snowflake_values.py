"""Values, names and JSON in Snowflake, through COPY and MERGE of the real connector: exact, or refused by name."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pyarrow as pa
import pytest

from state.contract import Contract, json_field
from state.errors import ContractError
from tests.contract.loader_desk import APPEND, MINUTE, SCHEMA, SEEN, attempt, desk, rows, table

DIGITS = Decimal("1234567890123456789012345678.9012345678")
NINES = Decimal("9" * 38)
EXACT = [
    (pa.int64(), -(2**63)),
    (pa.int64(), 2**53 + 1),
    (pa.uint64(), 2**64 - 1),
    (pa.int8(), -128),
    (pa.decimal128(38, 10), DIGITS),
    (pa.decimal128(38, 0), NINES),
    (pa.decimal128(5, 2), Decimal("-0.01")),
    (pa.float64(), 0.1),
    (pa.float64(), 5e-324),
    (pa.float64(), math.inf),
    (pa.float32(), 1.5),
    (pa.bool_(), False),
    (pa.string(), ""),
    (pa.string(), "\\N"),
    (pa.string(), "NULL"),
    (pa.string(), 'it\'s "quoted" \\ \t\n 🦆 é'),
    (pa.binary(), bytes(range(256))),
    (pa.binary(), b""),
    (pa.date32(), date(1, 1, 1)),
    (pa.date32(), date(9999, 12, 31)),
    (pa.time64("us"), time(23, 59, 59, 999999)),
    (pa.time32("s"), time(23, 59, 59)),
    (pa.time32("ms"), time(0, 0, 0, 1000)),
    (pa.date64(), date(1969, 12, 31)),
    (pa.timestamp("s"), datetime(1969, 12, 31, 23, 59, 59)),
    (pa.timestamp("s", "UTC"), datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)),
    (pa.timestamp("ms"), datetime(1969, 12, 31, 23, 59, 59, 999000)),
    (pa.timestamp("us"), datetime(1, 1, 1)),
    (pa.timestamp("us"), datetime(9999, 12, 31, 23, 59, 59, 999999)),
    (pa.timestamp("us", "UTC"), datetime(1900, 2, 28, 12, 0, 0, 1, tzinfo=UTC)),
    (pa.timestamp("us", "UTC"), datetime(9999, 12, 30, 23, 59, 59, 999999, tzinfo=UTC)),
    (pa.timestamp("us", "UTC"), datetime(1, 1, 2, tzinfo=UTC)),
]


@pytest.fixture
async def d(snowflake_place):
    async with desk(lambda _folder: snowflake_place) as made:
        yield made


def with_fields(*fields):
    """The contract with more columns."""
    schema = SCHEMA
    for field in fields:
        schema = schema.append(field)
    return Contract(schema, "at", ("id",))


async def loaded(d, contract, *items, **settings):
    """Rows through a run of their own; the target afterwards by key."""
    loader = d.loader(**settings)
    await d.load(loader, attempt(), table(contract.schema, *items), contract=contract)
    return {row["id"]: row for row in d.place.rows()}


async def test_values_are_exact_f8_f12(d):
    contract = with_fields(*(pa.field(f"v{n}", kind) for n, (kind, _) in enumerate(EXACT)))
    full = {f"v{n}": value for n, (_, value) in enumerate(EXACT)}
    found = await loaded(d, contract, {"id": "full", "version": 1, **full}, {"id": "bare", "version": 1})
    for n, (kind, value) in enumerate(EXACT):
        assert found["full"][f"v{n}"] == value, (kind, value)
        assert found["bare"][f"v{n}"] is None, kind


TIMES = [
    (pa.time32("s"), time(23, 59, 58), "23:59:58.000000000"),
    (pa.time32("ms"), time(1, 2, 3, 4000), "01:02:03.004000000"),
    (pa.time64("us"), time(23, 59, 59, 999999), "23:59:59.999999000"),
    (pa.date32(), date(2024, 2, 29), "2024-02-29"),
    (pa.timestamp("us"), datetime(2024, 2, 29, 1, 2, 3, 4), "2024-02-29 01:02:03.000004000"),
]


@pytest.mark.parametrize("policy", ["text", "json"])
async def test_times_that_become_text_keep_all_their_digits(d, policy):
    """Of rows that were there, and of rows of a run that still brings the old type."""
    dated = with_fields(*(pa.field(f"v{n}", kind) for n, (kind, _, _) in enumerate(TIMES)))
    texts = with_fields(*(pa.field(f"v{n}", pa.string()) for n, _ in enumerate(TIMES)))
    loader = d.loader(policy=policy)
    values = {f"v{n}": value for n, (_, value, _) in enumerate(TIMES)}
    await d.load(loader, attempt(1), table(dated.schema, {"id": "there", "version": 1, **values}), contract=dated)
    late = table(dated.schema, {"id": "late", "version": 1, **values})
    staged = await d.stage(loader, attempt(2, number=2), late, contract=dated)
    await loader.prepare(texts)
    await staged.merge()
    found = {row["id"]: row for row in d.place.rows()}
    for n, (kind, _, text) in enumerate(TIMES):
        shown = text if policy == "text" else json.dumps(text)
        assert (found["there"][f"v{n}"], found["late"][f"v{n}"]) == (shown, shown), kind


async def test_a_number_that_is_none_stays_one(d):
    contract = with_fields(pa.field("x", pa.float64()))
    found = await loaded(d, contract, {"id": "a", "version": 1, "x": math.nan})
    assert math.isnan(found["a"]["x"])


async def test_json_is_a_variant_whose_paths_answer_f10(d, snowflake_place):
    contract = with_fields(json_field("doc"))
    text = json.dumps({"a": {"b": [1, {"c": "x"}]}, "big": 2**53 + 1, "s": "it's"})
    await loaded(d, contract, {"id": "a", "version": 1, "doc": text}, {"id": "b", "version": 1, "doc": "null"})
    asked = "SELECT doc:a.b[1].c::VARCHAR AS C, doc:big::NUMBER(38,0) AS BIG, doc:s::VARCHAR AS S FROM EVENTS"
    assert snowflake_place.query(f"{asked} WHERE ID = 'a'") == [{"c": "x", "big": 2**53 + 1, "s": "it's"}]
    assert snowflake_place.query("SELECT TYPEOF(DOC) AS T FROM EVENTS ORDER BY ID") == [
        {"t": "OBJECT"},
        {"t": "NULL_VALUE"},
    ]


@pytest.mark.parametrize("text", ["{", "", '{"s": "\\ud800"}', "[1, 2"])
async def test_what_is_no_json_is_refused_and_named_f10_f11(d, text):
    contract = with_fields(json_field("doc"))
    for settings in ({}, APPEND):
        loader = d.loader(**settings)
        items = table(contract.schema, {"id": "a", "version": 1, "doc": text}, {"id": "b", "version": 1})
        staged = await d.stage(loader, attempt(), items, contract=contract)
        with pytest.raises(ContractError, match="1 values of column doc"):
            await staged.merge()
    assert d.place.rows() == []


async def test_a_varchar_column_takes_json_as_the_text_that_came(d, snowflake_place):
    snowflake_place.query("CREATE TABLE EVENTS (ID VARCHAR, DOC VARCHAR)")
    contract = with_fields(json_field("doc"))
    text = '{"b": 1.000, "a":12345678901234567890123456789012345678901, "s": "\\ud800"}'
    found = await loaded(d, contract, {"id": "a", "version": 1, "doc": text})
    assert found["a"]["doc"] == text


async def test_equal_json_in_another_spelling_is_unchanged(d):
    contract, loader = with_fields(json_field("doc")), d.loader()
    for number, text in enumerate(('{"a": 1, "b": [2]}', '{"a":1,"b":[2]}', '{"a": 1, "b": [3]}'), 1):
        item = table(contract.schema, {"id": "a", "version": 1, "doc": text})
        later = SEEN + number * MINUTE
        receipt = await d.load(loader, attempt(number, number=number), (item, later), contract=contract)
        counts = receipt.counts
        assert (counts.inserted, counts.unchanged, counts.updated) == [(1, 0, 0), (0, 1, 0), (0, 0, 1)][number - 1]


NAMES = ["select", "order", "Group", "a b", 'with"quote', "semi;colon", "--x", "dot.ted", "é", "_1", "1st", "$1"]


PLAIN = [
    "SELECT_",
    "ORDER_",
    "GROUP_",
    "A_B",
    "WITH_QUOTE",
    "SEMI_COLON",
    "__X",
    "DOT_TED",
    "E",
    "_1",
    "_1ST",
    "_$1",
]


async def test_names_need_no_quotes_by_default(d, snowflake_place):
    contract = with_fields(*(pa.field(name, pa.string()) for name in NAMES))
    await loaded(d, contract, {"id": "a", "version": 1, **{name: name for name in NAMES}})
    [row] = snowflake_place.query(f"SELECT {', '.join(PLAIN).lower()} FROM events")
    assert list(row.values()) == NAMES


@pytest.mark.parametrize("rule", ["upper", "exact"])
async def test_any_name_is_a_column_x5(d, snowflake_place, rule):
    contract = with_fields(*(pa.field(name, pa.string()) for name in NAMES))
    await loaded(d, contract, {"id": "a", "version": 1, **{name: name for name in NAMES}}, names=rule)
    [row] = snowflake_place.query("SELECT * FROM EVENTS")
    called = dict(zip(NAMES, NAMES if rule == "exact" else PLAIN, strict=True))
    assert {name: row[called[name].lower()] for name in NAMES} == {name: name for name in NAMES}
    told = snowflake_place.query(
        "SELECT COLUMN_NAME AS N FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 'EVENTS'"
    )
    wanted = [*SCHEMA.names, *NAMES] if rule == "exact" else [*(name.upper() for name in SCHEMA.names), *PLAIN]
    own = ["_SLUICEWAY_RUN", "_SLUICEWAY_READ_AT", "_SLUICEWAY_LOADED_AT"]
    assert sorted(one["n"] for one in told) == sorted([*wanted, *own])


@pytest.mark.parametrize("pair", [("straße", "strasse"), ("a-b", "a.b"), ("é", "e"), ("row", "row_")])
async def test_names_that_become_one_are_refused_before_anything_is_touched(d, snowflake_place, pair):
    contract = with_fields(*(pa.field(name, pa.string()) for name in pair))
    with pytest.raises(ContractError, match=" and ".join(pair)):
        await d.loader().prepare(contract)
    assert snowflake_place.untouched()


@pytest.mark.parametrize("name", ["-sluiceway-run", "\u00a0sluiceway_x"])
async def test_a_name_that_becomes_one_of_ours_is_refused(d, name):
    with pytest.raises(ContractError, match="reserved"):
        await d.loader().prepare(with_fields(pa.field(name, pa.string())))


@pytest.mark.parametrize("mode", [APPEND, {}], ids=["append", "merge"])
async def test_runs_without_rows_of_two_pipelines_with_other_columns_do_not_meet(d, mode):
    """Both go into one target, and their stage tables begin with one name."""
    extra, other = (with_fields(pa.field(name, pa.string())) for name in ("extra", "other"))
    first, second = d.loader(**mode), d.loader(pipeline="q", **mode)
    staged = await d.stage(first, attempt(), contract=extra)
    theirs = await d.stage(second, attempt(pipeline="q"), contract=other)
    assert staged.table != theirs.table
    for one in (staged, theirs):
        assert (await one.merge()).counts.inserted == 0
        assert (await one.counts()).stage_rows == 0


async def test_of_equal_versions_the_same_one_is_taken_a_hundred_times_f15(d):
    many = [rows(*((f"k{n}", 1, 10 * file + copy) for n in range(100) for copy in (1, 2))) for file in (1, 2)]
    await d.load(d.loader(), attempt(), *many)
    assert d.values() == {f"k{n}": 22 for n in range(100)}


async def test_change_only_leaves_what_is_unchanged_alone(d):
    loader = d.loader(change_only=True)
    await d.load(loader, attempt(1), rows(("same", 1, 1), ("other", 1, 1)))
    before = d.row("same")
    receipt = await d.load(loader, attempt(2, number=2), (rows(("same", 1, 1), ("other", 2, 2)), SEEN + MINUTE))
    assert (receipt.counts.unchanged, receipt.counts.updated) == (1, 1)
    assert d.row("same") == before
    assert d.row("other")["value"] == 2


@pytest.mark.parametrize("version", [1, None])
async def test_change_only_takes_no_older_look_for_a_newer_one_at_an_equal_version(d, version):
    """What was left alone has forgotten its look: where the data differ at one version, no run can tell which is
    newer."""
    loader = d.loader(change_only=True)
    for number, minutes in enumerate((0, 10), 1):
        look = (rows(("a", version, 1), ("b", version, 1)), SEEN + minutes * MINUTE)
        await d.load(loader, attempt(number, number=number), look)
    between = (rows(("a", version, 99), ("b", version, 1), ("c", version, 1)), SEEN + 5 * MINUTE)
    staged = await d.stage(loader, attempt(3, number=3), between)
    with pytest.raises(ContractError, match=r"1 rows .* VERSION"):
        await staged.merge()
    assert d.values() == {"a": 1, "b": 1}
    before = (rows(("a", version, 99)), SEEN - MINUTE)
    assert (await d.load(loader, attempt(4, number=4), before)).counts.older == 1
    assert d.values() == {"a": 1, "b": 1}


async def test_a_transform_is_taken_in_place_of_the_stage(d):
    doubled = (
        'SELECT "ID", "AT", "VERSION", "VALUE" * 2 AS "VALUE", "_SLUICEWAY_READ_AT", "_SLUICEWAY_FILE",'
        ' "_SLUICEWAY_ROW" FROM {stage}'
    )
    staged = await d.stage(d.loader(transform=doubled, trust="user_sql"), attempt(), rows(("a", 1, 21)))
    await staged.merge()
    assert d.values() == {"a": 42}
    assert (await staged.counts()).target_rows == 1


async def test_a_transform_that_loses_rows_is_refused(d):
    for settings in ({}, APPEND):
        loader = d.loader(transform='SELECT * FROM {stage} WHERE "VALUE" > 1', trust="user_sql", **settings)
        staged = await d.stage(loader, attempt(), rows(("a", 1, 1), ("b", 1, 2)))
        with pytest.raises(ContractError, match="1 rows of the 2"):
            await staged.merge()
    assert d.values() == {}


ALL = '"ID", "AT", "VERSION", "VALUE", "_SLUICEWAY_READ_AT", "_SLUICEWAY_FILE", "_SLUICEWAY_ROW"'
LOSING = {
    "a row for another": f"SELECT {ALL} FROM {{stage}} WHERE \"ID\" = 'b'"
    f' UNION ALL SELECT {ALL} FROM {{stage}} WHERE "ID" = \'b\' AND "VERSION" = 1',
    "a version for another": f'SELECT {ALL} FROM {{stage}} WHERE "VERSION" = 1'
    f' UNION ALL SELECT {ALL} FROM {{stage}} WHERE "ID" = \'b\' AND "VERSION" = 1',
}


@pytest.mark.parametrize("settings", [{}, APPEND], ids=["merge", "append"])
@pytest.mark.parametrize("name", LOSING)
async def test_a_transform_that_loses_a_row_and_gives_another_twice_is_refused(d, name, settings):
    loader = d.loader(transform=LOSING[name], trust="user_sql", **settings)
    staged = await d.stage(loader, attempt(), rows(("a", 1, 1), ("b", 1, 2), ("b", 2, 3)))
    with pytest.raises(ContractError, match="loses 1 rows"):
        await staged.merge()
    assert d.values() == {}


async def test_a_transform_that_loses_a_key_is_refused(d):
    other_key = ALL.replace('"ID"', "'b' AS ID")
    loader = d.loader(transform=f"SELECT {other_key} FROM {{stage}}", trust="user_sql")
    staged = await d.stage(loader, attempt(), rows(("a", 1, 1), ("b", 1, 2)))
    with pytest.raises(ContractError, match="loses 1 rows"):
        await staged.merge()
    assert d.values() == {}
