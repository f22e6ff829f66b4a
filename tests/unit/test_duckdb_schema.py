"""The DuckDB target's columns: its identity, how it grows, and what a conflict of types becomes."""

from __future__ import annotations

import pyarrow as pa
import pytest

from loaders.duckdb.names import Table, names, parsed
from loaders.duckdb.settings import DuckDBStage, DuckDBTarget
from state.contract import Contract, json_field
from state.errors import ConfigurationError, ContractError
from tests.contract.loader_desk import CONTRACT, NEXT, SCHEMA, attempt, desk, rows, table
from tests.contract.loader_worlds import DuckDBPlace


def with_value(field: pa.Field) -> Contract:
    return Contract(SCHEMA.set(3, field), "at", ("id",))


async def identity_after(d, sql: str) -> tuple[str, str | None]:
    """The target's identity before and after a statement by hand."""
    loader = d.loader()
    before = await loader.prepare(CONTRACT)
    d.place.query(sql)
    return before, (await loader.loads("p")).target_identity


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE events ADD COLUMN own INTEGER",
        "ALTER TABLE events ALTER value TYPE HUGEINT",
        "COMMENT ON TABLE events IS 'Events, hourly'",
        "DELETE FROM events",
        "CHECKPOINT",
    ],
)
async def test_the_identity_lives_through_what_people_do_to_a_table(sql):
    async with desk(DuckDBPlace) as d:
        before, after = await identity_after(d, sql)
        assert after == before


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE events",
        "CREATE OR REPLACE TABLE events AS FROM events",
        "CREATE TABLE copy AS FROM events; DROP TABLE events; ALTER TABLE copy RENAME TO events",
    ],
)
async def test_dropping_or_replacing_the_table_loses_its_identity(sql):
    async with desk(DuckDBPlace) as d:
        before, after = await identity_after(d, sql)
        assert before
        assert after is None
        assert await d.loader().prepare(CONTRACT) != before


async def test_a_table_that_a_person_made_is_taken_over_with_its_rows():
    async with desk(DuckDBPlace) as d:
        d.place.database.parent.mkdir()
        d.place.query(
            'CREATE TABLE events (ID VARCHAR, "at" TIMESTAMPTZ, version HUGEINT, value BIGINT, note VARCHAR)'
        )
        d.place.query("INSERT INTO events VALUES ('a', NULL, 1, 1, 'mine')")
        receipt = await d.load(d.loader(), attempt(), rows(("a", 1, 2), ("b", 1, 1)))
        assert (receipt.counts.updated, receipt.counts.inserted) == (1, 1)
        assert [(row["ID"], row["value"]) for row in d.place.rows()] == [("a", 2), ("b", 1)]


async def test_a_view_in_the_place_of_the_target_is_a_matter_of_configuration():
    async with desk(DuckDBPlace) as d:
        d.place.database.parent.mkdir()
        d.place.query("CREATE VIEW events AS SELECT 1 AS id")
        with pytest.raises(ConfigurationError, match="view"):
            await d.loader().prepare(CONTRACT)
        [found] = [check for check in await d.loader().check() if check.name == "target_system.table"]
        assert not found.ok


async def test_a_column_that_parquet_readers_add_is_refused():
    contract = Contract(SCHEMA.append(pa.field("file_row_number", pa.int64())), "at", ("id",))
    async with desk(DuckDBPlace) as d:
        with pytest.raises(ContractError, match="file_row_number"):
            await d.loader().prepare(contract)


async def test_json_becomes_text_and_text_becomes_json_by_policy():
    """JSON text is kept as it is when its column becomes JSON; plain text is quoted."""
    text, doc = with_value(pa.field("value", pa.string())), with_value(json_field("value"))
    async with desk(DuckDBPlace) as d:
        first = table(doc.schema, {"id": "a", "version": 1, "value": '{"n": 1.000}'})
        await d.load(d.loader(), attempt(1), first, contract=doc)
        with pytest.raises(ContractError, match="value is VARCHAR"):
            await d.loader().prepare(text)
        words = table(text.schema, {"id": "b", "version": 1, "value": "plain"})
        await d.load(d.loader(policy="json"), attempt(2, NEXT), words, contract=text)
        assert d.values() == {"a": '{"n": 1.000}', "b": '"plain"'}
        again = table(doc.schema, {"id": "c", "version": 1, "value": '{"n": 2.0}'})
        await d.load(d.loader(), attempt(3, number=2), again, contract=doc)
        assert d.values()["c"] == '{"n": 2.0}'


async def test_json_whose_column_became_text_takes_plain_text():
    text, doc = with_value(pa.field("value", pa.string())), with_value(json_field("value"))
    async with desk(DuckDBPlace) as d:
        await d.loader().prepare(doc)
        words = table(text.schema, {"id": "b", "version": 1, "value": "plain"})
        await d.load(d.loader(policy="text"), attempt(2, NEXT), words, contract=text)
        await d.loader(policy="text").prepare(text)
        assert d.values() == {"b": "plain"}


async def test_rows_staged_before_the_target_became_text_are_merged_as_text():
    """The stage table has the types of its own attempt; they are brought together when it is merged."""
    words = with_value(pa.field("value", pa.string()))
    async with desk(DuckDBPlace) as d:
        staged = await d.stage(d.loader(policy="text"), attempt(1), rows(("a", 1, 7)))
        await d.loader(policy="text").prepare(words)
        await staged.merge()
        assert d.values() == {"a": "7"}


async def test_without_a_policy_a_target_that_changed_by_hand_is_not_cast_into():
    async with desk(DuckDBPlace) as d:
        staged = await d.stage(d.loader(), attempt(1), rows(("a", 1, 7)))
        d.place.query("ALTER TABLE events ALTER value TYPE VARCHAR")
        with pytest.raises(ContractError, match="value"):
            await staged.merge()
        assert d.values() == {}


async def test_a_wider_column_of_the_target_is_kept():
    async with desk(DuckDBPlace) as d:
        await d.loader().prepare(CONTRACT)
        d.place.query("ALTER TABLE events ALTER value TYPE HUGEINT")
        await d.load(d.loader(), attempt(1), rows(("a", 1, 7)))
        [row] = d.place.query("SELECT typeof(value) AS kind, value FROM events")
        assert row == {"kind": "HUGEINT", "value": 7}


@pytest.mark.parametrize("name", ["a.b.c", ".a", "a.", ""])
def test_a_table_name_has_one_or_two_parts(name):
    with pytest.raises(ConfigurationError) as caught:
        parsed(name, "target_system.table")
    assert caught.value.path == "target_system.table"


def test_stage_tables_lie_beside_the_target_unless_named(tmp_path):
    target = DuckDBTarget(type="duckdb", database=tmp_path / "w.duckdb", table="raw.events")
    plain = names(target, DuckDBStage(directory=tmp_path))
    assert plain.stage == Table("raw", "events_stage")
    named = names(target, DuckDBStage(directory=tmp_path, table="scratch.s"))
    assert named.stage_of(attempt(3)).name == f"s_{attempt().run.hash}_A3"
    assert named.run_hash(f"s_{attempt().run.hash}_A3") == attempt().run.hash
    assert named.run_hash("s_old_A3") is None
    assert plain.loads == Table("raw", "SLUICEWAY_LOADS")
