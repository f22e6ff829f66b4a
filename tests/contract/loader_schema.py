"""Clauses about `prepare` and `check`: what is made, extended, kept, refused."""

from __future__ import annotations

import pyarrow as pa
import pytest

from state.contract import Contract, json_field
from state.errors import ConfigurationError, ContractError
from tests.contract.loader_desk import (
    CONTRACT,
    MINUTE,
    NEXT,
    SCHEMA,
    SEEN,
    attempt,
    desk,
    rows,
    table,
)

LATER = SEEN + MINUTE
STRUCT = pa.struct([("x", pa.int64())])


def with_value(kind: pa.DataType | pa.Field) -> Contract:
    """The contract with another type of `value`."""
    field = kind if isinstance(kind, pa.Field) else pa.field("value", kind)
    return Contract(SCHEMA.set(3, field), "at", ("id",))


async def check_leaves_nothing_behind(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        assert all(check.ok for check in await loader.check())
        assert d.place.untouched()
        await loader.prepare(CONTRACT)
        assert all(check.ok for check in await loader.check())


async def prepare_is_repeatable(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        identity = await loader.prepare(CONTRACT)
        columns = d.place.columns()
        assert await loader.prepare(CONTRACT) == identity
        assert await d.loader().prepare(CONTRACT) == identity
        assert d.place.columns() == columns == ["id", "at", "version", "value"]


async def a_table_made_again_is_another_target(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        first = await loader.prepare(CONTRACT)
        d.place.drop_target()
        assert (await loader.loads("p")).target_identity is None
        second = await loader.prepare(CONTRACT)
        assert second != first
        assert (await loader.loads("p")).target_identity == second


async def a_new_column_is_added(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await d.load(loader, attempt(1), rows(("a", 1, 10)))
        wider = Contract(SCHEMA.append(pa.field("extra", pa.float64())), "at", ("id",))
        identity = (await loader.loads("p")).target_identity
        assert await loader.prepare(wider) == identity
        assert d.place.columns() == [*SCHEMA.names, "extra"]
        assert d.row("a")["extra"] is None


async def a_column_the_source_lost_keeps_its_last_value(make) -> None:
    """Of a row that is updated too, and it makes no row differ."""
    async with desk(make) as d:
        loader = d.loader()
        await d.load(loader, attempt(1), rows(("a", 1, 10), ("b", 1, 20)))
        narrow = SCHEMA.remove(3)
        contract = Contract(narrow, "at", ("id",))
        again = table(narrow, {"id": "a", "version": 2}, {"id": "b", "version": 1}, {"id": "c", "version": 1})
        counts = (await d.load(loader, attempt(2, number=2), (again, LATER), contract=contract)).counts
        assert (counts.updated, counts.unchanged, counts.inserted) == (1, 1, 1)
        assert d.values() == {"a": 10, "b": 20, "c": None}
        assert d.row("a")["version"] == 2


async def a_column_of_somebody_elses_is_left_alone(make) -> None:
    """A row that is updated keeps its value, a new one gets the default; it makes no row differ."""
    async with desk(make) as d:
        d.place.make_target_with_note()
        loader = d.loader()
        await d.load(loader, attempt(1), rows(("a", 1, 1), ("b", 1, 1)))
        assert d.row("a")["note"] == "none"
        d.place.change_row("a", note="mine")
        d.place.change_row("b", note="mine")
        again = (rows(("a", 2, 2), ("b", 1, 1), ("c", 1, 1)), LATER)
        counts = (await d.load(loader, attempt(2, number=2), again)).counts
        assert (counts.updated, counts.unchanged, counts.inserted) == (1, 1, 1)
        assert d.values() == {"a": 2, "b": 1, "c": 1}
        assert [d.row(key)["note"] for key in "abc"] == ["mine", "mine", "none"]


async def a_changed_type_is_refused(make) -> None:
    async with desk(make) as d:
        await d.load(d.loader(), attempt(1), rows(("a", 1, 10)))
        with pytest.raises(ContractError, match="value"):
            await d.loader().prepare(with_value(pa.string()))
        assert d.values() == {"a": 10}


async def a_changed_type_is_kept_as_text(make) -> None:
    async with desk(make) as d:
        await d.load(d.loader(), attempt(1), rows(("a", 1, 10)))
        loader, contract = d.loader(policy="text"), with_value(pa.string())
        words = table(contract.schema, {"id": "b", "version": 1, "value": "x"})
        await d.load(loader, attempt(2, NEXT), words, contract=contract)
        await loader.prepare(contract)
        assert d.values() == {"a": "10", "b": "x"}


async def a_changed_type_is_kept_as_json(make) -> None:
    async with desk(make) as d:
        contract = with_value(pa.string())
        words = table(contract.schema, {"id": "a", "version": 1, "value": 'a "b"'})
        await d.load(d.loader(policy="json"), attempt(1), words, contract=contract)
        loader = d.loader(policy="json")
        await d.load(loader, attempt(2, number=2), rows(("b", 1, 10)))
        await loader.prepare(CONTRACT)
        assert d.values() == {"a": '"a \\"b\\""', "b": "10"}


async def a_key_never_changes_its_type(make) -> None:
    async with desk(make) as d:
        await d.loader().prepare(CONTRACT)
        for place, name in ((0, "id"), (2, "version")):
            other = Contract(SCHEMA.set(place, pa.field(name, pa.float64())), "at", ("id",))
            for policy in ("text", "json"):
                with pytest.raises(ContractError, match=name):
                    await d.loader(policy=policy).prepare(other)


async def a_column_that_is_named_and_missing_is_a_matter_of_configuration(make) -> None:
    async with desk(make) as d:
        for settings in ({"key": ("id", "nothing")}, {"version": "nothing"}):
            with pytest.raises(ConfigurationError, match="nothing"):
                await d.loader(**settings).prepare(CONTRACT)
        with pytest.raises(ConfigurationError, match="at"):
            await d.loader().prepare(Contract(SCHEMA.remove(1), "id", ("id",)))


async def json_and_nested_columns_tell_no_rows_apart(make) -> None:
    """The same value has several spellings there: a key would be there twice, a version would have no order."""
    async with desk(make) as d:
        for field in (json_field("doc"), pa.field("doc", pa.list_(pa.int64())), pa.field("doc", STRUCT)):
            contract = Contract(SCHEMA.append(field), "at", ("id",))
            for path, settings in (("key", {"key": ("id", "doc")}), ("version", {"version": "doc"})):
                with pytest.raises(ConfigurationError, match="doc") as refused:
                    await d.loader(**settings).prepare(contract)
                assert refused.value.path == f"target_system.{path}"
        assert d.place.untouched()


async def names_that_collide_are_refused(make) -> None:
    async with desk(make) as d:
        for name in ("ID", "_sluiceway_run", "_Sluiceway_x"):
            other = Contract(SCHEMA.append(pa.field(name, pa.string())), "at", ("id",))
            with pytest.raises(ContractError, match=name):
                await d.loader().prepare(other)


async def json_stays_the_text_that_came(make) -> None:
    text = '{"b": 1.000, "a":12345678901234567890123456789012345678901, "s": "\\ud800"}'
    contract = with_value(json_field("value"))
    async with desk(make) as d:
        words = table(contract.schema, {"id": "a", "version": 1, "value": text})
        await d.load(d.loader(), attempt(1), words, contract=contract)
        assert d.values() == {"a": text}


CLAUSES = {
    clause.__name__: clause
    for clause in (
        check_leaves_nothing_behind,
        prepare_is_repeatable,
        a_table_made_again_is_another_target,
        a_new_column_is_added,
        a_column_the_source_lost_keeps_its_last_value,
        a_column_of_somebody_elses_is_left_alone,
        a_changed_type_is_refused,
        a_changed_type_is_kept_as_text,
        a_changed_type_is_kept_as_json,
        a_key_never_changes_its_type,
        a_column_that_is_named_and_missing_is_a_matter_of_configuration,
        json_and_nested_columns_tell_no_rows_apart,
        names_that_collide_are_refused,
        json_stays_the_text_that_came,
    )
}
