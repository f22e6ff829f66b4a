"""How a MySQL source logs in, what its session is told and reads back, and until when rows are readable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from connectors.mysql import session as sessions
from connectors.mysql.bounds import OLD, behind
from connectors.mysql.connector import MysqlConnector
from connectors.mysql.grants import may_see_all, writing
from connectors.mysql.session import Session, variables
from connectors.mysql.settings import MysqlSettings
from state.errors import ConfigurationError, RestartAttempt, SluicewayError, TransientError, Unreachable
from state.model import Window
from tests.contract.connector import SPAN, START
from tests.integration.mysql_source import READER, MysqlPlace
from tests.servers.mariadb import NEWS_SECONDS
from tests.servers.relay import Relay

NOBODY = 1
"""A port that nothing listens on."""
SECOND = timedelta(seconds=1)


@pytest.fixture
def place(mariadb) -> MysqlPlace:
    place = MysqlPlace(mariadb)
    place.sql("CREATE TABLE t (id INT PRIMARY KEY, at TIMESTAMP(6) NOT NULL, KEY (at))")
    return place


@asynccontextmanager
async def opened(settings: MysqlSettings):
    session = Session(settings)
    try:
        await session.open()
        yield session
    finally:
        await session.aclose()


async def refusal(settings: MysqlSettings) -> SluicewayError:
    with pytest.raises(SluicewayError) as found:
        async with opened(settings):
            pass
    return found.value


async def cipher(settings: MysqlSettings) -> str:
    async with opened(settings) as session:
        [(_, value)] = await session.rows("asking", "SHOW STATUS LIKE 'Ssl_cipher'")
    return value


async def test_tls_is_on_and_certificate_and_host_are_checked_m17(place):
    assert MysqlSettings.model_fields["tls"].default is True
    ca = place.server.ca_file
    assert await cipher(place.settings(tls=True, ca_file=ca))
    assert await cipher(place.settings(tls=False)) == ""
    unknown = await refusal(place.settings(tls=True))
    async with Relay(place.server.port, host="127.0.0.2") as relay:
        other = await refusal(place.settings(tls=True, ca_file=ca, host="127.0.0.2", port=relay.port))
    for error in (unknown, other):
        assert (type(error), error.path, error.code) == (ConfigurationError, "source_system.tls", "2026")


async def test_a_server_that_offers_no_tls_hears_no_password_m17(place):
    async with Relay(place.server.port) as relay:
        relay.without_tls = True
        error = await refusal(place.settings(tls=True, ca_file=place.server.ca_file, port=relay.port))
        assert (error.path, relay.heard) == ("source_system.tls", b"")


async def test_the_session_is_told_all_that_a_read_hangs_on_m7(place):
    settings = place.settings(write_timeout_seconds=777, statement_timeout_seconds=55, connect_timeout_seconds=9)
    async with opened(settings) as session:
        names = (
            "time_zone sql_mode net_write_timeout net_read_timeout wait_timeout max_statement_time tx_isolation"
        )
        names += " character_set_client character_set_results lock_wait_timeout idle_transaction_timeout"
        names += " sql_select_limit sql_big_selects"
        [found] = await session.table(
            "asking", f"SELECT {', '.join(f'@@SESSION.{n} AS {n}' for n in names.split())}"
        )
    assert found == {
        "time_zone": "+00:00",
        "sql_mode": "NO_ENGINE_SUBSTITUTION",
        "net_write_timeout": 777,
        "net_read_timeout": 777,
        "wait_timeout": 777,
        "max_statement_time": "55.000000",
        "tx_isolation": "REPEATABLE-READ",
        "character_set_client": "utf8mb4",
        "character_set_results": "utf8mb4",
        "lock_wait_timeout": 9,
        "idle_transaction_timeout": 0,
        "sql_select_limit": 2**64 - 1,
        "sql_big_selects": 1,
    }


def test_mysql_itself_is_told_what_it_knows_m7(mariadb):
    """From the documentation of MySQL: milliseconds, and nothing of MariaDB's."""
    settings = MysqlPlace(mariadb).settings(statement_timeout_seconds=55)
    told = variables(settings, is_mariadb=False)
    assert told["max_execution_time"] == 55_000
    assert not {"max_statement_time", "idle_transaction_timeout"} & set(told)


@pytest.mark.parametrize(
    ("told", "code", "words"),
    [
        ({"no_such_variable": 1}, "1193", "no_such_variable"),
        ({"net_write_timeout": 10**9}, "session", "net_write_timeout is 31536000"),
        ({"character_set_results": "latin1"}, "session", "the connection is not utf8mb4"),
    ],
)
async def test_what_the_server_does_not_take_is_an_error_m7_m14(place, monkeypatch, told, code, words):
    """Refused, cut down in silence, or turned into question marks."""
    plain = variables
    monkeypatch.setattr(sessions, "variables", lambda *given, **more: {**plain(*given, **more), **told})
    error = await refusal(place.settings())
    assert (type(error), error.code, error.path) == (ConfigurationError, code, "source_system.host")
    assert words in error.message


