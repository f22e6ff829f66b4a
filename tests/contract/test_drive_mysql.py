"""The drive table in a real MariaDB: its contract, and what only a server can do to it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing
from itertools import pairwise

import pytest

from service.lease import LeaseKeeper
from state.errors import ConfigurationError, SluicewayError, TransientError
from state.mysql.connection import PACKETS_PER_TURN
from state.mysql.drive import MysqlDrive
from state.owner import owner_name
from tests.contract.drive import CLAUSES, Clock
from tests.contract.drive_desk import LEASE, dead_owner, event, new
from tests.contract.drive_places import MysqlPlace
from tests.servers.relay import Relay


@pytest.mark.parametrize("name", CLAUSES)
async def test_mariadb_keeps_the_contract(name, mariadb):
    async def make(clock: Clock) -> MysqlDrive:
        settings = mariadb.database()
        await MysqlDrive.init(settings)
        return await MysqlDrive.open(settings, clock=clock)

    await CLAUSES[name](make)


@pytest.fixture
async def settings(mariadb):
    settings = mariadb.database(lock_wait_timeout_seconds=1, answer_timeout_seconds=3)
    await MysqlDrive.init(settings)
    return settings


@pytest.fixture
async def drive(settings):
    async with aclosing(await MysqlDrive.open(settings)) as drive:
        yield drive


@pytest.fixture
async def other(settings):
    """As another process has it."""
    async with aclosing(await MysqlDrive.open(settings)) as drive:
        yield drive


async def statements_of_a_claim(settings) -> int:
    async with aclosing(await MysqlDrive.open(settings)) as drive:
        await drive.create("counted", "x", [new(0)])
        said = []
        MysqlPlace(settings).before_each_statement(drive, lambda: said.append(1))
        assert await drive.claim("counted", "one", LEASE)
        return len(said)


async def killed_before(number: int, drive, settings, mariadb) -> object:
    """What a claim comes to whose connection is killed before its n-th statement."""
    seen = 0

    def before() -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            mariadb.hang_up(settings.database)

    MysqlPlace(settings).before_each_statement(drive, before)
    try:
        return await drive.claim("p", "one", LEASE)
    except SluicewayError as error:
        return error


async def test_a_connection_killed_at_any_statement_leaves_all_or_nothing(settings, mariadb, other):
    """Before BEGIN nobody notices; later it is transient, with COMMIT too: that it did not happen is found out."""
    statements = await statements_of_a_claim(settings)
    assert statements >= 6
    (run,) = await other.create("p", "x", [new(0)])
    outcomes = []
    for number in range(1, statements + 1):
        async with aclosing(await MysqlDrive.open(settings)) as drive:
            outcome = await killed_before(number, drive, settings, mariadb)
            outcomes.append(type(outcome).__name__)
            (found,) = await drive.runs("p")
            if isinstance(outcome, SluicewayError):
                assert (found.status, found.token) == (run.status, run.token)
                claim = await drive.claim("p", "one", LEASE)
            else:
                claim = outcome
            run = await drive.release(claim, claim.run)
    assert outcomes == ["Claim", *["TransientError"] * (statements - 1)]


async def test_an_answer_lost_before_commit_is_transient_and_leaves_nothing(settings, mariadb, other):
    async with Relay(mariadb.port) as relay:
        through = settings.model_copy(update={"port": relay.port})
        async with aclosing(await MysqlDrive.open(through)) as drive:
            relay.lose_answer_to = b"INSERT INTO pipeline_execution_drive"
            with pytest.raises(TransientError) as caught:
                await drive.create("p", "x", [new(0)])
            assert caught.value.code == "2013"
            assert await other.runs("p") == []
            assert await drive.create("p", "x", [new(0)])


async def test_a_server_that_never_answers_is_given_up(settings, mariadb):
    async with Relay(mariadb.port) as relay:
        through = settings.model_copy(update={"port": relay.port, "answer_timeout_seconds": 1})
        async with aclosing(await MysqlDrive.open(through)) as drive:
            relay.silent = True
            with pytest.raises(TransientError, match="no answer in time"):
                await drive.create("p", "x", [new(0)])
            assert relay.connections == 1, "a server that hangs is not asked again at once"
            relay.silent = False
            assert await drive.create("p", "x", [new(0)])


async def test_who_is_cancelled_leaves_a_server_that_never_answers_when_its_answer_is_given_up(settings, mariadb):
    """A run that is lost comes to its end; who waits for a turn leaves at once."""
    async with Relay(mariadb.port) as relay:
        through = settings.model_copy(update={"port": relay.port, "answer_timeout_seconds": 1})
        async with aclosing(await MysqlDrive.open(through)) as drive:
            relay.silent = True
            asked, waits = (asyncio.create_task(drive.create("p", "x", [new(hour)])) for hour in range(2))
            await asyncio.sleep(0.1)
            asked.cancel()
            waits.cancel()
            await asyncio.wait([asked, waits], return_when=asyncio.FIRST_COMPLETED)
            assert (asked.done(), waits.cancelled()) == (False, True)
            await asyncio.wait([asked])
            assert asked.cancelled()
            relay.silent = False
            assert await drive.create("p", "x", [new(0)])


async def test_a_connection_that_was_ended_while_idle_is_not_noticed(drive, settings, mariadb):
    mariadb.hang_up(settings.database)
    assert len(await drive.create("p", "x", [new(0)])) == 1
    mariadb.hang_up(settings.database)
    assert len(await drive.runs("p")) == 1


async def test_a_lease_outlives_a_grant_that_is_taken_away_for_a_while(drive, settings, mariadb):
    """Whoever mends it in time loses no run: the lease keeper goes on asking, and says what is wrong."""
    await drive.create("p", "x", [new(0)])
    grant, clock = f"UPDATE ON {settings.database}.* {{}} sluiceway@'127.0.0.1'", Clock()

    def monotonic() -> float:
        return clock.at.timestamp()

    keeper = LeaseKeeper(drive, LEASE, monotonic)
    claim = await drive.claim("p", "one", LEASE)
    async with keeper.hold(claim, monotonic()) as lease:
        mariadb.sql(f"REVOKE {grant.format('FROM')}")
        mariadb.hang_up(settings.database)  # a connection keeps what it was granted
        with pytest.raises(ConfigurationError, match="denied"):
            await drive.renew([claim], LEASE)
        assert not await keeper.renew()
        mariadb.sql(f"GRANT {grant.format('TO')}")
        mariadb.hang_up(settings.database)
        clock.advance(LEASE / 2)
        assert await keeper.renew()
        clock.advance(LEASE * 3 / 4)
        lease.require()


@pytest.mark.parametrize("crash", [False, True])
async def test_a_server_that_comes_back_is_used_again_with_all_that_was_stored(crash, drive, mariadb):
    await drive.create("p", "x", [new(0), new(1)])
    claim = await drive.claim("p", "one", LEASE)
    await asyncio.to_thread(mariadb.kill if crash else mariadb.stop)
    try:
        for call in (drive.now, lambda: drive.checkpoint(claim, claim.run), lambda: drive.renew([claim], LEASE)):
            with pytest.raises(TransientError) as caught:
                await call()
            assert caught.value.code == "2003"
    finally:
        await asyncio.to_thread(mariadb.start)
    claim = await drive.checkpoint(claim, claim.run)
    assert [run.token for run in await drive.runs("p")] == [1, 0]


async def test_a_write_waits_only_for_its_own_pipeline_and_not_for_ever(drive, settings, mariadb):
    for pipeline in ("p", "q"):
        await drive.create(pipeline, "x", [new(0)])
    with mariadb.connection(settings.database) as admin, admin.cursor() as cursor:
        cursor.execute("START TRANSACTION")
        cursor.execute("UPDATE pipeline_tokens SET touched = 0 WHERE pipeline_name = 'p'")
        with pytest.raises(TransientError) as caught:
            await drive.claim("p", "one", LEASE)
        assert (caught.value.code, "innodb_trx" in caught.value.hint) == ("1205", True)
        assert await drive.claim("q", "one", LEASE)
        assert len(await drive.runs("p")) == 1, "who only reads waits for nobody"
    assert await drive.claim("p", "one", LEASE)


async def test_a_deadlock_is_transient_and_leaves_nothing(drive, settings, mariadb):
    await drive.create("p", "x", [new(hour) for hour in range(50)])
    with mariadb.connection(settings.database) as admin, admin.cursor() as cursor:
        cursor.execute("START TRANSACTION")
        cursor.execute("UPDATE pipeline_execution_drive SET owner = 'admin'")
        claiming = asyncio.create_task(drive.claim("p", "one", LEASE))
        await asyncio.to_thread(mariadb.wait_for_lock_wait, settings.database)
        await asyncio.to_thread(cursor.execute, "UPDATE pipeline_tokens SET touched = 0")
        with pytest.raises(TransientError) as caught:
            await claiming
        assert caught.value.code == "1213"
    claim = await drive.claim("p", "one", LEASE)
    assert (claim.token, claim.run.attempts) == (1, 1)


async def test_many_first_writers_of_a_pipeline_meet_no_deadlock(settings):
    """The row that a pipeline is locked by is made once, outside of what may be undone."""
    drives = [await MysqlDrive.open(settings) for _ in range(8)]

    async def create(drive: MysqlDrive, number: int, pipeline: str) -> str:
        try:
            await drive.create(pipeline, "x", [new(0), new(number % 2)])
        except SluicewayError as error:
            return error.code
        return "created"

    for turn in range(20):
        told = await asyncio.gather(*(create(drive, n, f"p{turn}") for n, drive in enumerate(drives)))
        assert sorted(told) == ["created", *["unfinished"] * 7]
    for drive in drives:
        await drive.aclose()


async def test_leases_of_many_pipelines_are_renewed_by_many_at_once(settings):
    drives = [await MysqlDrive.open(settings) for _ in range(4)]
    pipelines = [f"p{number}" for number in range(6)]
    held = []
    for pipeline in pipelines:
        await drives[0].create(pipeline, "x", [new(hour) for hour in range(4)])
    for drive in drives:
        held.append([await drive.claim(pipeline, "x", LEASE) for pipeline in pipelines])

    async def renew(drive: MysqlDrive, claims: list) -> None:
        for _ in range(10):
            claims.reverse()
            assert len(await drive.renew(claims, LEASE)) == len(pipelines)

    await asyncio.gather(*map(renew, drives, held))
    for drive in drives:
        await drive.aclose()


async def stuck(drive: MysqlDrive, gone_on: threading.Event) -> asyncio.Task:
    """A write that has locked pipeline p and then stands still, as a stopped process does."""
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()

    def step(rows) -> None:
        list(rows.unfinished("p"))
        loop.call_soon_threadsafe(reached.set)
        gone_on.wait()
        rows.add(event("late"))

    task = asyncio.create_task(drive._write("drive.record", step))
    await reached.wait()
    return task


async def test_a_process_that_stands_still_inside_a_write_holds_others_up_only_so_long(drive, mariadb, settings):
    """Its transaction is ended by the server (MariaDB), and what it says later is refused."""
    await drive.create("p", "x", [new(0)])
    gone_on = threading.Event()
    patient = settings.model_copy(update={"lock_wait_timeout_seconds": 30, "answer_timeout_seconds": 60})
    async with aclosing(await MysqlDrive.open(patient)) as second:
        late = await stuck(drive, gone_on)
        try:
            assert await second.claim("p", "two", LEASE)
        finally:
            gone_on.set()
        with pytest.raises(TransientError):
            await late
        assert await second.events("p") == []
    await drive.record(event("now"))
    assert len(await drive.events("p")) == 1


async def test_a_claim_that_is_cancelled_while_it_waits_holds_and_leaves_nothing(other, mariadb, settings):
    await other.create("p", "x", [new(0)])
    patient = settings.model_copy(update={"lock_wait_timeout_seconds": 30, "answer_timeout_seconds": 60})
    async with aclosing(await MysqlDrive.open(patient)) as drive:
        await is_cancelled_while_it_waits(drive, mariadb, settings.database)
        claim = await other.claim("p", "two", LEASE)  # waits a second at most
        assert (claim.token, claim.owner) == (1, "two")


async def is_cancelled_while_it_waits(drive: MysqlDrive, mariadb, database: str) -> None:
    with mariadb.connection(database) as admin, admin.cursor() as cursor:
        cursor.execute("START TRANSACTION")
        cursor.execute("UPDATE pipeline_tokens SET touched = 0 WHERE pipeline_name = 'p'")
        claiming = asyncio.create_task(drive.claim("p", "one", LEASE))
        await asyncio.to_thread(mariadb.wait_for_lock_wait, database)
        claiming.cancel()
        await asyncio.sleep(0)
        cursor.execute("COMMIT")
        with pytest.raises(asyncio.CancelledError):
            await claiming


async def test_a_look_for_work_that_finds_none_stores_nothing(drive, mariadb, settings):
    await drive.create("p", "x", [new(0)])
    await drive.claim("p", "one", LEASE)
    touched = "SELECT touched FROM pipeline_tokens"
    before = mariadb.sql(touched, database=settings.database)
    assert await drive.claim("p", "one", LEASE) is None
    assert mariadb.sql(touched, database=settings.database) == before
    assert await drive.claim("q", "one", LEASE) is None


async def test_a_claim_reads_on_as_far_as_the_run_that_is_due(drive):
    runs = await drive.create("p", "x", [new(hour) for hour in range(200)])
    claim = await drive.claim("p", "one", LEASE, run=runs[-1].id)
    assert claim.run.id == runs[-1].id
    assert len(await drive.windows("p", unfinished=True)) == 200


async def test_while_many_rows_are_taken_the_loop_has_its_turn_after_some_of_them(drive):
    """They have come at once, and the driver would take them all without a pause."""
    await drive.create("p", "x", [new(hour) for hour in range(1000)])
    taken = [drive._session._connection._packets]

    async def watch() -> None:
        while True:
            taken.append(drive._session._connection._packets)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    assert len(await drive.windows("p")) == 1000
    watching.cancel()
    assert taken[-1] - taken[0] > 1000
    assert max(after - before for before, after in pairwise(taken)) <= PACKETS_PER_TURN


async def test_a_dead_owner_is_believed_of_this_host_only(drive):
    host, pid, start, boot, namespace = dead_owner().rsplit(":", 4)
    elsewhere = [f"other-host:{pid}:{start}:{boot}:{namespace}", f"{host}:{pid}:{start}:ffffffff:{namespace}"]
    for number, owner in enumerate(elsewhere):
        pipeline = f"p{number}"
        await drive.create(pipeline, "x", [new(0)])
        await drive.claim(pipeline, owner, LEASE)
        assert await drive.claim(pipeline, owner_name(), LEASE) is None
    await drive.create("own", "x", [new(0)])
    await drive.claim("own", dead_owner(), LEASE)
    assert await drive.claim("own", owner_name(), LEASE)
