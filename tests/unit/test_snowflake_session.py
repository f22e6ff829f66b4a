"""Sessions over the real driver: values, errors as they come over the wire, the pool, cancellation."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from aiohttp import web

from state.errors import (
    ConfigurationError,
    ContractError,
    PermanentError,
    SluicewayError,
    TransientError,
    UnknownOutcome,
)
from state.snowflake.session import DROPPED_AFTER, MOST_IDLE, PROBED_AFTER, Account
from state.snowflake.submitted import SLICE
from state.snowflake.tag import Tag
from tests.unit.snowflake_script import answer, drop, hang, refused, serving, settings, table

TAG = Tag(pipeline="flights", phase="audit")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    monkeypatch.setenv("SNOWFLAKE_TEST_PASSWORD", "secret")
    monkeypatch.setattr("state.snowflake.login.WAITS_MILLISECONDS", (2, 20))


@pytest.fixture
async def server():
    async with serving() as script:
        yield script


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def account(server, clock):
    made = Account(settings(server.port), clock=clock)
    yield made
    await made.aclose()


async def failed(account: Account, sql: str, *values) -> SluicewayError:
    with pytest.raises(SluicewayError) as caught:
        async with account.session(TAG) as session:
            await session.rows(sql, *values)
    return caught.value


# Values.

INSTANTS = [
    datetime(1, 1, 1, 0, 0, 0, 1),
    datetime(1899, 12, 31, 23, 59, 59, 999999),
    datetime(1969, 12, 31, 23, 59, 59, 999999),
    datetime(1970, 1, 1),
    datetime(2025, 11, 15, 10, 0, 0, 123456),
    datetime(2262, 4, 12, 0, 0, 0, 1),
    datetime(9999, 12, 31, 23, 59, 59, 999999),
]


def nanoseconds(instant: datetime) -> str:
    return str((instant - datetime(1970, 1, 1)) // timedelta(microseconds=1) * 1000)


BOUND = [
    *((instant, "TIMESTAMP_NTZ", nanoseconds(instant)) for instant in INSTANTS),
    *((instant.replace(tzinfo=UTC), "TIMESTAMP_NTZ", nanoseconds(instant)) for instant in INSTANTS),
    (datetime.fromisoformat("2025-11-15T12:00+02:00"), "TIMESTAMP_NTZ", nanoseconds(datetime(2025, 11, 15, 10))),
    (date(9999, 12, 31), "DATE", "253402214400000"),
    (time(23, 59, 59, 999999), "TIME", "86399999999000"),
    (10**38 - 1, "FIXED", "9" * 38),
    (Decimal("1E-10"), "FIXED", "0.0000000001"),
    (Decimal("9" * 28 + ".0123456789"), "FIXED", "9" * 28 + ".0123456789"),
    (2**53 + 1, "FIXED", "9007199254740993"),
    (0.1, "REAL", "0.1"),
    (True, "BOOLEAN", "true"),
    ("\\N'\"\0é😀", "TEXT", "\\N'\"\0é😀"),
    (b"\0\xff", "BINARY", "00ff"),
    (None, "ANY", None),
]


@pytest.mark.parametrize(("value", "kind", "sent"), BOUND, ids=[repr(value)[:60] for value, *_ in BOUND])
async def test_a_value_is_bound_exactly(server, account, value, kind, sent):
    async with account.session(TAG) as session:
        await session.rows("SELECT ?", value)
    assert server.seen[-1].body["bindings"] == {"1": {"type": kind, "value": sent}}


def field(kind: pa.DataType, logical: str, **more: int) -> pa.Field:
    """A column as Snowflake describes it in Arrow."""
    told = {
        "logicalType": logical,
        "scale": 0,
        "precision": 38,
        "charLength": 0,
        "byteLength": 16,
        "finalType": "T",
    }
    return pa.field("C", kind, True, {key: str(value) for key, value in (told | more).items()})


def instants(values: list[datetime | None], zone: int | None = None) -> pa.StructArray:
    """Seconds, nanoseconds, and 1440 plus the offset in minutes."""
    micros = [
        None if value is None else (value - datetime(1970, 1, 1)) // timedelta(microseconds=1) for value in values
    ]
    parts = {
        "epoch": pa.array([None if value is None else value // 10**6 for value in micros], pa.int64()),
        "fraction": pa.array([None if value is None else value % 10**6 * 1000 for value in micros], pa.int32()),
    }
    if zone is not None:
        parts["timezone"] = pa.array([None if value is None else 1440 + zone for value in micros], pa.int32())
    return pa.StructArray.from_arrays(
        list(parts.values()), names=list(parts), mask=pa.array([value is None for value in micros])
    )


def arrow(column: pa.Array, described: pa.Field) -> web.Response:
    sink = io.BytesIO()
    schema = pa.schema([described])
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch([column], schema=schema))
    told = {key.decode(): value.decode() for key, value in described.metadata.items()}
    kind = {"name": "C", "type": told["logicalType"].lower(), "nullable": True}
    return answer(
        rowtype=[kind | {"scale": int(told["scale"]), "precision": int(told["precision"])}],
        rowsetBase64=base64.b64encode(sink.getvalue()).decode(),
        queryResultFormat="arrow",
        total=len(column),
        returned=len(column),
    )


AWARE = [instant.replace(tzinfo=UTC) for instant in INSTANTS]
NUMBERS = [10**38 - 1, None, -(10**38) + 1]
DECIMALS = [Decimal("9" * 28 + ".0123456789"), None, Decimal("-0.0000000001")]
READ = {
    "NUMBER(38,0)": (pa.array(NUMBERS, pa.decimal128(38, 0)), {"logical": "FIXED"}, NUMBERS),
    "NUMBER(38,10)": (pa.array(DECIMALS, pa.decimal128(38, 10)), {"logical": "FIXED", "scale": 10}, DECIMALS),
    "NUMBER in 64 bits": (
        pa.array([2**53 + 1, None, -(2**63)]),
        {"logical": "FIXED"},
        [2**53 + 1, None, -(2**63)],
    ),
    "NUMBER(18,2) in 64 bits": (
        pa.array([99999999999999901, None], pa.int64()),
        {"logical": "FIXED", "scale": 2},
        [Decimal("999999999999999.01"), None],
    ),
    "TIMESTAMP_NTZ": (
        instants([*INSTANTS, None]),
        {"logical": "TIMESTAMP_NTZ", "scale": 9},
        [*INSTANTS, None],
    ),
    "TIMESTAMP_LTZ": (
        instants([*INSTANTS, None]),
        {"logical": "TIMESTAMP_LTZ", "scale": 9},
        [*AWARE, None],
    ),
    "TIMESTAMP_TZ": (
        instants([INSTANTS[4], None], zone=-300),
        {"logical": "TIMESTAMP_TZ", "scale": 9},
        [AWARE[4], None],
    ),
    "TIMESTAMP_NTZ, all NULL": (instants([None, None]), {"logical": "TIMESTAMP_NTZ", "scale": 9}, [None, None]),
    "DATE": (
        pa.array([date(1, 1, 1), None, date(9999, 12, 31)]),
        {"logical": "DATE"},
        [date(1, 1, 1), None, date(9999, 12, 31)],
    ),
    "BINARY": (pa.array([b"\0\xff", b"", None]), {"logical": "BINARY"}, [b"\0\xff", b"", None]),
    "VARCHAR": (pa.array(["", "\\N", "é😀\0", None]), {"logical": "TEXT"}, ["", "\\N", "é😀\0", None]),
    "VARIANT": (
        pa.array(['{"a":9007199254740993}', None]),
        {"logical": "VARIANT"},
        ['{"a":9007199254740993}', None],
    ),
    "BOOLEAN": (pa.array([True, None, False]), {"logical": "BOOLEAN"}, [True, None, False]),
    "FLOAT": (pa.array([0.1, None, float("inf")]), {"logical": "REAL"}, [0.1, None, float("inf")]),
}


@pytest.mark.parametrize("name", READ)
async def test_a_value_is_read_exactly(server, account, name):
    column, described, values = READ[name]
    server.on_statement = lambda _request, body: (
        arrow(column, field(column.type, **described)) if body["sqlText"] == "SELECT 1" else None
    )
    async with account.session(TAG) as session:
        found = [value for (value,) in await session.rows("SELECT 1")]
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]
    assert all(value.tzinfo is UTC for value in found if isinstance(value, datetime) and value.tzinfo)


async def test_a_timestamp_that_python_has_not_is_an_error_and_no_other_timestamp(server, account):
    late = pa.StructArray.from_arrays(
        [pa.array([253402300800], pa.int64()), pa.array([0], pa.int32())], names=["epoch", "fraction"]
    )
    server.on_statement = lambda _request, body: (
        arrow(late, field(late.type, "TIMESTAMP_NTZ", scale=9)) if body["sqlText"] == "SELECT 1" else None
    )
    assert type(await failed(account, "SELECT 1")) is ContractError


# Answers.


def answering(server, sql: str, response) -> None:
    server.on_statement = lambda _request, body: response() if body["sqlText"].startswith(sql) else None


async def test_other_tasks_have_their_turn_while_many_rows_are_read(server, account, monkeypatch):
    """Leases are renewed meanwhile, for one."""
    many = 20 * SLICE
    answering(server, "SELECT n", lambda: table(["n"], [[str(number)] for number in range(many)], "fixed"))
    turns, seen = 0, set()

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def read(value):
        seen.add(turns)
        return value

    monkeypatch.setattr("state.snowflake.submitted.read", read)
    async with account.session(TAG) as session:
        seen.clear()
        task = asyncio.create_task(other())
        assert await session.rows("SELECT n") == [(number,) for number in range(many)]
        task.cancel()
    assert len(seen) >= many / SLICE


async def test_records_bear_the_names_of_the_server_in_lower_case(server, account):
    answering(server, "LIST", lambda: table(["name", "Size", "null?"], [["a", "1", None], ["b", "2", "Y"]]))
    async with account.session(TAG) as session:
        assert await session.records("LIST @s") == [
            {"name": "a", "size": "1", "null?": None},
            {"name": "b", "size": "2", "null?": "Y"},
        ]
        assert await session.value("LIST @s") == "a"


async def test_no_row_is_no_value(server, account):
    answering(server, "SELECT", lambda: table(["x"], []))
    async with account.session(TAG) as session:
        assert (await session.rows("SELECT"), await session.value("SELECT")) == ([], None)


@pytest.mark.parametrize(
    ("columns", "row", "count"),
    [
        (["COUNT(*)"], ["7"], 7),
        (["number of rows inserted"], ["3"], 3),
        (["number of rows updated", "number of multi-joined rows updated"], ["4", "9"], 4),
        (["number of rows inserted", "number of rows updated"], ["3", "4"], 7),
        (["number of rows deleted"], ["0"], 0),
    ],
)
async def test_a_count_is_what_was_asked_or_touched(server, account, columns, row, count):
    answering(server, "X", lambda: table(columns, [row], "fixed"))
    async with account.session(TAG) as session:
        assert await session.count("X") == count


async def test_a_session_tells_its_id(server, account):
    async with account.session(TAG) as session:
        assert session.id == "1001"


async def test_every_statement_bears_the_tag_of_the_moment_without_a_statement_of_its_own_n4(server, account):
    async with account.session(TAG) as session:
        await session.rows("SELECT 1")
        await session.tag(Tag(pipeline="flights", phase="merge"))
        await session.rows("SELECT 2")
    async with account.session(Tag(pipeline="other")) as session:
        await session.rows("SELECT 3")
    sent = [json.loads(one.body["parameters"]["QUERY_TAG"]) for one in server.at("/queries/v1/query-request")]
    assert [(tag["pipeline"], tag.get("phase")) for tag in sent] == [
        ("flights", "audit"),
        ("flights", "audit"),
        ("flights", "merge"),
        ("other", None),
    ]
    assert server.statements == ["SHOW PARAMETERS", "SELECT 1", "SELECT 2", "SELECT 3"]


@pytest.mark.parametrize(
    "name", ["TIMEZONE", "LOCK_TIMEOUT", "ABORT_DETACHED_QUERY", "TRANSACTION_ABORT_ON_ERROR"]
)
async def test_a_parameter_that_the_server_did_not_take_ends_the_session_n4(server, account, name):
    def other(_request, body):
        if body["sqlText"] == "SHOW PARAMETERS":
            shown = server.parameters["session-1"] | {name: "other"}
            return table(["key", "value"], [[key, value] for key, value in shown.items()])
        return None

    server.on_statement = other
    error = await failed(account, "SELECT 1")
    assert (type(error), error.code) == (ConfigurationError, "session_parameters")
    assert name in error.message
    assert [sql.split()[0] for sql in server.statements] == ["SHOW", "ALTER", "SHOW"]
    assert server.statements[1].startswith(f"ALTER SESSION SET {name} = ")
    assert len(server.at("/session")) == 1


async def test_parameters_that_a_login_did_not_take_are_set_by_one_statement_n4(server, account):
    async with account.session(TAG):
        pass
    wanted = server.parameters["session-1"].copy()

    def deaf(_request, body):
        shown = server.parameters["session-2"]
        if body["sqlText"].startswith("ALTER SESSION SET "):
            shown |= wanted

    def forgetful(request, body):
        answered = server.login(body["data"])
        server.parameters["session-2"] |= {"LOCK_TIMEOUT": "43200", "TIMEZONE": "America/Los_Angeles"}
        return answered

    server.on_login, server.on_statement = forgetful, deaf
    async with account.session(TAG, fresh=True):
        pass
    assert server.statements[1:] == [
        "SHOW PARAMETERS",
        "ALTER SESSION SET LOCK_TIMEOUT = 1800 TIMEZONE = 'UTC'",
        "SHOW PARAMETERS",
    ]


# Errors as they come over the wire.

WIRE = [
    (625, "57014", "waiters", TransientError, "lock_waiters"),
    (
        630,
        "57014",
        "reached its statement or warehouse timeout of 5 second(s)",
        TransientError,
        "statement_timeout",
    ),
    (604, "57014", "SQL execution canceled", UnknownOutcome, "cancelled"),
    (637, "25P02", "Transaction 7 was aborted and rolled back", TransientError, "transaction_ended"),
    (2003, "42S02", "does not exist", ConfigurationError, "object"),
    (3001, "42501", "privileges", ConfigurationError, "privilege"),
    (904, "42000", "invalid identifier", ConfigurationError, "sql"),
    (100072, "22000", "NULL result", ContractError, "value"),
    (100090, "42P18", "Duplicate row", PermanentError, "duplicate_row"),
    (606, "57P03", "No active warehouse", ConfigurationError, "no_warehouse"),
    (390318, "08001", "expired", TransientError, "oauth_expired"),
    (999_999, "XX000", "?", TransientError, "other"),
]


@pytest.mark.parametrize(("code", "state", "text", "becomes", "name"), WIRE)
async def test_the_driver_hands_on_what_decides_t10(server, account, code, state, text, becomes, name):  # noqa: PLR0917
    answering(server, "INSERT", lambda: refused(code, text, state))
    error = await failed(account, "INSERT INTO t SELECT 1")
    assert (type(error), error.code) == (becomes, name)
    assert f"{code:06d}" in error.message
    assert "INSERT on Snowflake account acc" in error.message
    assert "SELECT 1" not in error.message
    assert len(server.statements) == 2


@pytest.mark.parametrize("status", [503, 429, 500])
async def test_a_server_that_refuses_every_try_ends_after_a_few_n2_g4(server, account, status):
    answering(server, "INSERT", lambda: web.Response(status=status))
    error = await failed(account, "INSERT INTO t SELECT 1")
    assert (type(error), error.code) == (UnknownOutcome, f"http_{status}")
    assert server.statements.count("INSERT INTO t SELECT 1") == 5
    answering(server, "SELECT", lambda: web.Response(status=status))
    error = await failed(account, "SELECT 1")
    assert (type(error), error.code) == (TransientError, f"http_{status}")


async def test_the_tries_of_one_statement_bear_one_id(server, account):
    seen = []

    def counted(request, body):
        if body["sqlText"] != "INSERT":
            return None
        seen.append(request.query["requestId"])
        return web.Response(status=503) if len(seen) < 3 else None

    server.on_statement = counted
    async with account.session(TAG) as session:
        await session.rows("INSERT")
    assert len(seen) == 3
    assert len(set(seen)) == 1


@pytest.mark.parametrize("status", [403, 400, 405])
async def test_a_request_that_is_refused_on_its_way_is_tried_in_a_new_session_n2(server, account, status):
    answering(server, "INSERT", lambda: web.Response(status=status))
    error = await failed(account, "INSERT INTO t SELECT 1")
    assert (type(error), error.code) == (TransientError, f"http_{status}")
    assert server.statements.count("INSERT INTO t SELECT 1") == 1
    server.on_statement = None
    async with account.session(TAG) as session:
        assert session.id == "1002"


@pytest.mark.parametrize(
    ("sql", "becomes"),
    [
        *(
            (sql, UnknownOutcome)
            for sql in ("INSERT", "COMMIT", "MERGE INTO t", "?", "CREATE TABLE t", "COPY INTO t")
        ),
        *((sql, TransientError) for sql in ("SELECT 1", "  show tables", "BEGIN", "PUT 'file:///x' @s")),
        ("alter  session set x = 1", TransientError),
        ("alter table t", UnknownOutcome),
    ],
)
async def test_a_lost_answer_is_unknown_only_where_something_may_have_changed_g4(server, account, sql, becomes):
    answering(server, sql.strip(), lambda: web.Response(text="<html>"))
    assert type(await failed(account, sql)) is becomes


async def test_a_cut_connection_is_an_unknown_outcome_g4(server, account):
    server.on_statement = lambda request, body: drop(request, body) if body["sqlText"] == "COMMIT" else None
    error = await failed(account, "COMMIT")
    assert (type(error), error.code) == (UnknownOutcome, "lost")
    assert server.statements.count("COMMIT") == 5


async def test_a_statement_that_hangs_ends_at_its_limit_and_holds_nobody_up_n2(server):
    async def held(request, body):
        if body["sqlText"] == "MERGE":
            await hang(request, body)

    server.on_statement = held
    account = Account(settings(server.port, statement_timeout_seconds=1, request_timeout_seconds=1))
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    error = await failed(account, "MERGE")
    ticking.cancel()
    assert (type(error), error.code) == (UnknownOutcome, "lost")
    assert ticks > 20
    await account.aclose()


async def test_a_statement_that_runs_for_long_is_asked_for_until_it_is_done(server, account):
    asked = 0
    soon = {
        "success": True,
        "code": "333334",
        "message": "",
        "data": {"queryId": "01b2c3d4-0000-0000-0000-000000000001"},
    }
    soon["data"]["getResultUrl"] = "/queries/x/result"

    def polled(request, _body):
        nonlocal asked
        if request.path != "/queries/x/result":
            return None
        asked += 1
        return web.json_response(soon) if asked < 3 else table(["a"], [["1"]])

    server.on_request = polled
    answering(server, "MERGE", lambda: web.json_response(soon))
    async with account.session(TAG) as session:
        assert await session.value("MERGE") == "1"
    assert asked == 3


# The pool.


async def test_a_session_is_used_again_and_costs_nothing_meanwhile_n6_n10(server, account, clock):
    for _ in range(3):
        async with account.session(TAG) as session:
            await session.rows("SELECT 1")
        clock.now += PROBED_AFTER - 1
    assert len(server.logins) == 1
    assert {one.path for one in server.seen} == {"/session/v1/login-request", "/queries/v1/query-request"}


async def test_one_that_was_idle_for_long_is_asked_first_n6(server, account, clock):
    async with account.session(TAG):
        pass
    clock.now += PROBED_AFTER
    async with account.session(TAG) as session:
        assert session.id == "1001"
    clock.now += PROBED_AFTER
    server.on_request = lambda request, _body: refused(390111) if request.path == "/session/heartbeat" else None
    async with account.session(TAG) as session:
        assert session.id == "1002"
    assert len(server.at("/session/heartbeat")) == 2


async def test_one_that_must_be_over_is_not_asked_n6(server, account, clock):
    async with account.session(TAG):
        pass
    clock.now += DROPPED_AFTER
    async with account.session(TAG) as session:
        assert session.id == "1002"
    assert server.at("/session/heartbeat") == []


async def test_a_fresh_session_is_opened_after_it_was_asked_for_g7(server, account):
    async with account.session(TAG):
        pass
    async with account.session(TAG, fresh=True) as session:
        assert session.id == "1002"


@pytest.mark.parametrize(("known", "found"), [("1001", "1001"), ("1002", "1002"), ("7", "1003"), (None, "1003")])
async def test_a_session_that_is_known_by_its_id_is_as_good_as_a_fresh_one_g7(server, account, known, found):
    """It sees what was committed in it."""
    async with account.session(TAG), account.session(TAG):
        pass
    async with account.session(TAG, fresh=True, known=known) as session:
        assert session.id == found


async def test_a_known_session_that_is_over_is_replaced_by_a_fresh_one_g7(server, account, clock):
    async with account.session(TAG):
        pass
    clock.now += DROPPED_AFTER
    async with account.session(TAG, fresh=True, known="1001") as session:
        assert session.id == "1002"


async def test_few_idle_sessions_are_kept(server, account):
    gate = asyncio.Event()

    async def used():
        async with account.session(TAG):
            await gate.wait()

    users = [asyncio.create_task(used()) for _ in range(MOST_IDLE + 2)]
    while len(server.at("/queries/v1/query-request")) < len(users):  # noqa: ASYNC110 the server tells nobody
        await asyncio.sleep(0.01)
    gate.set()
    await asyncio.gather(*users)
    assert len(server.at("/session")) == 2
    await account.aclose()
    assert len(server.at("/session")) == MOST_IDLE + 2


@pytest.mark.parametrize(("first", "second"), [(None, "1001"), ("BEGIN", "1002"), ("start transaction", "1002")])
async def test_a_session_in_a_transaction_is_closed_not_kept(server, account, first, second):
    async with account.session(TAG) as session:
        if first:
            await session.rows(first)
    async with account.session(TAG) as session:
        assert session.id == second


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK", " commit work"])
async def test_a_session_whose_transaction_has_ended_is_kept(server, account, end):
    async with account.session(TAG) as session:
        await session.rows("BEGIN")
        await session.rows(end)
    async with account.session(TAG) as session:
        assert session.id == "1001"


async def test_a_session_that_is_left_by_an_exception_is_closed(server, account):
    with pytest.raises(ZeroDivisionError):
        async with account.session(TAG):
            raise ZeroDivisionError
    assert len(server.at("/session")) == 1


async def test_a_session_that_comes_back_after_the_end_is_closed(server, account):
    async with account.session(TAG):
        await account.aclose()
    assert len(server.at("/session")) == 1


async def test_a_server_that_does_not_answer_a_goodbye_is_not_waited_for(server, account, monkeypatch):
    monkeypatch.setattr("state.snowflake.login.LOGOUT_SECONDS", 1)

    async def held(request, body):
        if request.path == "/session":
            await hang(request, body)

    server.on_request = held
    async with account.session(TAG) as session:
        await session.close()
        await session.close()


# Sessions that are over.


@pytest.mark.parametrize("code", [390111, 390114, 390195])
async def test_a_kept_session_that_is_over_is_opened_anew_before_anything_was_asked_of_it_n6(
    server, account, code
):
    async with account.session(TAG):
        pass
    over = "session-1"
    server.on_statement = lambda request, _body: (
        refused(code) if over in request.headers["Authorization"] else None
    )
    async with account.session(TAG) as session:
        assert await session.rows("BEGIN") == [("done",)]
        assert session.id == "1002"
        assert session.in_transaction
    assert len(server.logins) == 2


async def test_it_is_opened_anew_once(server, account):
    async with account.session(TAG):
        pass
    answering(server, "SELECT", lambda: refused(390111))
    error = await failed(account, "SELECT 1")
    assert (type(error), error.code) == (TransientError, "session_gone")
    assert len(server.logins) == 2


@pytest.mark.parametrize("sql", ["INSERT", "SELECT 1"])
async def test_a_session_that_ends_under_its_user_is_a_passing_matter_n6(server, account, sql):
    async with account.session(TAG):
        pass

    def over(_request, body):
        return refused(390111) if body["sqlText"] == sql else None

    server.on_statement = over
    with pytest.raises(TransientError) as caught:
        async with account.session(TAG) as session:
            await session.rows("BEGIN")
            await session.rows(sql)
    assert caught.value.code == "session_gone"
    assert len(server.logins) == 1
    async with account.session(TAG) as session:
        assert session.id == "1002"


async def test_a_statement_that_changes_something_is_never_sent_a_second_time_g4(server, account):
    async with account.session(TAG):
        pass
    answering(server, "INSERT", lambda: refused(390111))
    assert (await failed(account, "INSERT")).code == "session_gone"
    assert server.statements.count("INSERT") == 1


REFUSALS = {"session_gone": lambda: refused(390111), "http_403": lambda: web.Response(status=403)}


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize(("sql", "becomes"), [("COMMIT", UnknownOutcome), ("BEGIN", TransientError)])
async def test_a_refusal_after_a_lost_answer_does_not_say_that_nothing_happened_g4(
    server, clock, code, sql, becomes
):
    """The driver sends a statement again whose answer was lost; what refuses that try knows not of the first."""
    account = Account(settings(server.port), clock=clock)

    def lost_then_refused(request, body):
        if body["sqlText"] != sql:
            return None
        clock.now += 0.002  # what the driver waits at least before it tries again
        return drop(request, body) if server.statements.count(sql) == 1 else REFUSALS[code]()

    server.on_statement = lost_then_refused
    error = await failed(account, sql)
    assert (type(error), server.statements.count(sql)) == (becomes, 2)
    assert error.code == code
    await account.aclose()


async def test_time_between_two_statements_raises_no_doubts_g4(server, account, clock):
    answering(server, "COMMIT", lambda: refused(390111))
    with pytest.raises(TransientError) as caught:
        async with account.session(TAG) as session:
            await session.rows("BEGIN")
            clock.now += 3600
            await session.rows("COMMIT")
    assert caught.value.code == "session_gone"


async def test_a_session_does_not_grow_with_its_errors(server, account):
    answering(server, "INSERT", lambda: refused(625))
    async with account.session(TAG) as session:
        for _ in range(3):
            with pytest.raises(TransientError):
                await session.rows("INSERT")
        assert session._connection.messages == []


async def test_an_expired_token_is_renewed_by_the_driver_n6(server, account):
    async with account.session(TAG) as session:
        server.on_statement = lambda request, _body: (
            None if "+" in request.headers["Authorization"] else refused(390112)
        )
        assert await session.rows("INSERT") == [("done",)]
    assert len(server.at("/session/token-request")) == 1
    assert len(server.logins) == 1


async def test_a_token_that_cannot_be_renewed_is_a_passing_matter_n6(server, account):
    server.on_request = lambda request, _body: refused(390114) if "token-request" in request.path else None
    async with account.session(TAG) as session:
        server.on_statement = lambda _request, _body: refused(390112)
        with pytest.raises(TransientError) as caught:
            await session.rows("INSERT")
    assert caught.value.code == "session_gone"


async def test_a_session_that_is_over_is_not_used_again(server, account):
    async with account.session(TAG) as session:
        answering(server, "INSERT", lambda: refused(390111))
        for _ in range(2):
            with pytest.raises(TransientError):
                await session.rows("INSERT")
    assert server.statements.count("INSERT") == 1
    async with account.session(TAG) as session:
        assert session.id == "1002"


async def test_a_refused_statement_leaves_the_session_in_use(server, account):
    answering(server, "INSERT", lambda: refused(625))
    async with account.session(TAG) as session:
        with pytest.raises(TransientError):
            await session.rows("INSERT")
        await session.rows("SELECT 1")
    async with account.session(TAG) as session:
        assert session.id == "1001"


# Cancellation.


async def test_a_cancelled_statement_is_aborted_and_its_session_closed_s8(server, account):
    arrived = asyncio.Event()

    async def held(request, body):
        if body["sqlText"] == "MERGE":
            arrived.set()
            await hang(request, body)

    server.on_statement = held
    seen = []

    async def use():
        async with account.session(TAG) as session:
            try:
                await session.rows("MERGE")
            finally:
                seen.append(session.ended)

    user = asyncio.create_task(use())
    await arrived.wait()
    user.cancel()
    with pytest.raises(asyncio.CancelledError):
        await user
    assert seen == [True]
    assert server.at("/queries/v1/abort-request")[0].body["sqlText"] == "MERGE"
    assert len(server.at("/session")) == 1
    async with account.session(TAG) as session:
        assert session.id == "1002"


@pytest.mark.parametrize("long", [False, True])
async def test_a_cancelled_statement_of_a_server_that_never_answers_again_keeps_nobody_s8(
    server, account, monkeypatch, long
):
    """A run that is lost comes to its end: neither the abort nor the goodbye is waited for but for seconds."""
    for place, seconds in (("login.LOGOUT_SECONDS", 1), ("session.ABORT_SECONDS", 0.1)):
        monkeypatch.setattr(f"state.snowflake.{place}", seconds)
    arrived, silent = asyncio.Event(), asyncio.Event()

    async def held(request, body):
        if silent.is_set():
            arrived.set()
            await hang(request, body)

    async def use():
        async with account.session(TAG) as session:
            silent.set()
            await session.count("MERGE", long=long)

    server.on_request = held
    user = asyncio.create_task(use())
    await arrived.wait()
    user.cancel()
    async with asyncio.timeout(60):
        await asyncio.wait([user])
    assert user.cancelled()


async def test_a_driver_that_never_ends_a_session_keeps_nobody(account, monkeypatch):
    async def never(*_given, **_more):
        await asyncio.Event().wait()

    monkeypatch.setattr("state.snowflake.driver.CLOSE_SECONDS", 0.01)
    async with account.session(TAG) as session:
        with monkeypatch.context() as patched:
            patched.setattr("state.snowflake.driver.Connection.close", never)
            await session.close()
        assert session.ended
        await session.close()


async def test_one_statement_at_a_time(server, account):
    under_way, most = 0, 0

    async def slow(_request, _body):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1

    async with account.session(TAG) as session:
        server.on_statement = slow
        await asyncio.gather(*(session.rows("SELECT 1") for _ in range(5)))
    assert most == 1


async def test_a_login_passes_its_port(server):
    passed = []

    class Door:
        def __enter__(self):
            return None

        def __exit__(self, *_):
            return None

    def port(name):
        passed.append(name)
        return Door()

    account = Account(settings(server.port), port=port)
    async with account.session(TAG):
        pass
    await account.aclose()
    assert passed == ["snowflake.login"]
