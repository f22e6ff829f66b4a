"""What the drive table asks of Snowflake: how many statements, one at a time, and what of a lost answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import pytest
from msgspec.structs import replace

from state.errors import LeaseLost, TransientError, UnknownOutcome
from state.model import Phase, RunId, RunStatus
from state.owner import owner_name
from state.snowflake import drive_queue
from state.snowflake.drive_queue import TRIES, Queue
from state.snowflake.drive_rows import ROWS_PER_INSERT
from state.snowflake.session import Account
from tests.contract.drive_desk import HOUR, LEASE, event, failure, manifest_of, new, receipt_of, window
from tests.contract.drive_snowflake import drive_at, opened, settings
from tests.snowflake.accounts import fault
from tests.snowflake.accounts import settings as account_settings


@pytest.fixture
def here(place):
    """The place, with a user of its own, so that its statements and its faults are told apart."""
    return {**place.connection, "user": place.database}


@pytest.fixture
async def drive(here):
    async with drive_at(here) as drive:
        yield drive


@pytest.fixture
def said(place):
    """The statements of this place's user, oldest first, apart from logins and what a test does by hand."""

    def statements() -> list[dict]:
        ran = [one for one in place.server.get("/test/statements") if one["user"] == place.database]
        return [one for one in ran if "drive_table" in one["tag"] and not one["text"].startswith(("SHOW", "USE"))]

    return statements


@pytest.fixture
def broken(place):
    """A fault for the statements of this place's user."""

    def fault_here(act: str, **rule):
        return fault(place, act, **{"database": None, "user": place.database, **rule})

    return fault_here


@asynccontextmanager
async def counted(said, verbs: str):
    """The statements said meanwhile are exactly these."""
    before = len(said())
    yield
    assert [one["text"].split()[0] for one in said()[before:]] == verbs.split()


async def test_each_operation_has_the_number_of_statements_that_the_docs_say(drive, said):
    step = "SELECT BEGIN UPDATE {} COMMIT SELECT"
    async with counted(said, "SELECT BEGIN UPDATE MERGE COMMIT " + step.format("INSERT")):
        await drive.create("p", "x", [new(0)])
    async with counted(said, step.format("INSERT")):
        await drive.create("p", "x", [new(hour) for hour in range(1, 100)])
    async with counted(said, step.format("UPDATE")):
        claims = [await drive.claim("p", owner_name(), HOUR)]
    async with counted(said, step.format("UPDATE")):
        claims.append(await drive.claim("p", owner_name(), HOUR, run=RunId(drive.id, "p", window(7), 1)))
    async with counted(said, "UPDATE"):
        claims = await drive.renew(claims, HOUR)
    async with counted(said, "UPDATE"):
        await drive.checkpoint(claims[0], claims[0].run)
    async with counted(said, "UPDATE"):
        failed = await drive.fail(claims[0], claims[0].run, failure(), retry_in=None, quarantine=True)
    async with counted(said, "UPDATE"):
        await drive.release(claims[1], claims[1].run)
    async with counted(said, "UPDATE SELECT"):
        with pytest.raises(LeaseLost):
            await drive.release(claims[1], claims[1].run)
    async with counted(said, step.format("UPDATE INSERT")):
        await drive.reopen(failed.id, from_phase=None, run_floor=0, event=event("retry"))
    async with counted(said, "INSERT"):
        await drive.record(event("pause"))
    async with counted(said, "SELECT SELECT SELECT SELECT SELECT SELECT"):
        await drive.runs("p")
        await drive.summaries("p")
        await drive.windows("p")
        await drive.events("p")
        await drive.now()
        assert await drive.claim("p", "x", HOUR, run=RunId(drive.id, "p", window(200), 1)) is None
    async with counted(said, "SELECT"):
        assert await drive.adopt("p", [], 0) == []


