"""Values that are larger than Snowflake keeps: refused by name before their file is staged (F-14)."""

from __future__ import annotations

import pyarrow as pa
import pytest

from loaders.snowflake import sizes
from state.contract import Contract, json_field
from state.errors import ContractError
from tests.contract.loader_desk import SCHEMA, attempt, desk, table

MOST = 1_000
"""Bytes that a text may have here; the real figures are in `loaders/snowflake/sizes.py`."""


@pytest.fixture
async def d(snowflake_place, monkeypatch):
    monkeypatch.setattr(sizes, "MOST", {False: MOST, True: 8 * MOST})
    async with desk(lambda _folder: snowflake_place) as made:
        yield made


EACH = [
    (pa.field("x", pa.string()), "é" * (MOST // 2)),
    (pa.field("x", pa.large_string()), "x" * MOST),
    (pa.field("x", pa.string_view()), "x" * MOST),
    (pa.field("x", pa.dictionary(pa.int32(), pa.string())), "x" * MOST),
    (json_field("x"), '"' + "x" * (MOST - 2) + '"'),
    (pa.field("x", pa.binary()), b"x" * (MOST // 2)),
    (pa.field("x", pa.binary_view()), b"x" * (MOST // 2)),
]


@pytest.mark.parametrize(
    ("field", "largest"), EACH, ids=[str(field.type) + str(n) for n, (field, _) in enumerate(EACH)]
)
async def test_a_value_that_is_too_large_is_named_before_anything_is_staged_f14(d, field, largest):
    """The largest one passes, together with others that make its column larger than any value may be."""
    contract = Contract(SCHEMA.append(field), "at", ("id",))
    loader, more = d.loader(), largest[:1]
    await loader.prepare(contract)
    items = [
        {"id": str(n), "version": 1, "x": value} for n, value in enumerate([None, largest, largest[:-1], more])
    ]
    chunk, path = d.file(attempt().run, table(contract.schema, *items))
    assert (await loader.put(attempt(), chunk, path)).rows == 4
    items[2]["x"] = largest[:-1] + more * 2
    wrong, path = d.file(attempt().run, table(contract.schema, *items))
    size = MOST // 2 + 1 if isinstance(largest, bytes) else len(items[2]["x"].encode())
    with pytest.raises(ContractError, match=rf"column x of the file {wrong.name}, in its row 2, has {size} bytes"):
        await loader.put(attempt(), wrong, path)
    assert d.place.files() == [chunk.name]


CHANGED = ["1" * 39, "0." + "3" * 38, "1." + "2" * 20 + "e5", "1e400", "-1e-400"]
CHANGED += ['{"a": ["' + "9" * 50 + '", -' + "7" * 39 + "]}"]
SAME = [
    "9" * 38,
    "-0." + "3" * 37,
    "1.5e-9",
    "1e300",
    "0e999999999999999999999999",
    "1" + "0" * 22 + "." + "0" * 30,
    '{"' + "1" * 40 + '": "' + "2" * 40 + 'e9", "b": "\\"' + "3" * 40 + '"}',
    "{",
    '"' + "5" * 39,
]


@pytest.mark.parametrize("text", CHANGED)
async def test_a_number_in_json_that_snowflake_would_change_is_named_before_its_file_is_staged(d, text):
    contract = Contract(SCHEMA.append(json_field("x")), "at", ("id",))
    loader = d.loader()
    await loader.prepare(contract)
    values = [None, "1", text, text]
    items = table(contract.schema, *({"id": str(n), "version": 1, "x": x} for n, x in enumerate(values)))
    chunk, path = d.file(attempt().run, items)
    with pytest.raises(ContractError, match=rf"column x of the file {chunk.name}, in its row 2, would be another"):
        await loader.put(attempt(), chunk, path)
    assert d.place.files() == []


async def test_numbers_in_json_that_stay_the_same_pass(d):
    contract = Contract(SCHEMA.append(json_field("x")), "at", ("id",))
    loader = d.loader()
    await loader.prepare(contract)
    items = table(contract.schema, *({"id": str(n), "version": 1, "x": x} for n, x in enumerate(SAME)))
    chunk, path = d.file(attempt().run, items)
    assert (await loader.put(attempt(), chunk, path)).rows == len(SAME)


async def test_a_column_of_text_takes_any_number_in_json(d, snowflake_place):
    snowflake_place.query("CREATE TABLE EVENTS (ID VARCHAR, X VARCHAR)")
    contract = Contract(SCHEMA.append(json_field("x")), "at", ("id",))
    item = {"id": "a", "version": 1, "x": CHANGED[0]}
    await d.load(d.loader(), attempt(), table(contract.schema, item), contract=contract)
    assert d.row("a")["x"] == CHANGED[0]


async def test_larger_values_are_taken_where_they_are_asked_for_f14(d, snowflake_place):
    contract = Contract(
        SCHEMA.append(pa.field("x", pa.string())).append(pa.field("b", pa.binary())), "at", ("id",)
    )
    item = {"id": "a", "version": 1, "x": "x" * 8 * MOST, "b": b"x" * 4 * MOST}
    await d.load(d.loader(large_values=True), attempt(), table(contract.schema, item), contract=contract)
    assert (d.row("a")["x"], d.row("a")["b"]) == (item["x"], item["b"])
    made = [one["text"] for one in snowflake_place.place.server.get("/test/statements") if "CREATE" in one["text"]]
    mine = [text for text in made if f'"{snowflake_place.place.database}"' in text and '"X" ' in text]
    assert len(mine) == 3, "target, empty stage table, stage table"
    assert all(f'"X" VARCHAR({8 * MOST})' in text and f'"B" BINARY({4 * MOST})' in text for text in mine)


def test_the_limits_are_those_of_the_documentation():
    assert sizes.MOST == {False: 16_777_216, True: 134_217_728}
    assert sizes.declared("VARCHAR", large=True) == "VARCHAR(134217728)"
    assert sizes.declared("BINARY", large=True) == "BINARY(67108864)"
    assert sizes.declared("VARCHAR", large=False) == "VARCHAR"
