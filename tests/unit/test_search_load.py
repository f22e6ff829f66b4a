"""The load guard: never more requests than allowed, pauses as asked for, and what it learns from answers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from connectors.elasticsearch.load import Bounds, LoadGuard, guard_of
from connectors.elasticsearch.pace import Pace
from state.errors import TransientError

MIB = 1 << 20


class FakeTime:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def guard(requests: int = 8, pages_per_second: float | None = None) -> tuple[LoadGuard, FakeTime]:
    time = FakeTime()
    made = LoadGuard(time, time.sleep)
    made.join("a pipeline", Bounds(requests, pages_per_second))
    return made, time


def answered(pace: Pace, rate_of: dict[int, float], rounds: int, most: int = 8) -> list[int]:
    """The level after each round, on a server that gives `rate_of[level]` bytes per second to so many requests."""
    levels = []
    for _ in range(rounds):
        level = min(pace.level, most)
        for _ in range(4 * level):
            pace.came(MIB, MIB * level / rate_of[level], level, most)
        levels.append(pace.level)
    return levels


def test_requests_at_a_time_grow_as_long_as_that_pays():
    rates = {1: 50e6, 2: 100e6, 3: 150e6, 4: 190e6, 5: 191e6, 6: 191e6}
    pace = Pace()
    assert answered(pace, rates, 3) == [3, 4, 5]
    assert set(answered(pace, rates, 20)) == {4}, "the fifth brought nothing"


def test_a_step_that_did_not_pay_is_tried_again_later():
    pace = Pace()
    answered(pace, dict.fromkeys(range(1, 9), 100e6), 10)
    assert pace.level == 2
    assert 4 in answered(pace, {level: 50e6 * level for level in range(1, 9)}, 40)


def test_never_more_than_configured():
    pace = Pace()
    assert max(answered(pace, {level: 50e6 * level for level in range(1, 9)}, 60, most=3)) == 3


def test_a_server_that_is_suddenly_slow_gets_half_as_many():
    rates = {level: 50e6 * level for level in range(1, 9)}
    pace = Pace()
    assert answered(pace, rates, 6)[-1] == 8
    assert answered(pace, {level: 5e6 for level in range(1, 9)}, 1) == [4]
    assert max(answered(pace, rates, 40)) == 8, "and all again when it is over"


def test_nothing_is_learnt_from_fewer_requests_than_might_have_been():
    pace = Pace()
    for _ in range(100):
        pace.came(MIB, 0.01, 1, 8)
    assert pace.level == 2


async def test_refusals_of_requests_that_were_in_flight_together_halve_once_e10():
    limits, _ = guard()
    answered(limits._pace, {level: 50e6 * level for level in range(1, 9)}, 6)
    assert limits.allowed == 8
    async with AsyncExitStack() as stack:
        slots = [await stack.enter_async_context(limits.slot(60, page=True)) for _ in range(8)]
        for slot in slots:
            limits.refused(slot, None)
        assert limits.allowed == 4
    async with limits.slot(60, page=True) as slot:
        limits.refused(slot, None)
    assert limits.allowed == 2


@pytest.mark.parametrize("requests", [1, 2])
async def test_the_others_wait_and_get_their_turn_in_order(requests):
    limits, _ = guard(requests)
    order, most, now = [], 0, 0

    async def request(number: int) -> None:
        nonlocal most, now
        async with limits.slot(60, page=True):
            now += 1
            most = max(most, now)
            order.append(number)
            await asyncio.sleep(0.001)
            now -= 1

    await asyncio.gather(*(request(number) for number in range(20)))
    assert order == list(range(20))
    assert most == requests


async def _let_in(limits: LoadGuard, *, page: bool) -> bool:
    """Whether one more request may be made now."""
    slot = limits.slot(60, page=page)
    entering = asyncio.create_task(slot.__aenter__())
    await asyncio.sleep(0)
    if let_in := entering.done():
        await slot.__aexit__(None, None, None)
    entering.cancel()
    await asyncio.wait([entering])
    return let_in


async def test_small_requests_go_beside_pages_up_to_what_is_configured():
    limits, _ = guard(4)
    async with AsyncExitStack() as stack:
        for _ in range(limits.allowed):
            await stack.enter_async_context(limits.slot(60, page=True))
        assert not await _let_in(limits, page=True)
        assert await _let_in(limits, page=False)
        for _ in range(2):
            await stack.enter_async_context(limits.slot(60, page=False))
        assert not await _let_in(limits, page=False)
    assert await _let_in(limits, page=True)


async def test_of_a_cluster_that_takes_one_page_at_a_time_little_else_is_asked_e11():
    limits, _ = guard(8)
    async with limits.slot(60, page=True) as slot:
        limits.refused(slot, None)
        assert await _let_in(limits, page=False)
        async with limits.slot(60, page=False):
            assert not await _let_in(limits, page=False)


async def test_whoever_is_cancelled_while_waiting_takes_no_slot_along():
    limits, _ = guard(1)
    got_in = asyncio.Event()

    async def request() -> None:
        async with limits.slot(60, page=True):
            got_in.set()

    async with limits.slot(60, page=True):
        waiting = [asyncio.create_task(request()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.wait([waiting[0]])
    waiting[1].cancel()  # it was let in just now
    await asyncio.wait_for(got_in.wait(), 10)
    await asyncio.wait(waiting)


async def test_the_pause_that_a_server_asks_for_holds_all_pipelines_back_e10():
    limits, time = guard()
    limits.join("another pipeline", Bounds(8, None))
    async with limits.slot(60, page=True) as slot:
        limits.refused(slot, 7.0)
    async with limits.slot(60, page=False):
        assert time.now == pytest.approx(107.0)


async def test_a_longer_pause_than_a_request_may_take_is_an_error_that_says_how_long_e10():
    limits, time = guard()
    async with limits.slot(60, page=True) as slot:
        limits.refused(slot, 300.0)
    time.now += 10
    with pytest.raises(TransientError) as caught:
        async with limits.slot(60, page=True):
            pass
    assert caught.value.retry_after == pytest.approx(290.0)
    assert time.now == 110.0
    time.now += 290
    async with limits.slot(60, page=True):
        assert time.now == 400.0


async def test_pages_per_second_spaces_pages_and_nothing_else():
    limits, time = guard(pages_per_second=4)
    for number in range(5):
        async with limits.slot(60, page=True):
            assert time.now == pytest.approx(100 + number / 4)
        async with limits.slot(60, page=False):
            assert time.now == pytest.approx(100 + number / 4)


async def test_the_most_careful_pipeline_counts_until_it_leaves():
    limits, _ = guard(8)
    answered(limits._pace, {level: 50e6 * level for level in range(1, 9)}, 6)
    limits.join("careful", Bounds(2, 1.0))
    assert limits.allowed == 2
    limits.leave("careful")
    limits.leave("careful")
    assert limits.allowed == 8


async def test_pipelines_of_one_endpoint_share_a_guard_whatever_the_order_of_its_nodes():
    assert guard_of(("http://a:1", "http://b:1")) is guard_of(("http://b:1", "http://a:1"))
    assert guard_of(("http://a:1",)) is not guard_of(("http://b:1",))
