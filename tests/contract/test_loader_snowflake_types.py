"""Two processes that change the type of one column of a Snowflake target at the same time."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import contextmanager
from datetime import datetime

import pyarrow as pa
import pytest

from state.contract import Contract
from tests.contract.loader_desk import MERGE, SCHEMA, attempt, desk, table
from tests.contract.loader_snowflake import SnowflakePlace
from tests.snowflake.accounts import waiting

LEDGER = "EVENTS__SLUICEWAY_LOADS"
TIMED = Contract(SCHEMA.append(pa.field("seen", pa.timestamp("us"))), "at", ("id",))
TEXTS = Contract(SCHEMA.append(pa.field("seen", pa.string())), "at", ("id",))
SEEN, SHOWN = datetime(2024, 2, 29, 1, 2, 3, 4), "2024-02-29 01:02:03.000004000"
PATIENCE_SECONDS = 30.0


@pytest.fixture
async def d(snowflake_place):
    async with desk(lambda _folder: snowflake_place) as made:
        yield made


class Other:
    """Another process: it prepares the target while the first one stands still at an effect."""

    def __init__(self, place: SnowflakePlace, policy: str) -> None:
        self.place = place
        self.policy = policy
        self.errors: list[BaseException] = []
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            asyncio.run(self._prepare())
        except BaseException as error:  # noqa: BLE001 - it is told where the test can see it
            self.errors.append(error)

    async def _prepare(self) -> None:
        account = self.place.another_account()
        loader = self.place.loader(port=quiet, pipeline="p", policy=self.policy, account=account, **MERGE)
        try:
            await loader.prepare(TEXTS)
        finally:
            await account.aclose()

    def until_done_or_waiting(self) -> None:
        self.thread.start()
        ends = time.monotonic() + PATIENCE_SECONDS
        while self.thread.is_alive() and not waiting(self.place.place, LEDGER)() and time.monotonic() < ends:
            time.sleep(0.02)


@contextmanager
def quiet(_name):
    yield


def meeting(other: Other, effect: str, time: int):
    """A port at whose n-th `effect`, counted from 0, the other process comes along."""
    seen = []

    @contextmanager
    def port(name):
        if name == effect:
            seen.append(name)
            if len(seen) == time + 1:
                other.until_done_or_waiting()
        yield

    return port


STEPS = [("loader.prepare.alter", n) for n in range(4)] + [("loader.prepare.fill", 0)]


@pytest.mark.parametrize("policy", ["text", "json"])
@pytest.mark.parametrize(("effect", "time"), STEPS)
async def test_two_processes_change_the_type_of_one_time_column(d, snowflake_place, effect, time, policy):
    """Wherever the second one meets the first: both succeed, no value is lost, no column is left over."""
    await d.load(
        d.loader(), attempt(1), table(TIMED.schema, {"id": "a", "version": 1, "seen": SEEN}), contract=TIMED
    )
    other = Other(snowflake_place, policy)
    await d.loader(policy=policy, port=meeting(other, effect, time)).prepare(TEXTS)
    await asyncio.to_thread(other.thread.join)
    assert other.errors == []
    assert sorted(snowflake_place.columns()) == sorted(TEXTS.schema.names)
    assert d.row("a")["seen"] == (SHOWN if policy == "text" else json.dumps(SHOWN))
