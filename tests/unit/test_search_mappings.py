"""The contract from the mappings of all matching indices."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pyarrow as pa
import pytest
import yaml
from aiohttp import web

from connectors.elasticsearch.catalog import target
from connectors.elasticsearch.columns import cursor_field, decoder
from connectors.elasticsearch.fields import MICROS, NANOS, UNSIGNED
from connectors.elasticsearch.mappings import require_source, union
from connectors.elasticsearch.settings import Columns, ElasticsearchSettings
from state.contract import is_json
from state.errors import ConfigurationError, ContractError, PermanentError, TransientError
from state.model import Window
from tests.unit.search_script import DAY, SearchScript, connected, documents, read

AT = {"type": "date"}


def settings(columns: dict | None = None, **more) -> ElasticsearchSettings:
    given = {"type": "elasticsearch", "endpoint": "http://localhost:9200", "index": "ev*", "cursor": "at"}
    return ElasticsearchSettings(**{**given, "columns": columns or {}, **more})


def indices(*properties: dict) -> dict:
    """One index `i0`, `i1`, … per mapping; each with the cursor."""
    return {f"i{n}": {"mappings": {"properties": {"at": AT, **one}}} for n, one in enumerate(properties)}


def schema(columns: dict | None, *properties: dict, **more) -> dict[str, object]:
    """Column → type, `json` for JSON text."""
    made = decoder(settings(columns, **more), union(indices(*properties))).schema
    return {field.name: "json" if is_json(field) else field.type for field in made}


TREE = {"a": {"properties": {"b": {"type": "long"}, "c": {"properties": {"d": {"type": "keyword"}}}}}}


def test_columns_are_the_meta_columns_of_the_key_and_then_the_fields_by_name():
    found = schema(None, {"z": {"type": "keyword"}, "b": {"type": "long"}})
    assert list(found.items()) == [("_id", pa.string()), ("at", MICROS), ("b", pa.int64()), ("z", pa.string())]


def test_the_union_of_all_indices_is_read_e17():
    assert {"x", "y"} <= schema(None, {"x": {"type": "long"}}, {"y": {"type": "boolean"}}).keys()


@pytest.mark.parametrize(
    ("one", "other", "joined"),
    [
        ("byte", "long", pa.int64()),
        ("integer", "short", pa.int32()),
        ("long", "unsigned_long", UNSIGNED),
        ("keyword", "text", pa.string()),
        ("float", "double", pa.float64()),
        ("half_float", "scaled_float", pa.float64()),
        ("date", "date_nanos", NANOS),
        ("date_nanos", "date", NANOS),
        ("geo_point", "nested", "json"),
        ("alias", "long", pa.int64()),
    ],
)
def test_types_that_one_column_holds_without_loss_are_joined_e17(one, other, joined):
    assert schema(None, {"x": {"type": one}}, {"x": {"type": other}})["x"] == joined


CONFLICTS = [
    ({"type": "long"}, {"type": "text"}, pa.string()),
    ({"type": "long"}, {"type": "double"}, pa.string()),
    ({"type": "keyword"}, {"properties": {"y": {"type": "long"}}}, "json"),
    ({"type": "boolean"}, {"type": "geo_point"}, "json"),
    ({"type": "date"}, {"type": "date", "format": "yyyy/MM/dd"}, pa.string()),
    ({"type": "date", "format": "epoch_second"}, {"type": "date", "format": "epoch_millis"}, pa.string()),
]


@pytest.mark.parametrize(("one", "other", "text"), CONFLICTS)
def test_a_conflict_is_settled_by_the_declared_policy_e17(one, other, text):
    pair = ({"x": one}, {"x": other})
    assert schema({"conflicts": "json"}, *pair)["x"] == "json"
    assert schema({"conflicts": "text"}, *pair)["x"] == text
    with pytest.raises(ContractError, match="field 'x'") as caught:
        schema(None, *pair)
    assert "i0" in caught.value.message
    assert "i1" in caught.value.message
    assert caught.value.code == "mapping_conflict"


def test_a_conflict_that_the_operator_settled_by_a_type_is_none():
    pair = ({"x": {"type": "long"}}, {"x": {"type": "text"}})
    assert schema({"types": {"x": "double"}}, *pair)["x"] == pa.float64()


def test_a_conflict_in_a_field_that_is_not_read_does_not_matter():
    pair = ({"x": {"type": "long"}}, {"x": {"type": "text"}})
    assert "x" not in schema({"exclude": ["x"]}, *pair)


def test_the_same_date_format_everywhere_is_none_and_is_kept():
    one = {"x": {"type": "date", "format": "yyyy/MM/dd"}}
    assert schema(None, one, one)["x"] == MICROS


def test_objects_are_json_columns_unless_flattened():
    assert schema(None, TREE)["a"] == "json"
    flat = schema({"objects": "flatten"}, TREE)
    assert (flat["a.b"], flat["a.c.d"]) == (pa.int64(), pa.string())
    assert not {"a", "a.c"} & flat.keys()


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "nested", "properties": {"b": {"type": "long"}}},
        {"type": "flattened"},
        {"type": "object"},
        {"type": "object", "enabled": False, "properties": {}},
    ],
)
def test_what_has_no_fields_of_its_own_is_json_even_when_flattened(entry):
    found = schema({"objects": "flatten"}, {"a": entry})
    assert found["a"] == "json"
    assert "a.b" not in found


def test_an_object_that_another_index_holds_as_a_value_is_not_flattened():
    found = schema({"objects": "flatten", "conflicts": "json"}, TREE, {"a": {"type": "keyword"}})
    assert found["a"] == "json"
    assert "a.b" not in found


def test_a_flattened_object_may_stay_json_by_its_type():
    found = schema({"objects": "flatten", "types": {"a.c": "json"}}, TREE)
    assert (found["a.c"], found["a.b"]) == ("json", pa.int64())
    assert "a.c.d" not in found


def test_field_names_with_dots_are_paths():
    found = schema({"objects": "flatten"}, {"a.b": {"type": "long"}})
    assert found["a.b"] == pa.int64()


def test_a_field_inside_an_object_can_be_a_column_beside_it():
    found = schema({"include": ["a", "a.b", "at"]}, TREE)
    assert (found["a"], found["a.b"]) == ("json", pa.int64())


def test_a_cursor_inside_an_object_is_a_column():
    tree = {"e": {"properties": {"t": {"type": "date_nanos"}}}}
    assert schema(None, tree, cursor="e.t")["e.t"] == NANOS


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ({"include": ["x*"]}, {"_id", "at", "x1", "x2"}),
        ({"include": ["x1"]}, {"_id", "at", "x1"}),
        ({"exclude": ["x*"]}, {"_id", "at", "y"}),
        ({"include": ["x*"], "exclude": ["*2"]}, {"_id", "at", "x1"}),
        ({"exclude": ["*"]}, {"_id", "at"}),
    ],
)
def test_include_and_exclude_and_the_cursor_stays(columns, names):
    fields = {name: {"type": "long"} for name in ("x1", "x2", "y")}
    assert schema(columns, fields).keys() == names


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ({"objects": "flatten", "include": ["a"]}, {"_id", "at", "a.b", "a.c.d"}),
        ({"objects": "flatten", "include": ["a.c"]}, {"_id", "at", "a.c.d"}),
        ({"objects": "flatten", "exclude": ["a.c"]}, {"_id", "at", "a.b"}),
        ({"objects": "flatten", "exclude": ["a.*.d"]}, {"_id", "at", "a.b"}),
    ],
)
def test_a_pattern_for_an_object_is_for_what_is_in_it(columns, names):
    assert schema(columns, TREE).keys() == names


def test_rename_and_types():
    columns = {"rename": {"x": "renamed"}, "types": {"x": "keyword"}}
    assert schema(columns, {"x": {"type": "long"}})["renamed"] == pa.string()


def test_a_renamed_cursor_is_named_by_its_column():
    columns = {"rename": {"at": "seen_at"}}
    assert schema(columns, {}, cursor="seen_at")["seen_at"] == MICROS
    assert cursor_field(settings(columns, cursor="seen_at")) == "at"
    with pytest.raises(ConfigurationError, match="cursor at"):
        schema(columns, {})


def test_properties_of_the_hit_are_columns_on_request():
    made = schema({"meta": ["_seq_no", "_index", "_version"]}, {})
    assert list(made.items())[:4] == [
        ("_id", pa.string()),
        ("_index", pa.string()),
        ("_seq_no", pa.int64()),
        ("_version", pa.int64()),
    ]
    assert "_id" not in schema(None, {"k": {"type": "keyword"}}, key=["k"])


@pytest.mark.parametrize(
    ("columns", "more", "path", "named"),
    [
        (None, {"cursor": "att"}, "source_system.cursor", "Did you mean at?"),
        (None, {"key": ["_id", "nope"]}, "source_system.key", "nope"),
        (None, {"cursor": "n"}, "source_system.cursor", "long"),
        (None, {"cursor": "_id", "key": ["_id"]}, "source_system.cursor", "of the hit"),
        ({"include": ["nope*"]}, {}, "source_system.columns.include", "nope*"),
        ({"include": ["a.*"]}, {}, "source_system.columns.include", "flatten"),
        ({"exclude": ["a.b"]}, {}, "source_system.columns.exclude", "a.b"),
        ({"rename": {"nope": "x"}}, {}, "source_system.columns.rename", "nope"),
        ({"types": {"nope": "long"}}, {}, "source_system.columns.types", "nope"),
        ({"types": {"n": "lnog"}}, {}, "source_system.columns.types.n", "lnog"),
        ({"types": {"at": "keyword"}}, {}, "source_system.cursor", "date"),
        ({"rename": {"n": "_sluiceway_n"}}, {}, "source_system.columns.rename", "_sluiceway_n"),
        ({"rename": {"n": "at"}}, {}, "", "two columns of one name: at"),
        ({"on_bad_value": {"nope": "null"}}, {}, "", "nope"),
    ],
)
def test_what_is_configured_wrong_is_named_with_its_path(columns, more, path, named):
    with pytest.raises(ConfigurationError) as caught:
        schema(columns, {"n": {"type": "long"}, **TREE}, **more)
    assert named in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.path == path


def test_a_cursor_with_a_null_value_is_refused():
    mappings = {"i": {"mappings": {"properties": {"at": {"type": "date", "null_value": "2000-01-01"}}}}}
    with pytest.raises(ConfigurationError, match="null_value"):
        decoder(settings(), union(mappings))


def test_a_cursor_that_is_a_date_in_one_index_only_is_refused_e15():
    mappings = {
        "i0": {"mappings": {"properties": {"at": AT}}},
        "i1": {"mappings": {"properties": {"at": {"type": "keyword"}}}},
    }
    with pytest.raises(ConfigurationError, match="date, keyword"):
        decoder(settings({"types": {"at": "date"}}), union(mappings))


def test_an_index_without_any_mapping_adds_nothing():
    assert "at" in schema(None, {}) | {}
    assert union({"i": {"mappings": {}}}) == {}


@pytest.mark.parametrize("column", ["at", "_id", "k"])
def test_a_null_policy_for_the_cursor_or_the_key_is_refused(column):
    with pytest.raises(ValueError, match="cannot be null"):
        settings({"on_bad_value": {column: "null"}}, key=["_id", "k"])


@pytest.mark.parametrize(
    ("source", "mode"),
    [
        ({"enabled": False}, "stored"),
        ({"mode": "synthetic"}, "stored"),
        ({"mode": "disabled"}, "stored"),
        ({}, "synthetic"),
        ({"excludes": ["big"]}, "stored"),
        ({"includes": ["small*"]}, "stored"),
    ],
)
def test_an_index_that_does_not_keep_its_documents_is_refused_e18(source, mode):
    with pytest.raises(ConfigurationError, match="index i0") as caught:
        require_source({"i0": {"mappings": {"_source": source}}}, {"i0": mode})
    assert caught.value.code == "source_mode"


def test_a_stored_source_is_fine_even_where_the_index_mode_makes_it_up_e18():
    require_source({"i0": {"mappings": {"_source": {"mode": "stored"}}}}, {"i0": "synthetic"})
    require_source({"i0": {"mappings": {}}}, {"i0": "stored"})


@pytest.mark.parametrize(
    "given", [{"index.mode": "logsdb"}, {"index.mode": "time_series"}, {"index.mapping.source.mode": "synthetic"}]
)
async def test_synthetic_source_by_index_settings_is_refused_e18(given):
    async with connected(SearchScript(documents(1), settings=given)) as connector:
        with pytest.raises(ConfigurationError, match="synthetic"):
            await connector.contract()


async def test_an_index_that_never_refreshes_is_refused_e13():
    script = SearchScript(documents(1), settings={"index.refresh_interval": "-1"})
    async with connected(script) as connector:
        with pytest.raises(ConfigurationError) as caught:
            await connector.contract()
        checks = await connector.check()
    assert caught.value.code == "refresh_interval"
    assert [(check.name, check.ok) for check in checks][-1] == ("source_system.index", False)


async def test_a_pattern_that_matches_nothing_is_refused():
    async with connected(SearchScript(documents(1), indices=[])) as connector:
        with pytest.raises(ConfigurationError, match="names no index"):
            await connector.contract()


@pytest.mark.parametrize(("policy", "word"), [("error", "false"), ("ignore", "true")])
def test_missing_indices_are_an_error_unless_ignored_e16(policy, word):
    where = target("a-*,<b-{now/d}>", settings(missing_indices=policy), "_mapping")
    assert where == (
        f"/a-*,%3Cb-%7Bnow%2Fd%7D%3E/_mapping?ignore_unavailable={word}&allow_no_indices={word}&expand_wildcards=open"
    )


async def test_an_index_that_goes_between_settings_and_mappings_is_noticed_e16():
    script = SearchScript(documents(1), indices=["ev1", "ev2"])
    script.at("mapping", 1, lambda answer: {"ev1": answer["ev1"]})
    async with connected(script, index="ev*") as connector:
        with pytest.raises(PermanentError, match="ev2"):
            await connector.contract()


async def test_the_contract_names_cursor_key_and_exact_types():
    async with connected(SearchScript(documents(1))) as connector:
        contract = await connector.contract()
        assert await connector.contract() == contract
    assert (contract.cursor, contract.key) == ("at", ("_id",))
    assert contract.schema.names == ["_id", "at", "n"]


async def test_an_answer_that_is_no_json_is_transient():
    script = SearchScript(documents(1))
    script.at("mapping", 1, lambda _: web.Response(text="<html>"))
    async with connected(script) as connector:
        with pytest.raises(TransientError, match="no JSON object"):
            await connector.contract()


async def test_window_edges_inside_a_millisecond_are_refused_for_dates_but_not_for_date_nanos_e15():
    span = Window(DAY, datetime(2025, 1, 1, 0, 0, 1, 500, tzinfo=UTC))
    async with connected(SearchScript(documents(2))) as connector:
        with pytest.raises(ConfigurationError, match="millisecond"):
            await read(connector, span)
    script = SearchScript(documents(2), mapping={"at": {"type": "date_nanos"}, "n": {"type": "long"}})
    async with connected(script) as connector:
        assert sorted(await read(connector, span)) == [0, 1]


async def test_the_range_is_absolute_half_open_with_its_format_and_where_e15():
    script = SearchScript(documents(2))
    async with connected(script, where={"term": {"kind": "order"}}) as connector:
        await read(connector, Window(DAY, DAY + timedelta(hours=1)))
    bounds = {
        "gte": "2025-01-01T00:00:00.000000Z",
        "lt": "2025-01-01T01:00:00.000000Z",
        "format": "strict_date_optional_time_nanos",
    }
    wanted = {"bool": {"filter": [{"range": {"at": bounds}}, {"term": {"kind": "order"}}]}}
    assert {str(body["query"]) for body in [*script.bodies("count"), *script.bodies("page")]} == {str(wanted)}


def test_keep_alive_must_outlive_a_request_e5():
    with pytest.raises(ValueError, match="above request_timeout_seconds"):
        settings(keep_alive_seconds=60, request_timeout_seconds=60)
    assert settings(keep_alive_seconds=61, request_timeout_seconds=60)


def test_every_key_that_the_template_shows_as_a_comment_is_valid():
    template = files("service") / "templates" / "source_search.yaml"
    text = template.read_text().replace("{source_type}", "opensearch")
    shown = yaml.safe_load(re.sub(r"^(  )# ?", r"\1", text, flags=re.MULTILINE))["source_system"]
    assert ElasticsearchSettings(**shown).columns.meta == ("_index", "_seq_no")
    assert shown.keys() == ElasticsearchSettings.model_fields.keys()
    assert shown["columns"].keys() == Columns.model_fields.keys()
