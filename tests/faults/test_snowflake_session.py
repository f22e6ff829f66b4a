"""Sessions on the Snowflake test server: reliability §12.1, rows 11 and 41-45; both key slots under load."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from state.errors import ConfigurationError, SluicewayError, TransientError, UnknownOutcome
from state.snowflake.login import FIRST_PAUSE
from state.snowflake.session import Account, Session
from state.snowflake.settings import SnowflakeConnection
from state.snowflake.tag import Tag
from tests.snowflake.accounts import settings as account_settings
from tests.snowflake.accounts import until
from tests.snowflake.keys import key
from tests.snowflake.running import Place

TAG = Tag(pipeline="flights", run="flights_20251115_10h_run1", attempt=2, phase="audit")


class World:
    """A place of its own, a user of its own with a key pair, and the settings that lead there."""

    def __init__(self, place: Place, folder: Any) -> None:
        self.place = place
        self.server = place.server
        self.user = f"U_{place.database}"
        self.key_file = folder / "key.p8"
        self.use("first")
        self.user_has(rsa_public_key=key("first").public)

    def use(self, name: str) -> None:
        """Put this key where the settings point."""
        self.key_file.write_text(key(name).private)

    def user_has(self, **properties: Any) -> None:
        self.server.put(f"/test/users/{self.user}", properties)

    def settings(self, **other: Any) -> SnowflakeConnection:
        usual = {
            "account": "test",
            "user": self.user,
            "role": "SLUICEWAY_ROLE",
            "warehouse": f"W_{self.place.database}",
            "host": self.server.host,
            "port": self.server.port,
            "protocol": "http",
            "private_key": {"file": self.key_file},
        }
        return SnowflakeConnection.model_validate(usual | other)

    def logins(self) -> list[str]:
        """How each login of this user ended."""
        return [one["outcome"] for one in self.server.get(f"/test/logins?user={self.user}")]

    def warehouse_is(self, **how: Any) -> None:
        self.server.put(f"/test/warehouses/W_{self.place.database}", how)

    @contextmanager
    def fault(self, act: str, **rule: Any) -> Iterator[dict[str, Any]]:
        """Something goes wrong for this user; what it gives is filled with the rule and its counts at the end."""
        added = self.server.post("/test/faults", {"act": act, "user": self.user, **rule})
        told: dict[str, Any] = {}
        try:
            yield told
        finally:
            told |= self.server.get(f"/test/faults/{added['id']}")
            self.server.delete(f"/test/faults/{added['id']}")

    def expire(self, session: Session, code: int) -> None:
        self.server.post("/test/expire", {"session": int(session.id), "code": str(code)})

    def table(self, name: str = "T") -> str:
        return f"{self.place.database}.{self.place.schema}.{name}"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("state.snowflake.login.WAITS_MILLISECONDS", (1, 20))


@pytest.fixture
def world(place, tmp_path) -> World:
    return World(place, tmp_path)


@asynccontextmanager
async def opened(world: World, **other: Any) -> AsyncIterator[Account]:
    """No time passes by its clock: a slow machine looks like a driver that tries again, which leaves doubts."""
    account = Account(world.settings(**other), clock=lambda: 0.0)
    try:
        yield account
    finally:
        await account.aclose()


async def made(account: Account, world: World, name: str = "T") -> None:
    async with account.session(TAG) as session:
        await session.rows(f"CREATE TABLE {world.table(name)} (a NUMBER(38,0))")
        await session.rows(f"INSERT INTO {world.table(name)} VALUES (?)", 1)


async def failed(account: Account, sql: str) -> SluicewayError:
    with pytest.raises(SluicewayError) as caught:
        async with account.session(TAG) as session:
            await session.rows(sql)
    return caught.value


# A session as it is opened.


async def test_a_session_has_its_parameters_role_and_warehouse_n4_n10(world):
    async with opened(world, lock_timeout_seconds=17) as account, account.session(TAG) as session:
        shown = {row["key"]: row["value"] for row in await session.records("SHOW PARAMETERS IN SESSION")}
        assert (shown["LOCK_TIMEOUT"], shown["TIMEZONE"], shown["ABORT_DETACHED_QUERY"]) == ("17", "UTC", "true")
        assert await session.value("SELECT CURRENT_WAREHOUSE()") == f"W_{world.place.database}"
        assert await session.value("SELECT CURRENT_ROLE()") == "SLUICEWAY_ROLE"
        assert "NONE" in await session.value("SELECT CURRENT_SECONDARY_ROLES()")
        assert await session.value("SELECT CURRENT_SESSION()") == session.id


async def test_statements_bear_their_tag_and_nothing_else_is_sent_n4(world):
    async with opened(world) as account:
        await made(account, world)
    ran = [one for one in world.server.get("/test/statements") if one["user"] == world.user]
    assert [one["text"].split()[0] for one in ran] == ["SHOW", "CREATE", "INSERT"]
    assert {one["tag"] for one in ran} == {str(TAG)}


@pytest.mark.parametrize("name", ["plain", "a b", "que?stion", "st*ar", "br[a]cket", "per%20cent", "é😀"])
async def test_the_file_that_is_put_is_the_one_that_was_named(world, tmp_path, name):
    for folder, content in ((name, b"right"), ("queXstion", b"wrong file"), ("bra", b"wrong file")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "f.parquet").write_bytes(content)
    stage = f"{world.place.database}.{world.place.schema}.ST"
    async with opened(world) as account, account.session(TAG) as session:
        await session.rows(f"CREATE STAGE {stage}")
        record = await session.put(tmp_path / name / "f.parquet", f"@{stage}/x/")
        assert (record["status"], record["source_size"]) == ("UPLOADED", 5)
        assert [(one["name"], one["size"]) for one in await session.records(f"LIST @{stage}")] == [
            ("st/x/f.parquet", 5)
        ]


# 11: the clock.


@pytest.mark.parametrize("skew", [120, -120, 3600])
async def test_a_clock_that_is_wrong_is_called_so_n8(world, skew):
    world.user_has(skew_seconds=skew)
    async with opened(world) as account:
        error = await failed(account, "SELECT 1")
    assert (type(error), error.code) == (ConfigurationError, "clock")
    assert len(world.logins()) == 1


# 41: locks.


async def test_locks_and_their_limits_are_passing_matters_41(world):
    async with opened(world, lock_timeout_seconds=1) as account:
        await made(account, world)
        async with account.session(TAG) as holder:
            await holder.rows("BEGIN")
            await holder.rows(f"UPDATE {world.table()} SET a = 2")
            error = await failed(account, f"UPDATE {world.table()} SET a = 3")
            assert (type(error), error.code) == (TransientError, "lock_timeout")
            before = world.server.get("/test/settings")["waiter_limit"]
            world.server.put("/test/settings", {"waiter_limit": 0})
            try:
                error = await failed(account, f"UPDATE {world.table()} SET a = 3")
            finally:
                world.server.put("/test/settings", {"waiter_limit": before})
            assert (type(error), error.code) == (TransientError, "lock_waiters")
            await holder.rows("ROLLBACK")
        async with account.session(TAG) as session:
            assert await session.rows(f"SELECT a FROM {world.table()}") == [(1,)]


async def test_a_deadlock_ends_for_one_and_the_other_goes_on_41(world):
    async with opened(world) as account:
        await made(account, world, "A")
        await made(account, world, "B")
        a, b = (f"UPDATE {world.table(name)} SET a = a + 1" for name in "AB")

        async def both(first: str, second: str, mine: asyncio.Event, theirs: asyncio.Event) -> str:
            try:
                async with account.session(TAG) as session:
                    await session.rows("BEGIN")
                    await session.rows(first)
                    mine.set()
                    await theirs.wait()
                    await session.rows(second)
                    await session.rows("COMMIT")
                    return "done"
            except TransientError as error:
                return error.code

        one, two = asyncio.Event(), asyncio.Event()
        assert sorted(await asyncio.gather(both(a, b, one, two), both(b, a, two, one))) == ["deadlock", "done"]
        async with account.session(TAG) as session:
            for name in "AB":
                assert await session.value(f"SELECT a FROM {world.table(name)}") == 2


# 42: timeouts and warehouses.


async def test_a_statement_that_takes_too_long_is_ended_by_the_server_42(world):
    async with opened(world, statement_timeout_seconds=1) as account:
        error = await failed(account, "CALL SYSTEM$WAIT(30)")
    assert (type(error), error.code) == (TransientError, "statement_timeout")
    assert "statement_timeout_seconds" in error.hint


@pytest.mark.parametrize(
    ("how", "becomes", "code"),
    [
        ({"missing": True}, ConfigurationError, "no_warehouse"),
        ({"suspended": True, "auto_resume": False}, ConfigurationError, "no_warehouse"),
        ({"monitor": "MONTHLY"}, ConfigurationError, "resource_monitor"),
        ({"busy": True}, TransientError, "queued_timeout"),
    ],
    ids=["missing", "suspended", "monitor", "busy"],
)
async def test_a_warehouse_that_does_not_work_is_told_apart_42(world, how, becomes, code):
    async with opened(world, queued_timeout_seconds=1) as account:
        await made(account, world)
        world.warehouse_is(**how)
        error = await failed(account, f"SELECT a FROM {world.table()}")
    assert (type(error), error.code) == (becomes, code)


# 43: sessions that expire at every edge of a run.

RUN = [("SELECT count(*) FROM {t}",), ("BEGIN", "DELETE FROM {t}", "INSERT INTO {t} VALUES (10), (20)", "COMMIT")]
RUN += [("INSERT INTO {t} VALUES (30)",), ("SELECT sum(a) FROM {t}",)]


async def phase(account: Account, world: World, statements: tuple[str, ...]) -> Any:
    """One phase in a session of its own; a passing failure begins it anew, as the service does."""
    for _ in range(3):
        try:
            async with account.session(TAG) as session:
                for sql in statements:
                    found = await session.rows(sql.format(t=world.table()))
                return found
        except TransientError as error:
            assert error.code == "session_gone"
    raise AssertionError("it did not end")


@pytest.mark.parametrize("code", [390112, 390114, 390111])
@pytest.mark.parametrize("edge", range(len(RUN)))
async def test_a_session_that_expires_between_two_phases_changes_nothing_43_n6(world, code, edge):
    async with opened(world) as account:
        await made(account, world)
        for number, statements in enumerate(RUN):
            if number == edge:
                async with account.session(TAG) as session:
                    kept = session
                world.expire(kept, code)
            found = await phase(account, world, statements)
        assert found == [(60,)]
    assert world.logins() == ["ok"] * (1 if code == 390112 else 2)


@pytest.mark.parametrize("code", [390112, 390114, 390111])
@pytest.mark.parametrize("step", range(4))
async def test_a_session_that_expires_within_a_transaction_leaves_all_or_nothing_43_g4(world, code, step):
    """After 390114 nobody can end the transaction: the next attempt waits until the server has."""
    sql = RUN[1][step].split()[0]
    async with opened(world) as account:
        await made(account, world)
        ends_soon = account_settings(world.place, idle_seconds=0.3)
        with ends_soon, world.fault("expire", sql=rf"^\s*{sql}", code=str(code)) as told:
            await phase(account, world, RUN[1])
        assert told["fired"] == 1
        async with account.session(TAG) as session:
            assert await session.rows(f"SELECT a FROM {world.table()} ORDER BY a") == [(10,), (20,)]


# 44: keys and users.


@pytest.mark.parametrize("slots", [("rsa_public_key", "rsa_public_key_2"), ("rsa_public_key_2", "rsa_public_key")])
async def test_keys_are_rotated_under_load_without_a_failed_statement_44_n7(world, slots):
    """As documented: the new key into the free slot, the new file, then the old key out; twice, so back again."""
    first, second = slots
    world.user_has(rsa_public_key=None, rsa_public_key_2=None)
    world.user_has(**{first: key("first").public})
    stop, done, failures = asyncio.Event(), 0, []

    async def load(account: Account) -> None:
        nonlocal done
        while not stop.is_set():
            try:
                async with account.session(TAG, fresh=True) as session:
                    assert await session.value("SELECT 1") == 1
                    done += 1
            except SluicewayError as error:
                failures.append(error)

    async def some_more() -> None:
        so_far = done
        await until(lambda: done > so_far + 5 or failures)

    async with opened(world) as account:
        loads = [asyncio.create_task(load(account)) for _ in range(4)]
        for free, used, name in ((second, first, "second"), (first, second, "first")):
            await some_more()
            world.user_has(**{free: key(name).public})
            await some_more()
            world.use(name)
            await some_more()
            world.user_has(**{used: None})
        await some_more()
        stop.set()
        await asyncio.gather(*loads)
    assert failures == []
    assert set(world.logins()) == {"ok"}


@pytest.mark.parametrize("names_cause", [True, False])
async def test_a_key_that_was_taken_out_before_its_file_was_replaced_is_read_once_more_44_n7(world, names_cause):
    """The login that was on its way with the old key is refused; the file holds the new one by then."""
    world.user_has(rsa_public_key=key("second").public, names_cause=names_cause)
    with world.fault("hang", path="login-request", seconds=0.5):
        async with opened(world) as account:
            waiting = asyncio.create_task(failing_or_id(account))
            await asyncio.sleep(0.1)
            world.use("second")
            assert re.fullmatch(r"\d+", await waiting)
    assert world.logins() == ["394304", "ok"]


async def failing_or_id(account: Account) -> str:
    async with account.session(TAG) as session:
        return session.id


async def hundred(account: Account) -> set[tuple[type, str]]:
    """A hundred windows want a session at once; what they got."""

    async def one() -> tuple[type, str]:
        try:
            async with account.session(TAG):
                return (type(None), "")
        except SluicewayError as error:
            return (type(error), error.code)

    return set(await asyncio.gather(*(one() for _ in range(100))))


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"rsa_public_key": key("other").public}, "credential"),
        ({"locked": True}, "user_locked"),
        ({"disabled": True}, "user_locked"),
        ({"roles": ["OTHER"]}, "role"),
    ],
    ids=["key", "locked", "disabled", "role"],
)
async def test_a_hundred_windows_that_may_not_in_are_one_login_per_pause_44_n9(world, wrong, code):
    now = 0.0
    world.user_has(**wrong)
    account = Account(world.settings(), clock=lambda: now)
    for pauses in range(3):
        for _ in range(2):
            assert await hundred(account) == {(ConfigurationError, code)}
        assert len(world.logins()) == pauses + 1
        now += FIRST_PAUSE * 2**pauses
    await account.aclose()


async def test_a_password_is_not_tried_until_the_user_is_locked_44_n9(world, monkeypatch):
    monkeypatch.setenv("WRONG", "wrong")
    world.user_has(password="right")
    given = {"private_key": None, "password": {"env": "WRONG"}, "allow_password": True}
    async with opened(world, **given) as account:
        for _ in range(10):
            assert await hundred(account) == {(ConfigurationError, "credential")}
        assert world.logins() == ["390100"]
        monkeypatch.setenv("WRONG", "right")
        async with account.session(TAG):
            pass


@pytest.mark.parametrize("kind", ["programmatic_access_token", "oauth_token"])
async def test_tokens_are_replaced_without_a_restart_44(world, tmp_path, kind):
    path = tmp_path / "token"
    names = {"programmatic_access_token": "access_tokens", "oauth_token": "oauth_tokens"}
    path.write_text("one")
    world.user_has(**{names[kind]: {f"one {world.user}": {}, f"two {world.user}": {}}})
    async with opened(world, private_key=None, **{kind: {"file": path}}) as account:
        for word in ("one", "two"):
            path.write_text(f"{word} {world.user}")
            async with account.session(TAG, fresh=True):
                pass
        world.user_has(**{names[kind]: {}})
        with pytest.raises(ConfigurationError):
            async with account.session(TAG, fresh=True):
                pass


# 45: a server that refuses for ever, and lost answers.


@pytest.mark.parametrize("status", [503, 429])
async def test_a_server_that_refuses_for_ever_ends_after_a_few_tries_45_n2(world, status):
    async with opened(world) as account:
        await made(account, world)
        with world.fault("status", status=status, times=None, path="query-request") as told:
            error = await failed(account, f"INSERT INTO {world.table()} VALUES (2)")
        assert (type(error), error.code) == (UnknownOutcome, f"http_{status}")
        assert told["fired"] == 5
        with world.fault("status", status=status, times=None) as told:
            error = await failed(account, "SELECT 1")
        assert (type(error), error.code) == (TransientError, f"http_{status}")
        async with account.session(TAG) as session:
            assert await session.rows(f"SELECT a FROM {world.table()}") == [(1,)]


async def test_a_refusal_on_the_way_ends_in_two_attempts_45_n2(world):
    """A passing matter once, so that a new session is tried; that login says what is wrong."""
    async with opened(world) as account:
        await made(account, world)
        with world.fault("status", status=403, times=None) as told:
            first = await failed(account, f"INSERT INTO {world.table()} VALUES (2)")
            second = await failed(account, f"INSERT INTO {world.table()} VALUES (2)")
        assert (type(first), type(second)) == (TransientError, ConfigurationError)
        assert first.code == second.code == "http_403"
        assert "network policy" in second.hint
        assert told["fired"] <= 3  # the statement, the goodbye of its session, the login


@pytest.mark.parametrize("act", ["drop_before", "drop_after"])
async def test_a_commit_whose_answers_are_lost_is_unknown_and_happened_once_or_not_g4(world, act):
    async with opened(world) as account:
        await made(account, world)
        with world.fault(act, sql="^COMMIT", times=None), pytest.raises(UnknownOutcome):
            async with account.session(TAG) as session:
                await session.rows("BEGIN")
                await session.rows(f"INSERT INTO {world.table()} VALUES (2)")
                await session.rows("COMMIT")
        async with account.session(TAG, fresh=True) as session:
            found = await session.rows(f"SELECT a FROM {world.table()} ORDER BY a")
    assert found == ([(1,)] if act == "drop_before" else [(1,), (2,)])


async def test_an_answer_that_is_lost_once_is_asked_for_again_by_the_driver_g4(world):
    async with opened(world) as account:
        await made(account, world)
        with world.fault("drop_after", sql="^INSERT") as told:
            async with account.session(TAG) as session:
                assert await session.count(f"INSERT INTO {world.table()} VALUES (2)") == 1
        assert told["fired"] == 1
        async with account.session(TAG) as session:
            assert await session.count(f"SELECT count(*) FROM {world.table()}") == 2


async def test_a_cancelled_transaction_leaves_nothing_and_no_lock_s8(world):
    async with opened(world) as account:
        await made(account, world)
        inside = asyncio.Event()

        async def work() -> None:
            async with account.session(TAG) as session:
                await session.rows("BEGIN")
                await session.rows(f"UPDATE {world.table()} SET a = 2")
                inside.set()
                await session.rows("CALL SYSTEM$WAIT(60)")

        working = asyncio.create_task(work())
        await inside.wait()
        await asyncio.sleep(0.1)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        async with account.session(TAG) as session:
            assert await session.count(f"UPDATE {world.table()} SET a = 3 WHERE a = 1") == 1


async def test_the_loop_runs_while_a_statement_waits_in_the_server_s6(world):
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async with opened(world) as account, account.session(TAG) as session:
        ticking = asyncio.create_task(tick())
        await session.rows("CALL SYSTEM$WAIT(1)")
        ticking.cancel()
    assert ticks > 20


async def test_a_storage_that_hangs_is_given_up_in_time_and_the_next_try_passes_n2(world, tmp_path):
    """The driver would ask it for minutes. The fault lasts for longer than the limit, and would pass then."""
    file, stage = tmp_path / f"of-{world.place.database}", f"@{world.place.database}.{world.place.schema}.UP/"
    file.write_bytes(b"rows")
    async with opened(world, upload_timeout_seconds=1) as account:
        async with account.session(TAG) as session:
            await session.rows(f"CREATE STAGE {stage[1:-1]} ENCRYPTION = (TYPE = 'SNOWFLAKE_SSE')")
        hang = {"act": "hang", "method": "PUT", "path": f"^/storage/.*{file.name}", "seconds": 4, "times": None}
        rule = world.server.post("/test/faults", hang)["id"]
        with pytest.raises(TransientError) as caught:
            async with account.session(TAG) as session:
                await session.put(file, stage)
        world.server.delete(f"/test/faults/{rule}")
        assert (caught.value.code, "upload_timeout_seconds" in caught.value.hint) == ("upload", True)
        async with account.session(TAG) as session:
            assert (await session.put(file, stage))["status"] == "UPLOADED"
