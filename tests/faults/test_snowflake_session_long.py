"""Long statements, COPY among them: submitted once, asked for by their id (N-3, N-5; §12.1, rows 5 and 45)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

import pytest

from loaders.archive_settings import ArchivePlace
from service.lease import LeaseKeeper
from state.errors import ConfigurationError, SluicewayError, TransientError, UnknownOutcome
from state.snowflake.session import Account
from tests.contract.loader_desk import CONTRACT, attempt, desk, rows
from tests.contract.loader_snowflake import SnowflakePlace
from tests.faults.test_snowflake_session import TAG, World, made, opened
from tests.snowflake.accounts import settings, until, waiting
from tests.unit.test_lease import Clock, Drive, a_claim

RESULT = "/queries/.*/result"
LOSSES = 3
"""Questions in a row that may be lost here before nobody asks any more."""

TRIES = 5
"""HTTP tries of one question."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("state.snowflake.login.WAITS_MILLISECONDS", (1, 20))
    monkeypatch.setattr("state.snowflake.submitted.ASKED_AGAIN_AFTER", (0.01,) * LOSSES)
    monkeypatch.setattr("state.snowflake.submitted.PAUSES", (0.01, 0.05))


@pytest.fixture
def world(place, tmp_path) -> World:
    return World(place, tmp_path)


@pytest.fixture
async def account(world) -> AsyncIterator[Account]:
    async with opened(world) as account:
        await made(account, world)
        yield account


@contextmanager
def happening(world: World, act: str, **rule: Any) -> Iterator[Callable[[], int]]:
    """A fault for this world's user; how often it has happened so far."""
    number = world.server.post("/test/faults", {"act": act, "user": world.user, **rule})["id"]
    try:
        yield lambda: world.server.get(f"/test/faults/{number}")["fired"]
    finally:
        world.server.delete(f"/test/faults/{number}")


@asynccontextmanager
async def locked(world: World) -> AsyncIterator[None]:
    """Somebody else holds the table: a statement that changes it is at work for as long as the block."""
    async with world.place.connect() as holder:
        await world.place.rows(holder, "BEGIN")
        await world.place.rows(holder, f"UPDATE {world.table()} SET a = a")
        yield
        await world.place.rows(holder, "ROLLBACK")


def no_goodbye(world: World) -> AbstractContextManager[Any]:
    """The end of a session, which would end its statements too, is not heard."""
    return happening(world, "drop_before", path="^/session$", times=None)


def change(world: World) -> str:
    return f"UPDATE {world.table()} SET a = a + 10"


def ran(world: World) -> list[dict[str, Any]]:
    """The changes as the server ran them."""
    return [one for one in world.server.get("/test/statements") if one["text"] == change(world)]


async def value(account: Account, world: World) -> int:
    async with account.session(TAG, fresh=True) as session:
        return await session.value(f"SELECT a FROM {world.table()}")


async def changed(account: Account, world: World, enough: Callable[[], Any]) -> bool:
    """The long change, at work until `enough()`; whether its session may be used further."""
    async with account.session(TAG) as session:
        async with locked(world):
            task = asyncio.create_task(session.count(change(world), long=True))
            await until(waiting(world.place, "T"))
            await until(enough)
        assert await task == 1
        return not session.ended


async def failing(account: Account, sql: str) -> SluicewayError:
    with pytest.raises(SluicewayError) as caught:
        async with account.session(TAG) as session:
            await session.count(sql, long=True)
    return caught.value


async def test_a_long_statement_is_one_statement_however_often_it_is_asked_for_n3(account, world):
    with (
        settings(world.place, answer_within=0.02),
        happening(world, "hang", path=RESULT, times=None) as asked,
    ):
        assert await changed(account, world, lambda: asked() > 5)
    assert [one["code"] for one in ran(world)] == [None]
    assert await value(account, world) == 11


async def test_an_answer_comes_in_its_own_columns_n3(account, world):
    async with account.session(TAG) as session:
        found = await session.records(f"SELECT a + ? AS b FROM {world.table()}", 1, long=True)
    assert found == [{"b": 2}]


@pytest.mark.parametrize(
    "fault",
    [{"act": "drop_before"}, {"act": "drop_after"}, *({"act": "status", "status": n} for n in (503, 429, 403))],
    ids=["dropped", "answer lost", "503", "429", "403"],
)
async def test_a_connection_lost_while_it_runs_costs_no_second_run_5_n3(account, world, fault):
    """More tries are lost than one question has, so that the statement is asked for by its id once more."""
    each = 1 if fault.get("status") == 403 else TRIES
    with (
        settings(world.place, answer_within=0.02),
        happening(world, **fault, path=RESULT, times=2 * each) as lost,
    ):
        assert await changed(account, world, lambda: lost() == 2 * each)
    assert len(ran(world)) == 1
    assert await value(account, world) == 11
    assert world.logins() == ["ok", "ok"]  # the second for the look at the end


