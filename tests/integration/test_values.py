"""Values from a real index through Parquet into DuckDB: exact, refused, or changed by policy and counted (E-17).

The documents are indexed before the mapping names their fields. So `_source` holds any JSON, as it does with
`ignore_malformed` or `coerce`, and the server's opinion of it plays no part.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from state.errors import ContractError
from state.model import RunStatus
from tests.integration.search_world import search_world
from tests.integration.source import T0, iso, read, reader
from tests.integration.values_table import FIELDS, LONE, TABLE, Refused, Touched
from tests.servers.client import Client
from tests.servers.search import ES8, OS2

AT = iso(T0)
VALUES = list(TABLE)
COLUMNS = {name: number for number, name in enumerate(FIELDS)}


def document(fields: Mapping[str, str]) -> str:
    """JSON text of a document, each value exactly as given."""
    return "{" + ",".join([f'"at":"{AT}"', *(f'"{name}":{value}' for name, value in fields.items())]) + "}"


def indexed(client: Client, documents: Mapping[str, str], properties: Mapping[str, Any]) -> str:
    """An index of these documents, whose fields are mapped only afterwards."""
    index = client.new_index({"at": {"type": "date"}}, dynamic=False)
    client.put(index, documents)
    client.call("PUT", f"/{index}/_mapping", {"properties": properties})
    return index


def same(found: Any, expected: Any) -> bool:
    """Equal and of one type; a float bit by bit, so that -0.0 is not 0.0."""
    if isinstance(expected, float):
        return type(found) is float and struct.pack("d", found) == struct.pack("d", expected)
    return type(found) is type(expected) and found == expected


def utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


@pytest.fixture(scope="module")
def table(server) -> str:
    """The index of all values: document `vN` holds value N in each field, and once more in `j`."""
    documents = {f"v{n:02d}": document(dict.fromkeys([*FIELDS, "j"], value)) for n, value in enumerate(VALUES)}
    properties = {name: {"type": kind} for name, kind in FIELDS.items()}
    return indexed(server.client, documents, {**properties, "j": {"type": "keyword"}})


def test_the_table_has_44_values_and_six_types():
    assert (len(TABLE), len(FIELDS)) == (44, 6)
    assert {len(row) for row in TABLE.values()} == {6}


def test_every_value_is_exact_or_changed_by_the_policy_and_counted_in_duckdb(server, table, tmp_path: Path):
    """The policy: what does not fit becomes NULL. `j` is loaded as JSON, by a type of the operator."""
    columns = {"on_bad_value": dict.fromkeys([*FIELDS, "j"], "null"), "types": {"j": "json"}}
    world = search_world(tmp_path, server.url, table, {"columns": columns})
    run = world.finished()
    assert run.status is RunStatus.COMPLETED, run.failure
    names = ", ".join([*FIELDS, "j"])
    found = {row[0]: row[1:] for row in world.query(f'SELECT "_id", {names} FROM events')}
    assert len(found) == len(TABLE)
    wrong, counted = [], Counter()
    for number, (value, cells) in enumerate(TABLE.items()):
        row = found[f"v{number:02d}"]
        for name, cell in zip(FIELDS, cells, strict=True):
            expected = None if isinstance(cell, Refused) else cell.value if isinstance(cell, Touched) else cell
            counted[name] += isinstance(cell, Refused | Touched)
            if not same(utc(row[COLUMNS[name]]), expected):
                wrong.append((value, name, row[COLUMNS[name]], expected))
        as_json = None if value in ("null", LONE) else value
        counted["j"] += value == LONE
        if row[-1] != as_json:
            wrong.append((value, "j", row[-1], as_json))
    assert wrong == []
    assert run.phases["source_to_stage_transfer"].figures["touched"] == dict(counted)


@pytest.mark.parametrize("server", [ES8], indirect=True, ids=str)
async def test_without_a_policy_what_does_not_fit_is_an_error_with_document_field_and_value(server, table):
    """Each refused cell alone; the others of the same document are read."""
    wrong = []
    for number, (value, cells) in enumerate(TABLE.items()):
        name = f"v{number:02d}"
        for field, cell in zip(FIELDS, cells, strict=True):
            outcome = await one_cell(server.url, table, name, field)
            if isinstance(cell, Refused):
                shown = isinstance(outcome, ContractError) and all(
                    word in outcome.message for word in (f"'{name}'", f"'{field}'", table, inner(value))
                )
                wrong += [] if shown else [(value, field, outcome, "an error that names them")]
                continue
            expected = cell.value if isinstance(cell, Touched) else cell
            touched = {field: 1} if isinstance(cell, Touched) else {}
            if isinstance(outcome, ContractError) or not same(outcome[0], expected) or outcome[1] != touched:
                wrong.append((value, field, outcome, (expected, touched)))
    assert wrong == []


def inner(value: str) -> str:
    """What of the value a message shows at least: of a list of one, what is in it."""
    return (value if value == "[1,2]" else value.strip("[]"))[:30]


async def one_cell(url: str, index: str, name: str, field: str) -> ContractError | tuple[Any, Mapping[str, int]]:
    """The value of one field of one document, with what was touched; or the error."""
    only = {"include": ["at", field]}
    async with reader(url, index, columns=only, where={"ids": {"values": [name]}}) as source:
        try:
            got = await read(source)
        except ContractError as error:
            return error
        return utc(got.rows[0][field]), got.touched


def test_a_value_that_does_not_fit_stops_the_run_before_the_target_and_says_what_to_do(server, table, tmp_path):
    world = search_world(tmp_path, server.url, table)
    run = world.finished()
    assert (run.status, run.failure.kind) == (RunStatus.FAILED, "contract")
    assert run.quarantined_at is not None
    assert "types" in run.failure.hint
    assert "on_bad_value" in run.failure.hint
    assert world.rows('"_id"') == []


# Other types, formats and shapes: value → what DuckDB shows of it


def loaded(server, tmp_path: Path, mapping: Mapping[str, Any], values: list[str], shown: str, **columns: Any):
    """The values in field `v` of that mapping, after a run; and what was touched."""
    documents = {f"v{n:02d}": document({"v": value}) for n, value in enumerate(values)}
    index = indexed(server.client, documents, {"v": mapping})
    world = search_world(tmp_path, server.url, index, {"columns": columns})
    run = world.finished()
    assert run.status is RunStatus.COMPLETED, run.failure
    rows = [row[0] for row in world.query(f'SELECT {shown} FROM events ORDER BY "_id"')]
    return rows, run.phases["source_to_stage_transfer"].figures["touched"]


NANOS = {
    '"2013-01-01T10:00:00.123456789Z"': 1_357_034_400_123_456_789,
    '"2013-01-01T10:00:00.1Z"': 1_357_034_400_100_000_000,
    '"2013-01-01T12:00:00.000000001+02:00"': 1_357_034_400_000_000_001,
    "1357034400123": 1_357_034_400_123_000_000,
    '"1357034400123.456789"': 1_357_034_400_123_456_789,
    '"1969-12-31T23:59:59.999999999Z"': -1,
    '"2262-04-11T23:47:16.854775806Z"': 2**63 - 2,
    "null": None,
}


def test_date_nanos_keeps_every_nanosecond(server, tmp_path):
    found, touched = loaded(server, tmp_path, {"type": "date_nanos"}, list(NANOS), "epoch_ns(v)")
    assert dict(zip(NANOS, found, strict=True)) == NANOS
    assert touched == {}


UNSIGNED = {
    "18446744073709551615": "18446744073709551615",
    "9223372036854775808": "9223372036854775808",
    "9007199254740993": "9007199254740993",
    '"18446744073709551614"': "18446744073709551614",
    "0": "0",
    "1e3": "1000",
    "[9007199254740993]": Touched("9007199254740993"),
    "null": None,
}


@pytest.mark.parametrize("server", [OS2], indirect=True, ids=str)
def test_unsigned_long_is_exact_to_its_last_digit(server, tmp_path):
    mapping = {"type": "unsigned_long"}
    found, touched = loaded(server, tmp_path, mapping, list(UNSIGNED), "CAST(v AS VARCHAR)")
    expected = {value: cell.value if isinstance(cell, Touched) else cell for value, cell in UNSIGNED.items()}
    assert dict(zip(UNSIGNED, found, strict=True)) == expected
    assert touched == {"v": 1}


@pytest.mark.parametrize("server", [ES8], indirect=True, ids=str)
def test_where_the_server_knows_no_unsigned_long_the_operator_may_say_so(server, tmp_path):
    values = ["18446744073709551615", "9007199254740993"]
    types = {"types": {"v": "unsigned_long"}}
    found, _ = loaded(server, tmp_path, {"type": "keyword"}, values, "CAST(v AS VARCHAR)", **types)
    assert found == values


FORMATS: dict[str, dict[str, str | None]] = {
    "epoch_millis": {
        "1357034400123": "2013-01-01 10:00:00.123",
        '"1357034400123"': "2013-01-01 10:00:00.123",
        "2013": "1970-01-01 00:00:02.013",
        "null": None,
    },
    "epoch_second": {"1357034400": "2013-01-01 10:00:00", '"1357034400.5"': "2013-01-01 10:00:00.5"},
    "dd/MM/yyyy HH:mm:ss": {'"31/01/2013 23:59:58"': "2013-01-31 23:59:58"},
    "yyyy-MM-dd HH:mm:ss.SSS||epoch_second": {
        '"2013-01-31 23:59:58.007"': "2013-01-31 23:59:58.007",
        "1357034400": "2013-01-01 10:00:00",
    },
    "basic_date_time": {'"20130131T235958.007Z"': "2013-01-31 23:59:58.007"},
    "MMM d, yyyy h:mm a": {
        '"Jan 31, 2013 11:59 PM"': "2013-01-31 23:59:00",
        '"Feb 1, 2013 12:00 AM"': "2013-02-01 00:00:00",
    },
    "strict_date_optional_time||epoch_millis": {"2013": "2013-01-01 00:00:00", '"2013-01"': "2013-01-01 00:00:00"},
}


@pytest.mark.parametrize("form", FORMATS)
def test_dates_are_read_by_the_format_that_the_mapping_declares(server, tmp_path, form):
    mapping = {"type": "date", "format": form}
    shown = "CAST(v AT TIME ZONE 'UTC' AS VARCHAR)"
    found, touched = loaded(server, tmp_path, mapping, list(FORMATS[form]), shown)
    assert dict(zip(FORMATS[form], found, strict=True)) == FORMATS[form]
    assert touched == {}


@pytest.mark.parametrize("form", FORMATS)
def test_the_server_itself_reads_these_dates_the_same_way(server, form):
    """The oracle's dates, held against what the index makes of them (it keeps milliseconds)."""
    index = server.client.new_index({"at": {"type": "date"}, "v": {"type": "date", "format": form}})
    server.client.put(index, {f"v{n:02d}": document({"v": value}) for n, value in enumerate(FORMATS[form])})
    fields = [{"field": "v", "format": "yyyy-MM-dd HH:mm:ss.SSS"}]
    answer = server.client.call("POST", f"/{index}/_search", {"sort": ["_doc"], "docvalue_fields": fields})
    found = {hit["_id"]: hit.get("fields", {}).get("v", [None])[0] for hit in answer["hits"]["hits"]}
    for number, text in enumerate(FORMATS[form].values()):
        assert (found[f"v{number:02d}"] or "None").startswith(str(text).rstrip("0").rstrip("."))


