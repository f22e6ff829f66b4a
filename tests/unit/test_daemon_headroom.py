"""Memory near its limit: runs walk one at a time before the kernel ends the process (K-6; case 48)."""

from __future__ import annotations

import asyncio

import pytest

from service.daemon.headroom import Headroom, container_limit
from service.daemon.turns import Turns
from service.events import MemoryEased, MemoryShort


def test_it_is_short_at_85_percent_and_eased_below_75_and_each_is_said_once():
    said, narrowed, used = [], [], [0]
    headroom = Headroom(1000, lambda: used[0], narrowed.append, said.append)
    for now in (849, 850, 900, 750, 749, 849, 850):
        used[0] = now
        headroom.look()
    assert said == [MemoryShort(850, 1000), MemoryEased(749, 1000), MemoryShort(850, 1000)]
    assert narrowed == [True, False, True]


async def test_while_it_is_short_one_run_walks_at_a_time_and_who_walks_goes_on():
    turns, most = Turns(3), 0
    over = asyncio.Event()

    async def walk() -> None:
        nonlocal most
        async with turns.turn("p"):
            most = max(most, turns.taken)
            await over.wait()

    first = [asyncio.create_task(walk()) for _ in range(2)]
    await asyncio.sleep(0)
    turns.narrow(True)
    more = [asyncio.create_task(walk()) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert (turns.taken, most) == (2, 2)
    most = 0
    over.set()
    await asyncio.gather(*first, *more)
    assert most == 1
    over.clear()
    last = [asyncio.create_task(walk()) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert turns.taken == 1
    turns.narrow(False)
    await asyncio.sleep(0.01)
    assert turns.taken == 3
    over.set()
    await asyncio.gather(*last)


@pytest.mark.parametrize(
    ("told", "limit"),
    [
        (["2147483648\n"], 1 << 31),
        (["max\n"], None),
        ([None, "1048576\n"], 1 << 20),
        ([None, f"{(1 << 63) - 4096}"], None),
    ],
)
def test_the_limit_is_that_of_the_container(tmp_path, told, limit):
    places = [tmp_path / str(number) for number in range(2)]
    for place, text in zip(places, told, strict=False):
        if text is not None:
            place.write_text(text)
    assert container_limit([*map(str, places)]) == limit