async def test_a_long_history_is_adopted_in_few_statements_and_known_in_two(drive, said):
    """A drive table that was lost: five years of hours come back from the receipts."""
    receipts = [receipt_of(RunId("lost", "p", window(hour), 1)) for hour in range(HOURS)]
    step = f"BEGIN UPDATE {'INSERT ' * (HOURS // ROWS_PER_INSERT)} COMMIT SELECT"
    async with counted(said, f"SELECT SELECT BEGIN UPDATE MERGE COMMIT SELECT SELECT {step}"):
        assert len(await drive.adopt("p", receipts, 9)) == HOURS
    async with counted(said, "SELECT SELECT"):
        assert await drive.adopt("p", receipts, 9) == []
    runs = await drive.runs("p", limit=3)
    assert [(run.id, run.receipt) for run in runs] == [(receipt.run, receipt) for receipt in receipts[:3]]


async def test_nothing_is_asked_while_nothing_happens_n10(drive, said):
    """No task of the drive table is left that could ask anything."""
    await drive.create("p", "x", [new(0)])
    await drive.claim("p", "x", HOUR)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_all_statements_run_in_one_session_and_no_ddl_in_a_transaction_g3_g7(drive, said):
    await drive.create("p", "x", [new(0)])
    claim = await drive.claim("p", "x", HOUR)
    await drive.fail(claim, claim.run, failure(), retry_in=None, quarantine=True)
    await drive.reopen(claim.run.id, from_phase=None, run_floor=0, event=event("retry"))
    statements = said()[-24:]
    assert len({one["session"] for one in statements}) == 1
    inside = {one["text"].split()[0] for one in statements if one["transaction"]}
    assert inside - {"BEGIN"} == {"UPDATE", "INSERT", "MERGE", "COMMIT"}


async def test_tags_name_the_pipeline_and_hold_no_data_n4(drive, said):
    await drive.create("pipe", "x", [new(0)])
    claim = await drive.claim("pipe", "x", HOUR)
    await drive.checkpoint(claim, replace(claim.run, manifest=manifest_of(claim.run)))
    tags = {one["tag"] for one in said()[-6:]}
    assert tags == {
        '{"app":"sluiceway","pipeline":"pipe","phase":"drive_table"}',
        f'{{"app":"sluiceway","pipeline":"pipe","run":"{claim.run.name}","phase":"drive_table"}}',
    }


async def whole_life(drive, pipeline: str, hour: int) -> None:
    """A run from its claim to its end, with a renewal beside its checkpoints."""
    claim = await drive.claim(pipeline, owner_name(), HOUR, run=RunId(drive.id, pipeline, window(hour), 1))
    claim, _ = await asyncio.gather(drive.checkpoint(claim, claim.run), drive.renew([claim], HOUR))
    await drive.checkpoint(claim, replace(claim.run, status=RunStatus.COMPLETED))


async def test_a_hundred_runs_at_once_in_one_process_never_wait_for_each_other_g8(drive, said, place):
    """No statement of this process meets a lock of its own, with a limit of no waiter at all."""
    await drive.create("p", "x", [new(hour) for hour in range(100)])
    before = len(said())
    with account_settings(place, waiter_limit=0):
        await asyncio.gather(*(whole_life(drive, "p", hour) for hour in range(100)))
    assert {run.status for run in await drive.runs("p")} == {RunStatus.COMPLETED}
    ran = said()[before:]
    assert {one["code"] for one in ran} == {None}
    assert Counter(one["text"].split()[0] for one in ran)["BEGIN"] == 100
    renewals = sum("lease_expires_at = TIMESTAMPADD" in one["text"] for one in ran)
    assert renewals < 50, "renewals that wait go together"
    overlapping = [a["query_id"] for a, b in pairwise(ran) if a["ended"] > b["started"]]
    assert overlapping == [], "two statements of one process were in flight"