async def test_an_instant_is_the_same_whatever_the_servers_zone_is_m10(place):
    place.many("INSERT INTO t VALUES (%s, %s)", [(1, START)])
    for zone in ("+05:30", "SYSTEM"):
        place.server.sql("SET GLOBAL time_zone = %s", zone)
        async with (
            aclosing(MysqlConnector(place.settings())) as source,
            source.open(SPAN) as snapshot,
            aclosing(snapshot.batches()) as batches,
        ):
            [row] = [row async for batch in batches for row in batch.to_pylist()]
        assert row == {"id": 1, "at": START}


async def test_a_wrong_password_is_a_matter_of_settings(place, monkeypatch):
    monkeypatch.setenv("WRONG", "canary-77f2")
    error = await refusal(place.settings(password={"env": "WRONG"}))
    assert (type(error), error.code, error.path) == (ConfigurationError, "1045", "source_system.user")
    assert "canary" not in f"{error.message} {error.hint}"


async def test_nobody_there_is_unreachable(place):
    assert type(await refusal(place.settings(port=NOBODY))) is Unreachable


@asynccontextmanager
async def saying(words: bytes) -> AsyncIterator[int]:
    """The port of a server that says so much, and nothing more until the other one hangs up."""
    gone = asyncio.Event()

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        gone.set()

    async with await asyncio.start_server(say, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await gone.wait()


async def test_a_server_that_says_nothing_is_given_up(place):
    async with saying(b"") as port:
        error = await refusal(place.settings(port=port, connect_timeout_seconds=1))
    assert (type(error), error.code) == (Unreachable, "2003")


async def test_another_protocol_is_named(place):
    async with saying(b"\x05\0\0\0\x0aABCD") as port:
        error = await refusal(place.settings(port=port))
    assert (type(error), error.code, error.path) == (ConfigurationError, "protocol", "source_system.host")


async def test_a_connection_that_fell_asleep_is_replaced(place):
    """The server closes it after `write_timeout_seconds` of silence; half of that is not waited for."""
    settings = place.settings()
    async with aclosing(MysqlConnector(settings)) as source:
        await source.now()
        [first] = place.connections()
        await source.now()
        [again] = place.connections()
        source._pool._questions[0]._used_at -= settings.write_timeout_seconds / 2
        await source.now()
        assert len({number for number, _ in place.connections()} - {first[0]}) == 1
    assert first[0] == again[0]


def ask_for_a_file(relay: Relay) -> None:
    """The next answer is the request for a file of the one who asked (LOAD DATA LOCAL)."""

    def spoil(_answer: bytes) -> bytes:
        relay.spoil = None
        name = b"\xfb" + str(SECRET).encode()
        return len(name).to_bytes(3, "little") + b"\x01" + name

    relay.spoil = spoil


SECRET = Path(__file__)
CONTENT = SECRET.read_bytes()


async def test_a_server_that_asks_for_a_file_gets_none_m17(place):
    """Whatever was asked: a question, or the rows of a part."""
    async with Relay(place.server.port) as relay:
        async with aclosing(MysqlConnector(place.settings(port=relay.port))) as source:
            await source.now()
            ask_for_a_file(relay)
            with pytest.raises(TransientError) as found:
                await source.now()
            async with source.open(SPAN) as snapshot:
                ask_for_a_file(relay)
                with pytest.raises(RestartAttempt) as read:
                    _ = [batch async for batch in snapshot.batches()]
        assert CONTENT[:100] not in relay.heard
    assert (found.value.code, read.value.code) == ("2027", "2027")


async def test_parts_wait_for_a_connection_when_the_budget_is_spent(place):
    place.many("INSERT INTO t VALUES (%s, %s)", [(n, START + n * SECOND) for n in range(6)])
    spans = [Window(START + n * SECOND, START + (n + 1) * SECOND) for n in range(6)]
    most = 0

    async def read(span: Window) -> int:
        nonlocal most
        async with source.open(span) as snapshot, aclosing(snapshot.batches()) as batches:
            most = max(most, len(place.connections()))
            return sum([batch.num_rows async for batch in batches])

    async with aclosing(MysqlConnector(place.settings(max_connections=3))) as source:
        assert await asyncio.gather(*map(read, spans)) == [1] * 6
    assert most == 3


@pytest.mark.parametrize("failing", [False, True])
async def test_no_snapshot_stays_open_when_its_reader_is_done_m4(place, failing):
    """Well or not: an old one weighs on the server as long as its connection lives."""
    open_ones = (
        "SELECT count(*) FROM information_schema.innodb_trx JOIN information_schema.processlist"
        " ON id = trx_mysql_thread_id WHERE db = %s"
    )
    async with aclosing(MysqlConnector(place.settings())) as source:
        with suppress(ZeroDivisionError):
            async with source.open(SPAN):
                await asyncio.sleep(NEWS_SECONDS)
                assert place.server.sql(open_ones, place.database) == [(1,)]
                if failing:
                    raise ZeroDivisionError
        await asyncio.sleep(NEWS_SECONDS)
        assert place.server.sql(open_ones, place.database) == [(0,)]


async def test_windows_are_held_back_by_transactions_that_may_still_write_m2(place):
    """Whatever the server's zone is; those that only read hold nothing back."""
    settings = place.settings(hold_back_open_transactions=True)
    place.server.sql(f"GRANT PROCESS ON *.* TO {READER}@'127.0.0.1'")
    try:
        async with aclosing(MysqlConnector(settings)) as source:
            free = await source.now()
            assert free - SECOND <= await source.readable_until(free) < free
            async with source.open(SPAN):
                await asyncio.sleep(1.1)  # whole seconds are told
                now = await source.now()
                assert await source.readable_until(now) == now - OLD
            with place.server.connection(place.database) as writer, writer.cursor() as cursor:
                began = await source.now()
                cursor.execute("SET time_zone = '+05:30'")
                writer.begin()
                cursor.execute("INSERT INTO t VALUES (1, NOW(6))")
                await asyncio.sleep(NEWS_SECONDS)
                held = await source.readable_until(began + timedelta(hours=3))
                writer.rollback()
            assert began - 2 * SECOND <= held <= began + SECOND
    finally:
        place.server.sql(f"REVOKE PROCESS ON *.* FROM {READER}@'127.0.0.1'")


async def test_who_may_not_see_transactions_is_told_so_m2(place):
    """MariaDB shows him none, and no error."""
    async with aclosing(MysqlConnector(place.settings(hold_back_open_transactions=True))) as source:
        with pytest.raises(ConfigurationError) as found:
            await source.readable_until(await source.now())
        checks = await source.check()
    assert (found.value.code, found.value.path) == ("no_process", "source_system.hold_back_open_transactions")
    assert [check.name for check in checks if not check.ok] == ["source_system.hold_back_open_transactions"]


async def test_a_server_that_is_no_replica_is_named_m18(place):
    place.server.sql(f"GRANT REPLICA MONITOR ON *.* TO {READER}@'127.0.0.1'")
    try:
        async with aclosing(MysqlConnector(place.settings(replica=True))) as source:
            with pytest.raises(ConfigurationError) as found:
                await source.readable_until(await source.now())
    finally:
        place.server.sql(f"REVOKE REPLICA MONITOR ON *.* FROM {READER}@'127.0.0.1'")
    assert found.value.path == "source_system.replica"


@pytest.mark.parametrize(
    ("channels", "seconds"),
    [
        ([{"Seconds_Behind_Master": 0}], 1),
        ([{"Seconds_Behind_Source": 40}], 41),
        ([{"Seconds_Behind_Source": 2}, {"Seconds_Behind_Source": 7}], 8),
        ([{"Seconds_Behind_Master": "5"}], 6),
    ],
)
def test_the_slowest_channel_counts_rounded_up_m18(mariadb, channels, seconds):
    """As MariaDB and MySQL call it."""
    assert behind(MysqlPlace(mariadb).settings(), channels) == seconds * SECOND


@pytest.mark.parametrize(
    "channels",
    [[{"Seconds_Behind_Master": None}], [{"Seconds_Behind_Source": 3}, {"Seconds_Behind_Source": None}]],
)
def test_a_replica_that_stands_still_is_not_taken_for_one_without_lag_m18(mariadb, channels):
    with pytest.raises(TransientError) as found:
        behind(MysqlPlace(mariadb).settings(), channels)
    assert found.value.code == "replica_stopped"


GRANTS = [
    "GRANT USAGE ON *.* TO `reader`@`%` IDENTIFIED BY PASSWORD '*1'",
    "GRANT SELECT, SHOW VIEW ON `shop`.* TO `reader`@`%`",
    "GRANT SELECT (`id`, `delete`), REFERENCES ON `shop`.`orders` TO `reader`@`%`",
]


def test_what_a_user_may_write_is_told_from_his_grants_m17():
    assert writing(GRANTS[:2]) == []
    assert writing(GRANTS) == ["REFERENCES"]
    assert writing(["GRANT ALL PRIVILEGES ON `shop`.* TO `x`@`%`"]) == ["ALL PRIVILEGES"]
    assert writing(["GRANT SELECT, INSERT ON `shop`.* TO `x`@`%`", "GRANT `role` TO `x`@`%`"]) == ["INSERT"]


def test_only_a_global_privilege_shows_the_transactions_of_others_m2():
    assert not may_see_all([*GRANTS, "GRANT ALL PRIVILEGES ON `shop`.* TO `x`@`%`"])
    assert may_see_all(["GRANT PROCESS ON *.* TO `x`@`%`"])
    assert may_see_all(["GRANT ALL PRIVILEGES ON *.* TO `x`@`%`"])


async def test_doctor_says_what_a_user_may_write_and_fails_where_that_is_wanted_m17(place):
    plain = place.settings(user="sluiceway")
    for settings, ok in ((plain, True), (plain.model_copy(update={"require_read_only": True}), False)):
        async with aclosing(MysqlConnector(settings)) as source:
            [user] = [check for check in await source.check() if check.name == "source_system.user"]
        assert user.ok is ok
        assert "DELETE" in user.found
    async with aclosing(MysqlConnector(place.settings(require_read_only=True))) as source:
        assert all(check.ok for check in await source.check())