async def test_the_lost_answer_to_its_submission_is_given_again_5_n3(account, world):
    with happening(world, "drop_after", sql="^UPDATE") as lost:
        assert await changed(account, world, lambda: lost() == 1)
    assert len(ran(world)) == 1
    assert await value(account, world) == 11


async def test_nothing_is_known_of_a_submission_without_an_answer_5_g4(account, world):
    with happening(world, "drop_after", sql="^UPDATE", times=None):
        error = await failing(account, change(world))
    assert (type(error), error.code) == (UnknownOutcome, "lost")
    assert await value(account, world) == 11


async def test_it_outlives_its_session_and_nobody_reads_on_in_one_that_did_not_see_its_end_n3_g7(account, world):
    with settings(world.place, answer_within=0.02), happening(world, "expire", path=RESULT, code="390114") as over:
        usable = await changed(account, world, over)
    assert not usable
    assert len(ran(world)) == 1
    assert world.logins() == ["ok", "ok"]
    async with account.session(TAG) as session:
        assert await session.value(f"SELECT a FROM {world.table()}") == 11
    assert world.logins() == ["ok", "ok", "ok"]
    open_still = [one for one in world.server.get("/test/sessions") if one["user"] == world.user]
    assert len(open_still) <= 2  # the idle one, and the one that expired: no page says when that ends


@pytest.mark.parametrize(
    ("code", "becomes"), [("390112", None), ("390111", "session_gone"), ("390114", "session_gone")]
)
async def test_a_session_that_is_over_before_it_takes_the_statement_is_told_so_43_n6(
    account, world, code, becomes
):
    """The driver tells nothing but that there is no id; the statement was not run."""
    with happening(world, "expire", sql="^UPDATE", code=code) as over:
        async with account.session(TAG) as session:
            try:
                done = await session.count(change(world), long=True)
            except TransientError as error:
                done = error.code
        assert over() == 1
    assert done == (becomes or 1)
    assert len(ran(world)) == (0 if becomes else 1)


async def test_a_statement_that_ended_with_its_session_is_unknown_and_not_run_again_n3_g4(account, world):
    async with locked(world):
        with happening(world, "expire", path=RESULT, code="390111"):
            error = await failing(account, change(world))
    assert (type(error), error.code) == (UnknownOutcome, "cancelled")
    assert [one["code"] for one in ran(world)] == ["000604"]
    assert await value(account, world) == 1


@pytest.mark.parametrize(
    ("fault", "code", "each"),
    [
        ({"act": "status", "status": 503}, "http_503", TRIES),
        ({"act": "status", "status": 403}, "http_403", 1),
        ({"act": "drop_before"}, "lost", TRIES),
    ],
    ids=["503", "403", "dropped"],
)
async def test_questions_that_nobody_answers_come_to_an_end_45_n2_n3(account, world, fault, code, each):
    async with locked(world):
        with happening(world, **fault, path=RESULT, times=None) as fired:
            error = await failing(account, change(world))
            assert fired() == (LOSSES + 1) * each
    assert (type(error), error.code) == (UnknownOutcome, code)
    assert len(ran(world)) == 1


async def test_a_statement_that_never_ends_is_aborted_after_its_longest_time_n2(world):
    """Should Snowflake not do that itself, as `STATEMENT_TIMEOUT_IN_SECONDS` tells it to."""
    clock = Clock()
    account = Account(world.settings(statement_timeout_seconds=500, request_timeout_seconds=100), clock=clock)
    await made(account, world)
    async with locked(world):
        questions = happening(world, "hang", path=RESULT, times=None)
        with settings(world.place, answer_within=0.02), questions as asked:
            task = asyncio.create_task(failing(account, change(world)))
            await until(lambda: asked() > 1)
            clock.now += 599
            await asyncio.sleep(0.2)
            assert not task.done()
            clock.now += 1
            error = await task
        await until(waiting(world.place, "T", 0))
    await account.aclose()
    assert (type(error), error.code) == (UnknownOutcome, "lost")


@pytest.mark.parametrize(
    ("sql", "seconds", "becomes", "code"),
    [
        ("UPDATE {t}_MISSING SET a = 2", 60, ConfigurationError, "object"),
        ("UPDATE {t} SET b = 2", 60, ConfigurationError, "sql"),
        ("CALL SYSTEM$WAIT(30)", 1, TransientError, "statement_timeout"),
    ],
)
async def test_a_statement_that_fails_is_told_as_any_other_n3(world, sql, seconds, becomes, code):
    async with opened(world, statement_timeout_seconds=seconds) as account:
        await made(account, world)
        error = await failing(account, sql.format(t=world.table()))
    assert (type(error), error.code) == (becomes, code)


async def test_a_statement_that_somebody_cancelled_is_unknown_g4(account, world):
    async with locked(world), world.place.connect() as operator:
        task = asyncio.create_task(failing(account, change(world)))
        await until(waiting(world.place, "T"))
        [run] = ran(world)
        await world.place.rows(operator, f"SELECT SYSTEM$CANCEL_QUERY('{run['query_id']}')")
        error = await task
    assert (type(error), error.code) == (UnknownOutcome, "cancelled")


