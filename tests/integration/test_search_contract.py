"""The contract out of real mappings: aliases, wildcards, conflicts, objects, what is refused (E-13 to E-18)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from state.contract import is_json
from state.errors import ConfigurationError, ContractError
from tests.integration.source import DAY, PROPERTIES, contract, events, read, reader, types
from tests.servers.client import Client

AT = "2025-11-15T10:00:00Z"


@pytest.fixture(scope="module")
def family(server) -> str:
    """Prefix of two indices where `value` is a long in one and text in the other; `tag` lies in one alone."""
    prefix = f"family{uuid4().hex[:8]}"
    client: Client = server.client
    one = client.new_index(
        {**PROPERTIES, "value": {"type": "long"}, "tag": {"type": "keyword"}}, name=f"{prefix}-a"
    )
    two = client.new_index({**PROPERTIES, "value": {"type": "text"}}, name=f"{prefix}-b")
    client.put(one, {"a": {"at": AT, "n": 1, "value": 7, "tag": "x"}})
    client.put(two, {"b": {"at": AT, "n": 2, "value": "seven"}})
    return prefix


async def test_a_field_with_two_types_is_refused_and_named_with_its_indices_row23_e17(server, family):
    with pytest.raises(ContractError) as refused:
        await contract(server.url, f"{family}-*")
    for word in ("'value'", "long in", "text in", f"{family}-a", f"{family}-b"):
        assert word in refused.value.message
    assert "conflicts" in refused.value.hint


async def test_a_field_with_two_types_becomes_text_if_the_policy_says_so_e17(server, family):
    async with reader(server.url, f"{family}-*", columns={"conflicts": "text"}) as source:
        got = await read(source)
        assert types(await source.contract())["value"] == "string"
    assert sorted((row["_id"], row["value"], row["tag"]) for row in got.rows) == [
        ("a", "7", "x"),
        ("b", "seven", None),
    ]


async def test_a_field_with_two_types_becomes_json_if_the_policy_says_so_e17(server, family):
    async with reader(server.url, f"{family}-*", columns={"conflicts": "json"}) as source:
        got = await read(source)
        assert is_json((await source.contract()).schema.field("value"))
    assert sorted((row["_id"], row["value"]) for row in got.rows) == [("a", "7"), ("b", '"seven"')]


async def test_an_operators_type_settles_a_conflict_for_one_field(server, family):
    async with reader(server.url, f"{family}-*", columns={"types": {"value": "keyword"}}) as source:
        got = await read(source)
    assert sorted(row["value"] for row in got.rows) == ["7", "seven"]


async def test_an_alias_reads_all_its_indices(server, family):
    alias = f"alias{uuid4().hex[:8]}"
    actions = [{"add": {"index": f"{family}-*", "alias": alias}}]
    server.client.call("POST", "/_aliases", {"actions": actions})
    async with reader(server.url, alias, columns={"exclude": ["value"]}) as source:
        got = await read(source)
        assert await source.count(DAY) == 2
    assert sorted(got.ids) == ["a", "b"]


async def test_the_filter_of_an_alias_is_kept_in_counts_and_pages(server):
    index, alias = server.client.new_index(PROPERTIES, shards=2), f"alias{uuid4().hex[:8]}"
    server.client.put(index, events(100))
    add = {"index": index, "alias": alias, "filter": {"range": {"n": {"lt": 30}}}}
    server.client.call("POST", "/_aliases", {"actions": [{"add": add}]})
    async with reader(server.url, alias, page_rows=7) as source:
        got = await read(source)
        assert await source.count(DAY) == 30
    assert sorted(row["n"] for row in got.rows) == list(range(30))


async def test_properties_of_the_hit_are_columns_on_request(server, family):
    columns = {"exclude": ["value"], "meta": ["_index", "_seq_no"]}
    async with reader(server.url, f"{family}-*", columns=columns) as source:
        got = await read(source)
        declared = types(await source.contract())
    assert (declared["_id"], declared["_index"], declared["_seq_no"]) == ("string", "string", "int64")
    assert sorted((row["_id"], row["_index"][:-13], row["_seq_no"]) for row in got.rows) == [
        ("a", f"{family}-a", 0),
        ("b", f"{family}-b", 0),
    ]


async def test_a_seq_no_is_the_documents_own(server):
    index = server.client.new_index(PROPERTIES)
    for n in range(3):
        server.client.put(index, {"same": {"at": AT, "n": n}})
    server.client.put(index, {"other": {"at": AT, "n": 9}})
    async with reader(server.url, index, columns={"meta": ["_seq_no"]}) as source:
        got = await read(source)
    assert {row["_id"]: (row["_seq_no"], row["n"]) for row in got.rows} == {"same": (2, 2), "other": (3, 9)}


async def test_mapped_types_become_exact_columns(server):
    simple = ["keyword", "text", "long", "integer", "short", "byte", "double", "float", "boolean", "ip", "binary"]
    properties = {"at": {"type": "date"}, "ns": {"type": "date_nanos"}, "geo": {"type": "geo_point"}}
    index = server.client.new_index(properties | {f"f_{name}": {"type": name} for name in simple})
    of = await contract(server.url, index)
    assert types(of) == {
        "_id": "string",
        "at": "timestamp[us, tz=UTC]",
        "ns": "timestamp[ns, tz=UTC]",
        "geo": "string",
        "f_keyword": "string",
        "f_text": "string",
        "f_long": "int64",
        "f_integer": "int32",
        "f_short": "int16",
        "f_byte": "int8",
        "f_double": "double",
        "f_float": "double",
        "f_boolean": "bool",
        "f_ip": "string",
        "f_binary": "string",
    }
    assert [field.name for field in of.schema if is_json(field)] == ["geo"]
    assert (of.cursor, of.key) == ("at", ("_id",))


NESTED = {
    "user": {"properties": {"name": {"type": "keyword"}, "home": {"properties": {"city": {"type": "keyword"}}}}},
    "items": {"type": "nested", "properties": {"sku": {"type": "keyword"}}},
}
PERSON = '{"name":"Zoë","home":{"city":"Köln"},"unmapped":[1,{"x":1.50}]}'
DOCUMENT = f'{{"at":"{AT}","n":1,"user":{PERSON},"items":[{{"sku":"a"}},{{"sku":"b"}}]}}'


async def test_objects_are_json_exactly_as_they_came(server):
    index = server.client.new_index(PROPERTIES | NESTED, dynamic=False)
    server.client.put(index, {"one": DOCUMENT})
    async with reader(server.url, index) as source:
        got = await read(source)
        assert is_json((await source.contract()).schema.field("user"))
    [row] = got.rows
    assert row["user"] == PERSON
    assert json.loads(row["items"]) == [{"sku": "a"}, {"sku": "b"}]


async def test_objects_are_flattened_on_request_and_lists_of_objects_stay_json(server):
    index = server.client.new_index(PROPERTIES | NESTED, dynamic=False)
    server.client.put(index, {"one": DOCUMENT})
    async with reader(server.url, index, columns={"objects": "flatten"}) as source:
        got = await read(source)
    [row] = got.rows
    assert (row["user.name"], row["user.home.city"]) == ("Zoë", "Köln")
    assert json.loads(row["items"]) == [{"sku": "a"}, {"sku": "b"}]


async def test_columns_are_chosen_and_renamed(server):
    index = server.client.new_index(PROPERTIES | NESTED)
    columns = {"include": ["at", "n", "user"], "exclude": ["user"], "rename": {"n": "number"}}
    assert list(types(await contract(server.url, index, columns=columns))) == ["_id", "at", "number"]


async def test_date_and_date_nanos_are_one_column_and_no_digit_is_lost_e15(server):
    prefix = f"dates{uuid4().hex[:8]}"
    client: Client = server.client
    one = client.new_index(PROPERTIES, name=f"{prefix}-a")
    two = client.new_index({"at": {"type": "date_nanos"}, "n": {"type": "long"}}, name=f"{prefix}-b")
    client.put(one, {"a": {"at": "2025-11-15T10:00:00.123Z", "n": 1}})
    client.put(two, {"b": {"at": "2025-11-15T10:00:00.123456789Z", "n": 2}})
    async with reader(server.url, f"{prefix}-*") as source:
        assert types(await source.contract())["at"] == "timestamp[ns, tz=UTC]"
        got = await read(source)
        assert await source.count(DAY) == got.count == 2
    assert {row["_id"]: row["at"].value % 10**9 for row in got.rows} == {"a": 123_000_000, "b": 123_456_789}


async def test_documents_without_a_cursor_are_not_in_any_range_and_no_error_e15(server):
    index = server.client.new_index(PROPERTIES)
    server.client.put(index, {"dated": {"at": AT, "n": 1}, "undated": {"n": 2}, "null": {"at": None, "n": 3}})
    async with reader(server.url, index) as source:
        got = await read(source)
    assert got.ids == ["dated"]


async def test_cursors_in_other_formats_are_cut_right(server):
    """Bounds are sent in a format of their own, whatever the field's is."""
    seconds = {"type": "date", "format": "epoch_second"}
    index = server.client.new_index({"at": seconds, "n": {"type": "long"}})
    last = int(DAY.end.timestamp())
    server.client.put(index, {"in": {"at": last - 1, "n": 1}, "out": {"at": last, "n": 2}})
    async with reader(server.url, index) as source:
        got = await read(source)
    assert got.ids == ["in"]
    assert got.rows[0]["at"] == datetime.fromtimestamp(last - 1, UTC)