async def test_three_processes_get_over_too_many_waiters_in_a_few_tries_g8(here, said, place):
    """000625 on every lock that is met, as if twenty others waited: nothing is lost, nothing tried for ever."""
    async with AsyncExitStack() as stack:
        drives = [await stack.enter_async_context(drive_at(here)) for _ in range(3)]
        for number, drive in enumerate(drives):
            await drive.create(f"p{number}", "x", [new(hour) for hour in range(15)])
        before = len(said())
        with account_settings(place, waiter_limit=0):
            await asyncio.gather(
                *(whole_life(drive, f"p{n}", hour) for n, drive in enumerate(drives) for hour in range(15))
            )
        ran = said()[before:]
        refused = [one for one in ran if one["code"] == "000625"]
        assert refused, "no lock was met: the race did not show what it is for"
        assert len(refused) < 45 * TRIES
        for number in range(3):
            assert {run.status for run in await drives[0].runs(f"p{number}")} == {RunStatus.COMPLETED}


@pytest.fixture
async def patient(here, drive):
    """A drive table whose queue does not wait between tries, and the waits that it would have made."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    account = Account(settings(here))
    queue = Queue(account, sleep=sleep)
    other = await opened(here, queue=queue)
    other.waits = waits
    yield other
    await other.aclose()
    await account.aclose()


async def test_what_is_refused_for_ever_is_given_up_after_a_few_tries_g8(patient, broken, said):
    await patient.create("p", "x", [new(0)])
    claim = await patient.claim("p", "x", HOUR)
    before = len(said())
    with broken("error", sql="^UPDATE", code="000625", times=None), pytest.raises(TransientError) as caught:
        await patient.checkpoint(claim, claim.run)
    assert caught.value.code == "lock_waiters"
    assert len(patient.waits) == TRIES - 1
    assert all(0 < wait <= drive_queue.LONGEST_WAIT_SECONDS for wait in patient.waits)
    assert len(said()) - before <= TRIES
    assert (await patient.checkpoint(claim, claim.run)).token == claim.token


@pytest.mark.parametrize("code", ["390112", "390114"])
@pytest.mark.parametrize("sql", ["^SELECT", "^UPDATE .*PIPELINE_TOKENS", "^UPDATE .*EXECUTION", "^COMMIT"])
async def test_a_session_that_is_over_is_replaced_and_the_step_done_once(code, sql, patient, broken, place):
    """Its transaction keeps its locks until the server gives it up: five minutes with Snowflake, here a second."""
    await patient.create("p", "x", [new(0)])
    with account_settings(place, idle_seconds=1), broken("expire", sql=sql, code=code) as told:
        claim = await patient.claim("p", "x", HOUR)
        assert told()["fired"] == 1
    assert (claim.token, claim.run.attempts) == (1, 1)
    assert (await patient.checkpoint(claim, claim.run)).token == 1


@pytest.mark.parametrize("act", ["drop_after", "drop_before"])
async def test_a_claim_whose_commit_had_no_answer_is_held_by_whoever_asked_g4(act, patient, broken):
    """It is settled in a new session: committed, it is the caller's; rolled back, it is done again."""
    await patient.create("p", "x", [new(0), new(1)])
    with broken(act, sql="^COMMIT", times=TRIES_OF_A_REQUEST) as told:
        claim = await patient.claim("p", "me", HOUR)
        assert told()["fired"] == TRIES_OF_A_REQUEST
    assert (claim.token, claim.run.window) == (1, window(0))
    assert (await patient.checkpoint(claim, claim.run)).token == 1
    assert [run.status for run in await patient.runs("p")] == [RunStatus.RUNNING, RunStatus.PENDING]


@pytest.mark.parametrize("act", ["drop_after", "drop_before"])
async def test_runs_whose_creation_had_no_answer_are_there_once_g4(act, patient, broken):
    await patient.create("p", "x", [new(9)])
    with broken(act, sql="^COMMIT", times=TRIES_OF_A_REQUEST):
        runs = await patient.create("p", "x", [new(0), new(1)])
    assert await patient.runs("p") == [*runs, (await patient.runs("p"))[-1]]


