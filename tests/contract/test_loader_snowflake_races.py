"""The Snowflake loader beside others: locks, two that prepare, a type change that is cut off, lost answers."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

import pyarrow as pa
import pytest
import snowflake.connector

from loaders.archive_settings import ArchivePlace
from loaders.retention import Limits
from loaders.snowflake.archiving import stage_location
from state.contract import Contract
from state.errors import (
    ConfigurationError,
    LeaseLost,
    PermanentError,
    ReceiptMismatch,
    RestartAttempt,
    SluicewayError,
    TransientError,
    UnknownOutcome,
)
from tests.contract.loader_desk import (
    APPEND,
    CONTRACT,
    NEXT,
    SCHEMA,
    SNAPSHOT,
    attempt,
    breaking,
    desk,
    losing_answer,
    rows,
    table,
)
from tests.snowflake.accounts import locks, settings, until, waiting

LEDGER = "EVENTS__SLUICEWAY_LOADS"
TEXTUAL = Contract(SCHEMA.set(3, pa.field("value", pa.string())), "at", ("id",))
"""The contract after the source made a text of `value`."""


@pytest.fixture
async def d(snowflake_place):
    async with desk(lambda _folder: snowflake_place) as made:
        yield made


@contextmanager
def open_merge(place):
    """A transaction that holds the fence, as a merge of another process does."""
    with snowflake.connector.connect(**place.place.connection) as theirs, theirs.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"UPDATE {LEDGER} SET TOUCHED = TOUCHED + 1 WHERE KIND = 'fence'")
        try:
            yield
        finally:
            cursor.execute("COMMIT")


async def test_raising_the_fence_waits_out_a_merge_under_way_g13(d, snowflake_place):
    loader = d.loader()
    await loader.prepare(CONTRACT)
    await loader.raise_fence(attempt(1))
    with open_merge(snowflake_place):
        raising = asyncio.create_task(loader.raise_fence(attempt(2)))
        await until(waiting(snowflake_place.place, LEDGER))
        assert not raising.done()
    await raising
    assert (await loader.loads("p")).highest_token == 2


async def test_a_merge_that_waited_for_the_fence_sees_who_passed_it_meanwhile(d, snowflake_place):
    """Without rows it is one statement: what it reads after the wait is what stands there then."""
    for number, parts in enumerate([[], [rows(("a", 1, 1))]]):
        old = d.loader(account=snowflake_place.another_account(), pipeline=f"p{number}")
        run = attempt(1, pipeline=f"p{number}")
        staged = await d.stage(old, run, *parts)
        with open_merge(snowflake_place):
            merging = asyncio.create_task(staged.merge())
            await until(waiting(snowflake_place.place, LEDGER))
            snowflake_place.query(
                f"INSERT INTO {LEDGER} (KIND, PIPELINE, TOKEN, WINDOW_START, WINDOW_END)"
                f" SELECT KIND, PIPELINE, 9, WINDOW_START, WINDOW_END FROM {LEDGER}"
                " WHERE KIND = 'claim' AND PIPELINE = ?",
                f"p{number}",
            )
        with pytest.raises(LeaseLost, match="attempt 9"):
            await merging
    assert d.values() == {}


def aborting(place, effect):
    """A door at which, once, the transaction that holds the fence is aborted by an administrator."""
    done = []

    @contextmanager
    def port(name):
        if name == effect and not done:
            (holder,) = [one for one in locks(place.place, LEDGER) if one["status"] == "HOLDING"]
            done.append(place.query(f"SELECT SYSTEM$ABORT_TRANSACTION({holder['transaction']})"))
        yield

    return port


@pytest.mark.parametrize("after_abort", ["autocommit", "error"])
@pytest.mark.parametrize(
    ("mode", "effect"),
    [
        *(("merge", effect) for effect in ("write", "receipt", "commit")),
        *(("append", effect) for effect in ("delete", "insert", "receipt", "commit")),
        *(("snapshot", effect) for effect in ("delete", "insert", "receipt", "commit")),
    ],
)
async def test_what_follows_in_a_transaction_that_is_gone_changes_nothing_g2(
    d, snowflake_place, mode, effect, after_abort
):
    """The worst that is conceivable: later statements commit by themselves, and COMMIT says that all is well."""
    more = {"append": APPEND, "snapshot": SNAPSHOT}.get(mode, {})
    first = d.loader(**more)
    await d.load(first, attempt(1), rows(("a", 1, 1), ("b", 1, 1)))
    loader = d.loader(port=aborting(snowflake_place, f"loader.merge.{effect}"), **more)
    staged = await d.stage(loader, attempt(2, number=2), rows(("a", 2, 2), ("c", 2, 2)))
    with settings(snowflake_place.place, after_abort=after_abort):
        with pytest.raises((TransientError, RestartAttempt, PermanentError)):
            await staged.merge()
        assert d.values() == {"a": 1, "b": 1}
        assert [receipt.run.number for receipt in (await first.loads("p")).receipts] == [1]
        await staged.merge()
    assert d.values() == ({"a": 2, "c": 2} if more else {"a": 2, "b": 1, "c": 2})


@pytest.mark.parametrize("more", [{}, APPEND, SNAPSHOT], ids=["merge", "append", "snapshot"])
async def test_rows_that_came_to_the_stage_table_after_the_gate_are_not_merged(d, snowflake_place, more):
    staged = await d.stage(d.loader(**more), attempt(1), rows(("a", 1, 1)))
    columns = "ID, AT, VERSION, VALUE, _SLUICEWAY_READ_AT, _SLUICEWAY_FILE, _SLUICEWAY_ROW"
    snowflake_place.query(
        f'INSERT INTO "{staged.table}" ({columns})'
        f" SELECT 'b', AT, VERSION, VALUE, _SLUICEWAY_READ_AT, _SLUICEWAY_FILE, 7 FROM \"{staged.table}\""
    )
    with pytest.raises(RestartAttempt, match="has 2 rows now, its files have 1"):
        await staged.merge()
    assert d.values() == {}


@pytest.mark.parametrize("effect", ["delete", "commit"])
async def test_a_removal_whose_transaction_is_gone_is_not_told_done(d, snowflake_place, effect):
    loader = d.loader(port=aborting(snowflake_place, f"loader.retire.{effect}"))
    late = rows(("old", 1, 1)), rows(("new", 1, 1), at=NEXT.start)
    await d.load(loader, attempt(1), *late)
    limits = Limits(max_rows=10, max_percent=90.0)
    with settings(snowflake_place.place, after_abort="autocommit"):
        with pytest.raises(TransientError, match="old rows"):
            await loader.retire(attempt(1), "at", NEXT.start, limits)
        assert set(d.values()) == {"old", "new"}
        assert (await loader.retire(attempt(1), "at", NEXT.start, limits)).deleted == 1
    assert set(d.values()) == {"new"}


@pytest.mark.parametrize("path", ["x FROM @DB.S.SECRETS --", "a b", "x'y", "x;y", "..", "a//b"])
def test_a_path_of_an_archive_stage_brings_no_sql_x5(path):
    with pytest.raises(ConfigurationError, match="letters, digits"):
        stage_location(f"@DB.S.ARCHIVE/{path}")


async def test_a_fence_that_somebody_removed_stops_all_until_it_is_made_again(d, snowflake_place):
    knowing, loader = d.loader(), d.loader()
    await knowing.prepare(CONTRACT)
    full = await d.stage(loader, attempt(1), rows(("a", 1, 1)))
    empty = await d.stage(loader, attempt(2, NEXT))
    snowflake_place.query(f"DELETE FROM {LEDGER} WHERE KIND = 'fence'")
    for call in (full.merge(), empty.merge(), knowing.raise_fence(attempt(3))):
        with pytest.raises(RestartAttempt, match="fence"):
            await call
    loads = await loader.loads("p")
    assert (loads.receipts, loads.highest_token, d.values()) == ((), 2, {})
    await knowing.raise_fence(attempt(3))
    assert (await loader.loads("p")).highest_token == 3


async def test_two_merges_of_a_process_into_one_target_never_wait_in_snowflake_f23(d, snowflake_place):
    first, second = d.loader(), d.loader(pipeline="q")
    a = await d.stage(first, attempt(1), rows(("a", 1, 1)))
    b = await d.stage(second, attempt(1, pipeline="q"), rows(("b", 1, 1)))
    with open_merge(snowflake_place):
        merges = [asyncio.create_task(staged.merge()) for staged in (a, b)]
        await until(waiting(snowflake_place.place, LEDGER))
        await asyncio.sleep(0.1)
        assert waiting(snowflake_place.place, LEDGER)()
    await asyncio.gather(*merges)
    assert d.values() == {"a": 1, "b": 1}
    assert locks(snowflake_place.place, LEDGER) == []


async def test_two_processes_add_the_same_columns_f21(d, snowflake_place):
    await d.loader().prepare(CONTRACT)
    wider = Contract(SCHEMA.append(pa.field("x", pa.int64())).append(pa.field("y", pa.string())), "at", ("id",))
    loaders = [d.loader(account=snowflake_place.another_account()) for _ in range(3)]
    identities = await asyncio.gather(*(loader.prepare(wider) for loader in loaders))
    assert len(set(identities)) == 1
    assert snowflake_place.columns() == [*SCHEMA.names, "x", "y"]


async def test_two_processes_make_the_target(d, snowflake_place):
    loaders = [d.loader(account=snowflake_place.another_account()) for _ in range(3)]
    identities = await asyncio.gather(*(loader.prepare(CONTRACT) for loader in loaders))
    assert len(set(identities)) == 1
    await asyncio.gather(
        *(loader.raise_fence(attempt(n)) for n, loader in enumerate(loaders, 1)), return_exceptions=True
    )
    assert (await loaders[0].loads("p")).highest_token == 3


CHANGE = ["loader.prepare.alter", "loader.prepare.fill"]
"""The effects of a type change: three columns come, go and are renamed, one is filled."""


def failing_at(effect, time):
    """A port that fails before the n-th time of an effect, counted from 0, and from then on."""
    seen = []

    @contextmanager
    def port(name):
        if name == effect:
            seen.append(name)
            if len(seen) > time:
                raise TransientError("cut off here", code="broken")
        yield

    return port


@pytest.mark.parametrize(("effect", "time"), [(CHANGE[0], n) for n in range(4)] + [(CHANGE[1], 0)])
async def test_a_type_change_that_is_cut_off_is_gone_on_with_and_loses_nothing(d, effect, time):
    old = d.loader()
    await d.load(old, attempt(1), rows(("a", 1, 10)))
    waiting_run = await d.stage(old, attempt(2, NEXT), rows(("c", 1, 30, NEXT.start)))
    with pytest.raises(TransientError, match="cut off here"):
        await d.loader(policy="text", port=failing_at(effect, time)).prepare(TEXTUAL)
    try:
        await waiting_run.merge()
    except SluicewayError as error:
        assert "value" in error.message.lower()
    loader = d.loader(policy="text")
    words = table(SCHEMA.set(3, TEXTUAL.schema.field(3)), {"id": "b", "version": 1, "value": "x"})
    await d.load(loader, attempt(3, number=3), words, contract=TEXTUAL)
    assert {key: value for key, value in d.values().items() if key != "c"} == {"a": "10", "b": "x"}
    assert d.values().get("c") in (None, "30")
    assert ("c" in d.values()) == ("30" in d.values().values())
    assert sorted(d.place.columns()) == sorted(SCHEMA.names)


async def test_a_merge_refuses_a_target_while_the_type_of_a_column_changes(d):
    """What it wrote between the filling of the new column and its new name would be lost."""
    old = d.loader()
    await d.load(old, attempt(1), rows(("a", 1, 10)))
    staged = await d.stage(old, attempt(2, NEXT), rows(("c", 1, 30, NEXT.start)))
    with pytest.raises(TransientError):
        await d.loader(policy="text", port=failing_at(CHANGE[0], 1)).prepare(TEXTUAL)
    with pytest.raises(TransientError, match="VALUE") as caught:
        await staged.merge()
    assert caught.value.code == "type_change"
    assert caught.value.retry_after == 1_800, "four waits last through hours"
    assert d.values() == {"a": 10}


async def test_a_type_change_waits_out_the_merge_that_has_not_seen_it(d, snowflake_place):
    await d.load(d.loader(), attempt(1), rows(("a", 1, 10)))
    with open_merge(snowflake_place):
        changing = asyncio.create_task(d.loader(policy="text").prepare(TEXTUAL))
        await until(waiting(snowflake_place.place, LEDGER))
        snowflake_place.change_row("a", value=11)
    await changing
    assert d.values() == {"a": "11"}


async def test_a_target_replaced_between_copy_and_merge_is_told_f22(d, snowflake_place):
    staged = await d.stage(d.loader(), attempt(), rows(("a", 1, 1)))
    snowflake_place.query("CREATE TABLE SHAPE LIKE EVENTS")
    snowflake_place.query("CREATE OR REPLACE TABLE EVENTS LIKE SHAPE")
    with pytest.raises(ReceiptMismatch):
        await staged.merge()
    empty = await d.stage(d.loader(), attempt(2, NEXT))
    snowflake_place.query("CREATE OR REPLACE TABLE EVENTS LIKE SHAPE")
    with pytest.raises(ReceiptMismatch):
        await empty.merge()
    assert (await d.loader().loads("p")).receipts == ()


async def test_a_target_replaced_during_the_merge_gets_no_receipt_f22(d, snowflake_place):
    """After it was looked at and before it is written."""
    await d.load(d.loader(), attempt(1), rows(("a", 1, 1)))
    snowflake_place.query("CREATE TABLE SHAPE LIKE EVENTS")

    @contextmanager
    def port(name):
        if name == "loader.merge.write":
            snowflake_place.query("CREATE OR REPLACE TABLE EVENTS LIKE SHAPE")
        yield

    staged = await d.stage(d.loader(port=port), attempt(2, NEXT), rows(("b", 1, 1, NEXT.start)))
    with pytest.raises(SluicewayError) as caught:
        await staged.merge()
    assert not isinstance(caught.value, UnknownOutcome)
    assert [receipt.token for receipt in (await d.loader().loads("p")).receipts] == [1]
    assert d.values() == {}


async def test_a_lost_answer_to_the_receipt_of_nothing_is_settled_by_the_fence(d):
    staged = await d.stage(d.loader(port=losing_answer("loader.merge.empty")), attempt(1))
    with pytest.raises(UnknownOutcome):
        await staged.merge()
    settling = d.loader()
    await settling.raise_fence(attempt(2))
    [receipt] = (await settling.loads("p")).receipts
    assert receipt.manifest_digest == staged.manifest.digest
    assert receipt.token == 1


@pytest.mark.parametrize("sql", ["^COMMIT", "^MERGE INTO .*LOADS"])
async def test_an_answer_lost_on_the_wire_is_unknown_and_leaves_one_receipt_g4(d, snowflake_place, sql):
    parts = [rows(("a", 1, 1))] if sql == "^COMMIT" else []
    staged = await d.stage(d.loader(), attempt(1), *parts)
    with snowflake_place.fault("drop_after", sql=sql, times=None), pytest.raises(SluicewayError) as e:
        await staged.merge()
    assert isinstance(e.value, UnknownOutcome)
    settling = d.loader(account=snowflake_place.another_account())
    await settling.raise_fence(attempt(2))
    loads = await settling.loads("p")
    assert [receipt.token for receipt in loads.receipts] == [1]
    assert len(d.place.rows()) == len(parts)


async def test_an_expired_session_between_two_calls_is_nothing_to_the_run_case_43(d, snowflake_place):
    loader = d.loader()
    staged = await d.stage(loader, attempt(), rows(("a", 1, 1)))
    with snowflake_place.fault("expire", sql="^SELECT|^LIST", code="390112"):
        try:
            await staged.counts()
        except TransientError:
            await staged.counts()
    await staged.merge()
    assert d.values() == {"a": 1}


async def test_a_stage_table_that_is_gone_stops_the_merge(d, snowflake_place):
    staged = await d.stage(d.loader(), attempt(), rows(("a", 1, 1)))
    snowflake_place.query(f'DROP TABLE "{staged.table}"')
    with pytest.raises(RestartAttempt):
        await staged.merge()
    assert d.values() == {}


async def test_four_files_at_once_go_up_in_sessions_of_their_own(d):
    loader = d.loader()
    await loader.prepare(CONTRACT)
    files = [d.file(attempt().run, rows((f"k{n}", 1, n))) for n in range(12)]
    staged = await asyncio.gather(*(loader.put(attempt(), chunk, path) for chunk, path in files))
    assert [one.rows for one in staged] == [1] * 12
    assert d.place.files() == sorted(chunk.name for chunk, _ in files)


async def test_a_file_of_other_columns_is_refused_before_copy_f9(d, snowflake_place):
    loader = d.loader()
    await loader.prepare(CONTRACT)
    await loader.raise_fence(attempt())
    manifest = await d.put(loader, attempt(), rows(("a", 1, 1)).drop_columns(["value"]))
    with pytest.raises(RestartAttempt, match="other columns"):
        await loader.copy(attempt(), manifest, CONTRACT)
    other = Contract(SCHEMA.append(pa.field("more", pa.int64())), "at", ("id",))
    with pytest.raises(RestartAttempt, match="other columns"):
        await d.loader().copy(attempt(), manifest, other)
    assert snowflake_place.stage_tables() == []


async def test_the_archive_may_be_a_stage_of_snowflake(d, snowflake_place):
    snowflake_place.query("CREATE STAGE KEPT")
    place = ArchivePlace(f"@{snowflake_place.schema}.KEPT/runs")
    loader = d.loader()
    staged = await d.stage(loader, attempt(), rows(("a", 1, 1)), rows(("b", 1, 2)))
    names = sorted(chunk.name for chunk in staged.manifest.chunks)
    assert await loader.clean(attempt(), staged.manifest, place) == 2
    kept = [row["name"] for row in snowflake_place.query("LIST @KEPT")]
    assert sorted(kept) == [f"kept/runs/{name}" for name in names]
    assert await loader.clean(attempt(), staged.manifest, place) == 0
    snowflake_place.query("REMOVE @KEPT")
    with pytest.raises(PermanentError, match="not in the archive"):
        await loader.clean(attempt(), staged.manifest, place)


async def test_what_a_file_of_the_archive_stage_is_is_looked_at(d, snowflake_place):
    snowflake_place.query("CREATE STAGE KEPT")
    loader = d.loader()
    staged = await d.stage(loader, attempt(), rows(("a", 1, 1)))
    [chunk] = staged.manifest.chunks
    folder, _, last = chunk.name.rpartition("/")
    other = d.folder / last
    other.write_bytes(b"something else")
    snowflake_place.query(f"PUT 'file://{other}' '@KEPT/{folder}/' AUTO_COMPRESS = FALSE")
    with pytest.raises(PermanentError, match="14 bytes"):
        await loader.clean(attempt(), staged.manifest, ArchivePlace(f"@{snowflake_place.schema}.KEPT"))
    assert d.place.files() == [chunk.name]
    with pytest.raises(ConfigurationError, match=r"\.\."):
        await loader.clean(attempt(), staged.manifest, ArchivePlace(f"@{snowflake_place.schema}.KEPT/../x"))


async def test_a_run_without_rows_leaves_nothing_to_clean_but_what_another_attempt_staged(d):
    loader = d.loader()
    empty = await d.stage(loader, attempt(1))
    await empty.merge()
    await empty.counts()
    assert await loader.clean(attempt(1), empty.manifest, None) == 0
    first = await d.stage(d.loader(), attempt(2, NEXT), rows(("z", 1, 1, NEXT.start)))
    again = await d.stage(loader, attempt(3, NEXT))
    await again.counts()
    assert await loader.clean(attempt(3, NEXT), again.manifest, None) == len(first.manifest.chunks)
    assert d.place.stage_tables() == []
    assert d.place.files() == []


async def test_a_failing_removal_is_an_error_and_repeated_later_case_49(d, snowflake_place):
    loader = d.loader()
    staged = await d.stage(loader, attempt(), rows(("a", 1, 1)))
    await staged.merge()
    with snowflake_place.fault("error", sql="^REMOVE", code="000604"), pytest.raises(SluicewayError):
        await loader.clean(attempt(), staged.manifest, None)
    assert await loader.clean(attempt(), staged.manifest, None) == 1
    assert d.values() == {"a": 1}


async def test_a_failure_in_append_leaves_the_window_as_it_was(d):
    await d.load(d.loader(**APPEND), attempt(1), rows(("a", 1, 1)))
    port = breaking("loader.merge.insert")
    staged = await d.stage(d.loader(port=port, **APPEND), attempt(2, number=2), rows(("b", 1, 1)))
    with pytest.raises(TransientError):
        await staged.merge()
    assert d.values() == {"a": 1}