@pytest.mark.parametrize(
    "source_setting",
    [{"enabled": False}, {"excludes": ["n"]}],
    ids=["disabled", "pruned"],
)
async def test_an_index_that_does_not_keep_its_documents_is_refused_e18(server, source_setting):
    index = server.client.new_index(PROPERTIES, _source=source_setting)
    with pytest.raises(ConfigurationError, match=index) as refused:
        await contract(server.url, index)
    assert refused.value.code == "source_mode"
    async with reader(server.url, index) as source:
        assert any(
            not check.ok and "_source" in check.found + check.name + check.hint for check in await source.check()
        )


async def test_an_index_that_never_refreshes_is_refused_e13(server):
    index = server.client.new_index(PROPERTIES)
    server.client.call("PUT", f"/{index}/_settings", {"index": {"refresh_interval": "-1"}})
    with pytest.raises(ConfigurationError, match="refresh"):
        await contract(server.url, index)
    async with reader(server.url, index) as source:
        assert any(not check.ok and "refresh" in check.found + check.name for check in await source.check())


@pytest.mark.parametrize("index", ["no-such-index", "no-such-*"])
async def test_an_index_that_does_not_exist_is_a_configuration_error_e16(server, index):
    with pytest.raises(ConfigurationError, match=index.replace("*", r"\*")) as refused:
        await contract(server.url, index)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"cursor": "nowhere"}, "nowhere"),
        ({"cursor": "n"}, "n"),
        ({"key": ["nokey"]}, "nokey"),
        ({"columns": {"types": {"nofield": "long"}}}, "nofield"),
        ({"columns": {"include": ["nopattern*"]}}, "nopattern"),
    ],
)
async def test_a_setting_that_names_no_fitting_field_is_a_configuration_error(server, settings, word):
    index = server.client.new_index(PROPERTIES)
    with pytest.raises(ConfigurationError, match=word):
        await contract(server.url, index, **settings)


async def test_every_check_of_a_healthy_source_is_good_and_writes_nothing(server):
    index = server.client.new_index(PROPERTIES)
    server.client.put(index, events(3))
    before = server.client.call("GET", "/_cat/indices?format=json&h=index,docs.count")
    async with reader(server.url, index) as source:
        checks = await source.check()
    assert checks
    assert [check for check in checks if not check.ok] == []
    assert server.release.version in " ".join(check.found for check in checks)
    after = server.client.call("GET", "/_cat/indices?format=json&h=index,docs.count")
    assert sorted(map(str, after)) == sorted(map(str, before))


async def test_checks_of_a_source_that_is_not_there_are_answers_and_no_error():
    async with reader("http://127.0.0.1:9", "events") as source:
        checks = await source.check()
    assert [check.ok for check in checks][:1] == [False]
    assert checks[0].hint