@pytest.mark.parametrize("act", ["drop_after", "drop_before"])
@pytest.mark.parametrize("sql", ["^UPDATE .*SLUICEWAY_DRIVE", "^MERGE", "^COMMIT"])
async def test_a_first_step_is_done_whatever_answer_of_making_the_pipeline_known_is_lost_g4(
    sql, act, patient, broken, place
):
    """Nothing of the step itself has happened then, so it is begun again."""
    with account_settings(place, idle_seconds=1), broken(act, sql=sql, times=TRIES_OF_A_REQUEST) as told:
        (run,) = await patient.create("p", "x", [new(0)])
        assert told()["fired"] == TRIES_OF_A_REQUEST
    assert await patient.runs("p") == [run]


@pytest.mark.parametrize("act", ["drop_after", "drop_before"])
async def test_the_last_write_of_a_run_is_made_once_although_its_answer_was_lost_g4(act, patient, broken):
    await patient.create("p", "x", [new(0), new(1), new(2)])
    claims = [await patient.claim("p", "me", HOUR) for _ in range(3)]
    with broken(act, sql="^UPDATE", times=TRIES_OF_A_REQUEST):
        done = await patient.checkpoint(claims[0], replace(claims[0].run, status=RunStatus.COMPLETED))
    with broken(act, sql="^UPDATE", times=TRIES_OF_A_REQUEST):
        failed = await patient.fail(claims[1], claims[1].run, failure(), retry_in=HOUR, quarantine=False)
    with broken(act, sql="^UPDATE", times=TRIES_OF_A_REQUEST):
        released = await patient.release(claims[2], claims[2].run)
    assert await patient.runs("p") == [done.run, failed, released]
    assert (failed.strikes, released.status) == (1, RunStatus.PENDING)


async def test_an_action_whose_answer_was_lost_is_kept_once_g4(patient, broken):
    with broken("drop_after", sql="^INSERT", times=TRIES_OF_A_REQUEST):
        await patient.record(event("pause"))
    assert await patient.events("p") == [event("pause")]


async def test_a_claim_that_could_not_be_settled_is_taken_up_by_the_same_process_at_once(patient, broken, here):
    """And by nobody else before its lease ends."""
    await patient.create("p", "x", [new(0)])
    with (
        broken("drop_after", sql="^COMMIT|SET steps = steps WHERE", times=None),
        pytest.raises(TransientError) as caught,
    ):
        await patient.claim("p", "me", HOUR)
    assert caught.value.code == "lost"
    (run,) = await patient.runs("p")
    assert (run.status, run.token, run.owner) == (RunStatus.RUNNING, 1, "me")
    other = await opened(here)
    assert await other.claim("p", "you", HOUR) is None
    await other.aclose()
    again = await patient.claim("p", "me", HOUR)
    assert (again.run.id, again.token) == (run.id, 2)
    assert await patient.claim("p", "me", HOUR) is None


async def test_what_cannot_be_settled_is_an_unknown_outcome_where_a_repetition_would_tell_lies(patient, broken):
    failed = await quarantined(patient)
    with broken("drop_after", sql="^COMMIT|SET steps = steps WHERE", times=None), pytest.raises(UnknownOutcome):
        await patient.reopen(failed.id, from_phase=None, run_floor=0, event=event("retry"))
    (run,) = await patient.runs("p")
    assert run.status is RunStatus.PENDING
    claim = await patient.claim("p", "me", HOUR)
    with broken("drop_after", sql="^UPDATE", times=None):
        with pytest.raises(UnknownOutcome):
            await patient.checkpoint(claim, claim.run)
        with pytest.raises(TransientError):
            await patient.renew([claim], LEASE)


async def quarantined(drive):
    await drive.create("p", "x", [new(0)])
    claim = await drive.claim("p", "me", HOUR)
    return await drive.fail(claim, claim.run, failure(Phase.AUDIT), retry_in=None, quarantine=True)


HOURS = 4 * ROWS_PER_INSERT
TRIES_OF_A_REQUEST = 5
"""HTTP requests that the driver sends for one statement without an answer (`state/snowflake/login.py`)."""
