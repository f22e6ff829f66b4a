"""Search hits into columns: E-12, E-17, F-10, F-11, F-12."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from connectors.elasticsearch.decode import Decoder
from connectors.elasticsearch.fields import FieldSpec, arrow_type
from state.contract import is_json
from state.errors import ConfigurationError, ContractError, TransientError


def field(path, es_type, column=None, **mapping):
    type_, as_json, formats = arrow_type(es_type, mapping)
    return FieldSpec(column or path, tuple(path.split(".")), es_type, formats, type_, as_json)


def hit(source, i=0, **more):
    text = source if isinstance(source, str | bytes) else json.dumps(source)
    text = text.encode() if isinstance(text, str) else text
    head = json.dumps({"_index": "logs-1", "_id": f"d{i}", "_seq_no": i, "sort": [i]} | more)
    return head[:-1].encode() + b',"_source":' + text + b"}"


def page(*sources, **more):
    hits = b",".join(hit(source, i) for i, source in enumerate(sources))
    head = {"took": 3, "timed_out": False, "pit_id": "PIT", "_shards": {"total": 1, "successful": 1, "failed": 0}}
    return json.dumps(head | more)[:-1].encode() + b',"hits":{"hits":[' + hits + b"]}}"


def column(spec, *sources, policy="error"):
    """Values of one column, the page read at once and document by document: both must agree."""
    decoder = Decoder([spec], on_bad_value=policy)
    whole = decoder.decode(page(*sources)).batch.column(spec.column)
    for i, source in enumerate(sources):
        assert decoder.decode(page(source)).batch.column(spec.column)[0].equals(whole[i])
    return whole.to_pylist()


def test_a_page_becomes_a_batch_under_the_declared_schema():
    decoder = Decoder([field("n", "long"), field("s", "keyword"), field("o", "object")], meta=("_id", "_seq_no"))
    got = decoder.decode(page({"n": 1, "s": "x", "o": {"k": 1}, "other": [1]}, {"s": None}))
    assert got.batch.schema.equals(decoder.schema, check_metadata=True)
    assert got.batch.to_pylist() == [
        {"_id": "d0", "_seq_no": 0, "n": 1, "s": "x", "o": '{"k": 1}'},
        {"_id": "d1", "_seq_no": 1, "n": None, "s": None, "o": None},
    ]
    assert is_json(decoder.schema.field("o"))
    assert (got.last_sort, got.envelope.pit_id, got.envelope.shards.successful, got.touched) == (
        b"[1]",
        "PIT",
        1,
        {},
    )


def test_an_empty_page_has_the_schema_and_no_sort():
    decoder = Decoder([field("n", "long"), field("o", "object")])
    got = decoder.decode(page())
    assert (got.batch.num_rows, got.last_sort) == (0, None)
    assert got.batch.schema.equals(decoder.schema, check_metadata=True)


def test_json_columns_keep_the_text_f10():
    text = '{"big": 1234567890123456789012345678901234567890, "f": 1.10, "s":"\\/\\u00e9" ,"l":[ 1,2 ]}'
    documents = [f'{{"o": {text} }}', '{"o":[1,{"a":2}]}', '{"o":"x"}', '{"o":1e400}', '{"o":null}', "{}"]
    assert column(field("o", "object"), *documents) == [text, '[1,{"a":2}]', '"x"', "1e400", None, None]


@pytest.mark.parametrize("bad", ["1.5", '"abc"', "[1,2]", "true", '{"a":1}', "2147483648"])
def test_a_value_that_does_not_fit_is_named_e17(bad):
    good = [{"n": 1}] * 40
    with pytest.raises(ContractError) as error:
        Decoder([field("n", "integer")]).decode(page(*good, f'{{"n":{bad}}}', *good))
    assert "d40" in error.value.message and "logs-1" in error.value.message and "'n'" in error.value.message
    assert "`types`" in error.value.hint and "`on_bad_value`" in error.value.hint


def test_a_bad_value_is_null_and_counted_where_declared_e17():
    decoder = Decoder([field("n", "integer"), field("m", "integer")], on_bad_value={"n": "null"})
    got = decoder.decode(page({"n": 1.5, "m": 1}, {"n": "x", "m": 2}, {"n": 3, "m": 3}))
    assert got.batch.column("n").to_pylist() == [None, None, 3]
    assert got.touched == {"n": 2}
    with pytest.raises(ContractError, match="'m'"):
        decoder.decode(page({"n": 1, "m": "x"}))


@pytest.mark.parametrize("many", [0, 100])
def test_a_document_with_a_value_to_quarantine_is_set_aside_whole_m14(many):
    fields = [field("n", "integer"), field("at", "date"), field("s", "keyword")]
    decoder = Decoder(fields, on_bad_value={"n": "quarantine", "s": "null"}, cursor="at")
    good = [{"n": 1, "at": "2013-01-01T10:00:00Z", "s": ["x"]}] * many
    bad = '{"n": "7 or 8", "at":"2013-01-01T10:30:00Z", "s":["a","b"]}'
    got = decoder.decode(page(*good, bad, {"n": 2, "s": [["y"], "z"]}, *good))
    assert got.batch.column("n").to_pylist() == [*[1] * many, 2, *[1] * many]
    assert got.touched == {"s": 2 * many + 1}
    [row] = got.quarantined.to_pylist()
    assert (row["bad_column"], row["bad_value"], row["reason"]) == (
        "n; s",
        '"7 or 8"; ["a","b"]',
        "not a number; several values for one column",
    )
    assert row["row_text"] == f'{{"_index": "logs-1", "_id": "d{many}", "_source": {bad}}}'
    assert row["row_cursor"] == datetime(2013, 1, 1, 10, 30, tzinfo=UTC)


def test_a_column_of_text_holds_each_value_as_it_came_and_counts_those_that_do_not_fit_m14():
    decoder = Decoder([field("n", "long"), field("d", "date")], on_bad_value={"n": "text", "d": "text"})
    assert {decoder.schema.field(name).type for name in ("n", "d")} == {pa.string()}
    values = ["7", '"7"', "7.0", "1e2", '"many"', "[1,2]", '{"a": 1}', "null", "9223372036854775808", r'"\ud83d"']
    got = decoder.decode(page(*(f'{{"n":{value},"d":"2013-02-30"}}' for value in values)))
    held = ["7", "7", "7.0", "1e2", "many", "[1,2]", '{"a": 1}', None, "9223372036854775808", r"\ud83d"]
    assert got.batch.column("n").to_pylist() == held
    assert got.batch.column("d").to_pylist() == ["2013-02-30"] * len(values)
    assert got.touched == {"n": 5, "d": len(values)}
    assert got.quarantined is None


def test_a_column_of_text_takes_the_fast_way_where_its_values_fit(monkeypatch):
    decoder = Decoder([field("n", "long")], on_bad_value={"n": "text"})
    expected = decoder.decode(page(*[{"n": "x"}, {"n": 1}, {"n": "2"}, {"n": None}])).batch.slice(1)

    def slow(*_):
        raise AssertionError("the exact way")

    monkeypatch.setattr("connectors.elasticsearch.decode_values.RowReader.read", slow)
    got = decoder.decode(page({"n": 1}, {"n": "2"}, {"n": None}))
    assert got.batch.column("n").to_pylist() == ["1", "2", None] == expected.column("n").to_pylist()


def test_names_joined_by_dots_are_seen_e17():
    spec = field("a.b.c", "long")
    documents = [
        '{"a":{"b":{"c":1}}}',
        '{"a.b.c":2}',
        '{"a.b":{"c":3}}',
        '{"a":{"b.c":4}}',
        '{"a\\u002eb.c":5}',
        "{}",
    ]
    assert column(spec, *documents) == [1, 2, 3, 4, 5, None]
    assert column(spec, *reversed(documents)) == [None, 5, 4, 3, 2, 1]


def test_a_null_document_is_an_error_and_no_empty_row():
    for documents in (["null", '{"n":1}'], ['{"n":1}', "null"]):
        with pytest.raises(ContractError, match="cannot be read as JSON"):
            Decoder([field("n", "long")]).decode(page(*documents))


def test_half_of_a_surrogate_pair_is_bad_only_where_it_is_wanted_f11():
    text = '{"s":"\\ud83d","n":1}'
    assert column(field("n", "long"), text, '{"n":2}') == [1, 2]
    for es_type in ("keyword", "object"):
        with pytest.raises(ContractError, match="surrogate"):
            column(field("s", es_type), text)
        assert column(field("s", es_type), text, policy="null") == [None]


def test_dates_at_the_edges_f12():
    spec = field("d", "date")
    texts = [
        "0001-01-01T00:00:00Z",
        "1900-01-01",
        "1970-01-01T00:00Z",
        "2262-04-12T00:00:00.000001",
        "9999-12-31T23:59:59.999999Z",
    ]
    got = column(spec, *({"d": text} for text in texts))
    assert got[0] == datetime(1, 1, 1, tzinfo=UTC) and got[4] == datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)
    assert got[3] == datetime(2262, 4, 12, 0, 0, 0, 1, UTC)
    for text in ("0000-12-31", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "10000-01-01"):
        with pytest.raises(ContractError):
            Decoder([spec]).decode(page({"d": text}))


def test_what_is_no_search_response_is_transient():
    for body in (b"<html>", b"", b'{"hits":{"hits":[{"_id":"1"', b'{"error":"x"}'):
        with pytest.raises(TransientError, match="no search response"):
            Decoder([]).decode(body)


def test_a_hit_without_source_is_an_error():
    with pytest.raises(ContractError, match="_source"):
        Decoder([]).decode(b'{"hits":{"hits":[{"_index":"i","_id":"1","sort":[1]}]}}')


def test_wrong_settings_are_refused():
    for wrong in (
        {"meta": ("_score",)},
        {"meta": ("_id", "_id")},
        {"on_bad_value": {"nope": "null"}},
        {"on_bad_value": {"n": "drop"}},
    ):
        with pytest.raises(ConfigurationError):
            Decoder([field("n", "long")], **wrong)
    with pytest.raises(ConfigurationError, match="basic_week_date"):
        Decoder([field("d", "date", format="basic_week_date")])
    with pytest.raises(ConfigurationError):
        arrow_type("alias", {"path": "n"})


def test_arrow_types_of_the_mapping():
    assert arrow_type("unsigned_long", {})[0] == pa.decimal128(20, 0)
    assert arrow_type("date", {"format": "epoch_second||yyyy"})[2] == ("epoch_second", "yyyy")
    assert arrow_type("a_type_of_next_year", {}) == (pa.string(), True, ())


def test_usual_pages_take_the_fast_ways(monkeypatch):
    def slow(*_):
        raise AssertionError("the exact way")

    monkeypatch.setattr("connectors.elasticsearch.decode_envelope._decode_exactly", slow)
    monkeypatch.setattr("connectors.elasticsearch.decode_values.RowReader.read", slow)
    fields = [field("n", "long"), field("o", "object"), field("d", "date"), field("a.b", "double")]
    documents = [{"n": 1, "o": [1], "d": "2013-01-01T10:00:00Z", "a": {"b": 1.5}, "x": {"y": "z"}}] * 3
    assert Decoder(fields).decode(page(*documents)).batch.num_rows == 3
    with pytest.raises(AssertionError):
        Decoder(fields).decode(page({"n": "x"}))