@pytest.mark.parametrize("answer_within", [0.02, 45])
async def test_a_cancelled_task_ends_its_statement_n3(account, world, answer_within):
    async with locked(world):
        with settings(world.place, answer_within=answer_within), no_goodbye(world):
            task = asyncio.create_task(failing(account, change(world)))
            await until(waiting(world.place, "T"))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await until(lambda: [one["code"] for one in ran(world)] == ["000604"])
    assert await value(account, world) == 1


async def test_a_task_cancelled_while_it_submits_ends_its_statement_n3(account, world):
    async with locked(world):
        with no_goodbye(world), happening(world, "hang", sql="^UPDATE", seconds=0.5) as hangs:
            task = asyncio.create_task(failing(account, change(world)))
            await until(hangs)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await until(lambda: [one["code"] for one in ran(world)] == ["000604"])
    assert await value(account, world) == 1


async def test_a_lost_lease_ends_its_long_statement_g6_n3(account, world):
    drive = Drive()
    keeper, claim = LeaseKeeper(drive, timedelta(seconds=60), Clock()), a_claim()

    async def work() -> None:
        async with keeper.hold(claim, 1000.0):
            await failing(account, change(world))

    async with locked(world):
        task = asyncio.create_task(work())
        await until(waiting(world.place, "T"))
        drive.lost.add(claim.run.id)
        with no_goodbye(world):
            await keeper.renew()
            with pytest.raises(asyncio.CancelledError):
                await task
        await until(lambda: [one["code"] for one in ran(world)] == ["000604"])
    assert await value(account, world) == 1


async def test_asking_keeps_it_at_work_beyond_the_time_of_a_client_that_is_gone_n5(account, world):
    """ABORT_DETACHED_QUERY is true, and asking for its status would not do (documented for the connector)."""
    with (
        settings(world.place, answer_within=0.02, detached_seconds=0.3),
        happening(world, "hang", path=RESULT, times=None) as asked,
    ):
        assert await changed(account, world, lambda: asked() > 30)
    assert await value(account, world) == 11


async def test_a_statement_of_a_transaction_is_never_taken_up_by_its_id_n3(account, world):
    async with account.session(TAG) as session:
        await session.rows("BEGIN")
        with pytest.raises(ValueError, match="UPDATE in a transaction"):
            await session.count(change(world), long=True)
    assert ran(world) == []


@pytest.fixture
async def copying(place) -> AsyncIterator[SnowflakePlace]:
    there = SnowflakePlace(place)
    yield there
    await there.aclose()


async def test_copy_is_not_run_again_where_the_connection_is_lost_5_n3(place, copying):
    async with desk(lambda _folder: copying) as at_desk:
        loader = at_desk.loader()
        await loader.prepare(CONTRACT)
        await loader.raise_fence(attempt())
        manifest = await at_desk.put(loader, attempt(), rows(("a", 1, 1), ("b", 1, 1)))
        with copying.fault("drop_before", path=RESULT, times=2 * TRIES):
            copied = await loader.copy(attempt(), manifest, CONTRACT)
        assert copied.rows == len(copying.stage_rows(copied.table)) == 2
    mine = [one["text"] for one in place.server.get("/test/statements") if one["user"] == copying.user]
    assert sum(text.startswith("COPY INTO") for text in mine) == 1


async def test_copy_files_into_an_archive_is_not_run_again_where_the_connection_is_lost_5_n3(place, copying):
    async with desk(lambda _folder: copying) as at_desk:
        loader = at_desk.loader()
        await loader.prepare(CONTRACT)
        manifest = await at_desk.put(loader, attempt(), rows(("a", 1, 1)))
        copying.query("CREATE STAGE archive")
        keep = ArchivePlace(f"@{copying.schema}.archive")
        with copying.fault("drop_before", path=RESULT, times=2 * TRIES):
            assert await loader.clean(attempt(), manifest, keep) == 1
        assert len(copying.query(f"LIST @{copying.schema}.archive")) == 1
    mine = [one["text"] for one in place.server.get("/test/statements") if one["user"] == copying.user]
    assert sum(text.startswith("COPY FILES INTO") for text in mine) == 1


@pytest.mark.parametrize("long", [False, True])
async def test_a_server_that_never_answers_is_waited_for_as_long_as_a_request_may_take_45_n2(world, long):
    """An hour would be longer than this test may take."""
    async with opened(world, request_timeout_seconds=1) as account:
        await made(account, world)
        with happening(world, "hang", sql="^UPDATE", times=None, seconds=3_600) as hangs:
            with pytest.raises(UnknownOutcome) as caught:
                async with account.session(TAG) as session:
                    await session.count(change(world), long=long)
            assert 1 <= hangs() <= TRIES
    assert caught.value.code == "lost"