def test_epoch_millis_before_1970_are_exact(server, tmp_path):
    """Elasticsearch 7 does not index them, but `_source` may hold them."""
    mapping = {"type": "date", "format": "epoch_millis"}
    found, _ = loaded(server, tmp_path, mapping, ["-1", "-86400000"], "epoch_us(v)")
    assert found == [-1000, -86_400_000_000]


SHAPES = {
    "7": 7,
    "[7]": Touched(7),
    "[[7]]": Touched(7),
    "[null,7,null]": Touched(7),
    "[]": Touched(None),
    "[null]": Touched(None),
    "null": None,
}


def test_single_values_among_lists_are_taken_out_and_counted(server, tmp_path):
    found, touched = loaded(server, tmp_path, {"type": "long"}, list(SHAPES), "v")
    assert found == [cell.value if isinstance(cell, Touched) else cell for cell in SHAPES.values()]
    assert touched == {"v": 5}


def test_lists_are_whole_in_a_json_column_and_stay_as_they_came(server, tmp_path):
    values = ["7", "[7,8]", "[ ]", "[null, 7]", '{"a": 1.50}', "0.1000", "9007199254740993", "1E400"]
    found, touched = loaded(server, tmp_path, {"type": "long"}, values, "v", types={"v": "json"})
    assert found == values
    assert touched == {}


