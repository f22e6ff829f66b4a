"""The Snowflake loader's runs without rows: the table that they share may be of another process's contract."""

from __future__ import annotations

import pyarrow as pa
import pytest

from state.contract import Contract, json_field
from state.errors import RestartAttempt
from tests.contract.loader_desk import APPEND, MERGE, NEXT, SCHEMA, START, WINDOW, attempt, desk, table
from tests.contract.snowflake_rights import EMPTY

WITH_JSON = Contract(SCHEMA.append(json_field("doc")), "at", ("id",))
OTHER = Contract(SCHEMA.set(3, pa.field("value", pa.time64("us"))), "at", ("id",))
"""Without `doc`, and `value` is what no number is made of."""
OWN = "_SLUICEWAY_READ_AT, _SLUICEWAY_FILE, _SLUICEWAY_ROW"
DOUBLED = f"SELECT ID, AT, VERSION, VALUE * 2 AS VALUE, DOC, {OWN} FROM {{stage}}"
TRANSFORM = {"transform": DOUBLED, "trust": "user_sql"}


@pytest.fixture
async def d(snowflake_place):
    async with desk(lambda _folder: snowflake_place) as made:
        yield made


@pytest.mark.parametrize(
    "settings", [APPEND, {**APPEND, **TRANSFORM}, MERGE], ids=["append", "append, transform", "merge"]
)
async def test_a_window_that_became_empty_is_loaded_whatever_contract_the_shared_table_is_of(d, settings):
    """Two processes whose columns differ, as while a new configuration is brought out."""
    ours, theirs = (d.loader(**{**settings, "policy": "text", **more}) for more in ({}, {"transform": None}))
    for token, window in ((1, WINDOW), (2, NEXT)):
        full = table(WITH_JSON.schema, {"id": str(token), "at": window.start, "doc": "[1]"})
        await d.load(ours, attempt(token, window), full, contract=WITH_JSON)
    again = await d.stage(ours, attempt(3, NEXT, number=2), contract=WITH_JSON)
    await theirs.prepare(OTHER)
    counts = (await again.merge()).counts
    deleted = 1 if settings["mode"] == "append" else 0
    assert (counts.stage_rows, counts.inserted, counts.deleted) == (0, 0, deleted)
    assert len(d.place.rows()) == 2 - deleted
    found = await again.counts()
    assert (found.stage_rows, found.target_rows) == (0, 0)
    held = await ours.held(again.attempt, again.table)
    assert (held.staged, held.held) == (0, 0)


@pytest.mark.parametrize("mode", [APPEND, MERGE], ids=["append", "merge"])
async def test_rows_that_somebody_wrote_into_the_shared_table_are_loaded_by_no_run(d, snowflake_place, mode):
    staged = await d.stage(d.loader(**mode), attempt(1))
    snowflake_place.query(
        f"INSERT INTO {EMPTY} SELECT 'x', '{START.isoformat()}', 1, 1, '{START.isoformat()}', 'file', 0"
    )
    with pytest.raises(RestartAttempt, match="must be empty"):
        await staged.merge()
    assert d.values() == {}
    assert (await d.loader(**mode).loads("p")).receipts == ()
