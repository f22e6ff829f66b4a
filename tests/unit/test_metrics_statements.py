"""Every statement that is sent to Snowflake is counted by what it is and what became of it (O-2, N-10)."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.metrics import Metrics
from state.errors import ConfigurationError, SluicewayError, UnknownOutcome
from state.snowflake.session import Account
from state.snowflake.tag import Tag
from tests.unit.snowflake_script import drop, hang, refused, serving, settings

LOGIN = {("show", "ok"): 1}
"""Parameters are read back at each login; that needs no warehouse."""


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    monkeypatch.setenv("SNOWFLAKE_TEST_PASSWORD", "secret")
    monkeypatch.setattr("state.snowflake.login.WAITS_MILLISECONDS", (2, 20))


@pytest.fixture
async def server():
    async with serving() as script:
        yield script


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
async def account(server, metrics):
    made = Account(settings(server.port), hear=metrics.statement)
    yield made
    await made.aclose()


def counted(metrics: Metrics) -> dict[tuple[str, str], float]:
    """Statements by kind and result, as far as there were any."""
    families = text_string_to_metric_families(metrics.text()[0].decode())
    samples = [one for f in families if f.name == "sluiceway_snowflake_statements" for one in f.samples]
    return {(one.labels["kind"], one.labels["result"]): one.value for one in samples if one.value}


async def test_each_statement_is_counted_by_its_first_word(account, metrics):
    async with account.session(Tag()) as session:
        for sql in ("SELECT 1", "select 2", "ALTER SESSION SET A = 1", "WITH a AS (SELECT 1) SELECT * FROM a"):
            await session.rows(sql)
        await session.rows("BEGIN")
        await session.rows("MERGE INTO t USING s ON TRUE WHEN MATCHED THEN DELETE")
        await session.rows("COMMIT")
    assert counted(metrics) == LOGIN | {
        ("select", "ok"): 3,
        ("alter-session", "ok"): 1,
        ("begin", "ok"): 1,
        ("merge", "ok"): 1,
        ("commit", "ok"): 1,
    }


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda *_: refused(3001, state="42501"), (ConfigurationError, "error")),
        (drop, (UnknownOutcome, "unknown")),
    ],
    ids=["refused", "no answer"],
)
async def test_what_became_of_a_statement_is_counted(server, account, metrics, act, expected):
    with pytest.raises(SluicewayError) as caught:
        async with account.session(Tag()) as session:
            server.on_statement = act
            await session.rows("INSERT INTO t VALUES (1)")
    [(kind, result)] = counted(metrics).keys() - LOGIN.keys()
    assert (type(caught.value), result) == expected
    assert counted(metrics) == LOGIN | {(kind, result): 1}


async def test_a_cancelled_statement_is_counted_as_such(server, account, metrics):
    came = asyncio.Event()

    async def never(*_args: object) -> None:
        came.set()
        await hang(*_args)

    async def work() -> None:
        async with account.session(Tag()) as session:
            server.on_statement = never
            await session.rows("SELECT 1")

    task = asyncio.create_task(work())
    await came.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counted(metrics) == LOGIN | {("select", "cancelled"): 1}


async def test_a_session_that_is_kept_and_lent_again_sends_nothing_n10(account, metrics):
    for _ in range(3):
        async with account.session(Tag()):
            pass
    assert counted(metrics) == LOGIN