def test_a_json_column_of_forty_digits_is_not_rounded_when_columns_are_chosen(server, tmp_path):
    """Choosing columns must not let the server write the document anew: it would round the numbers."""
    digits = "1.234567890123456789012345678901234567890"
    documents = {"one": document({"v": digits, "k": digits, "w": "1"})}
    mapping = {"v": {"type": "double"}, "k": {"type": "keyword"}, "w": {"type": "long"}}
    index = indexed(server.client, documents, mapping)
    columns = {"include": ["at", "v", "k"], "exclude": ["w"], "types": {"v": "json"}}
    world = search_world(tmp_path, server.url, index, {"columns": columns})
    assert world.finished().status is RunStatus.COMPLETED
    assert world.query("SELECT v, k FROM events") == [(digits, digits)]


def test_a_page_of_usual_documents_with_one_odd_one_is_exact(server, tmp_path):
    """999 integers read by columns, and one that says it as text, among them."""
    values = [str(n) for n in range(1000)]
    values[500] = '"500"'
    found, touched = loaded(server, tmp_path, {"type": "long"}, values, "v")
    assert sorted(found) == list(range(1000))
    assert touched == {}


def test_text_of_every_kind_arrives_as_it_is(server, tmp_path):
    texts = [
        "",
        " ",
        "a\nb\tc",
        "Zoë",
        "日本語",
        "\U0001f600",
        "a\x00b",
        "\u2028",
        "'; DROP TABLE events; --",
        "\\",
        '"',
        "NaN",
    ]
    values = [json.dumps(text) for text in texts]
    found, touched = loaded(server, tmp_path, {"type": "keyword"}, values, "v")
    assert found == texts
    assert touched == {}


def test_half_of_a_surrogate_pair_is_refused_in_text_and_in_json(server, tmp_path):
    for number, (kind, types) in enumerate([("keyword", {}), ("keyword", {"v": "json"})]):
        index = indexed(server.client, {"half": document({"v": LONE})}, {"v": {"type": kind}})
        world = search_world(tmp_path / str(number), server.url, index, {"columns": {"types": types}})
        run = world.finished()
        assert (run.status, run.failure.kind) == (RunStatus.FAILED, "contract")
        for word in ("'half'", "'v'", r"\ud83d", "surrogate"):
            assert word in run.failure.message


def test_mappings_that_accept_odd_values_keep_them_as_they_came(server, tmp_path):
    """The usual way to such documents: `ignore_malformed` and `coerce`, in the mapping from the start."""
    client: Client = server.client
    number = {"type": "integer", "coerce": True}
    malformed = {"type": "date", "ignore_malformed": True}
    index = client.new_index({"at": {"type": "date"}, "i": number, "t": malformed})
    client.put(index, {"a": document({"i": '"7"', "t": '"soon"'}), "b": document({"i": "7.0", "t": f'"{AT}"'})})
    columns = {"on_bad_value": {"t": "null"}}
    world = search_world(tmp_path, server.url, index, {"columns": columns})
    run = world.finished()
    assert run.status is RunStatus.COMPLETED, run.failure
    assert world.query('SELECT "_id", i, t IS NULL FROM events ORDER BY 1') == [("a", 7, True), ("b", 7, False)]
    assert run.phases["source_to_stage_transfer"].figures["touched"] == {"t": 1}
