"""Turns of a daemon: never more than there are, fair between pipelines, none lost by a cancellation."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from service.daemon.turns import Turns

PIPELINES = "abc"


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Walkers:
    """Tasks that hold a turn until they are told to give it back."""

    def __init__(self, total: int) -> None:
        self.turns = Turns(total)
        self.tasks: list[asyncio.Task] = []
        self.waiting: list[tuple[str, asyncio.Task]] = []
        self.holding: list[tuple[str, asyncio.Task, asyncio.Event]] = []

    def come(self, pipeline: str) -> asyncio.Task:
        over = asyncio.Event()

        async def walk() -> None:
            async with self.turns.turn(pipeline):
                self.waiting.remove((pipeline, task))
                self.holding.append((pipeline, task, over))
                try:
                    await over.wait()
                finally:
                    self.holding.remove((pipeline, task, over))

        task = asyncio.create_task(walk())
        self.waiting.append((pipeline, task))
        self.tasks.append(task)
        return task

    def held_by(self, pipeline: str) -> int:
        return sum(name == pipeline for name, *_ in self.holding)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)


ACTS = st.one_of(
    st.tuples(st.just("come"), st.sampled_from(PIPELINES)),
    st.tuples(
        st.sampled_from(["leave", "cancel waiting", "cancel holding", "cancel in the same breath"]),
        st.integers(0, 9),
    ),
)


@given(total=st.integers(1, 3), acts=st.lists(ACTS, max_size=30))
def test_turns_are_all_used_fair_and_survive_every_cancellation(total, acts):
    """S-7: whatever comes, leaves or is cancelled, no turn is idle while somebody waits, and a turn that becomes
    free goes to the pipeline that has the fewest."""

    async def go() -> None:
        walkers = Walkers(total)
        first = walkers.come("a")
        await settle()
        for act, which in acts:
            before = {name: walkers.held_by(name) for name in PIPELINES}
            if act == "come":
                walkers.come(which)
            elif act == "cancel waiting" and walkers.waiting:
                pipeline, task = walkers.waiting.pop(which % len(walkers.waiting))
                task.cancel()
            elif act == "cancel in the same breath" and walkers.waiting and walkers.holding:
                walkers.holding[which % len(walkers.holding)][2].set()
                pipeline, task = walkers.waiting.pop(0)
                task.cancel()
            elif walkers.holding:
                pipeline, task, over = walkers.holding[which % len(walkers.holding)]
                over.set() if act == "leave" else task.cancel()
                before[pipeline] -= 1
                waiting = {name for name, _ in walkers.waiting}
                fewest = min((before[name] for name in waiting), default=0)
                await settle()
                given_to = [name for name in PIPELINES if walkers.held_by(name) > before[name]]
                assert all(before[name] == fewest for name in given_to)
            await settle()
            assert len(walkers.holding) == walkers.turns.taken <= total
            assert not walkers.waiting or walkers.turns.taken == total
        assert first in walkers.tasks
        await walkers.end()
        assert walkers.turns.taken == 0

    asyncio.run(go())


async def test_who_has_waited_longest_goes_first_among_equals():
    walkers = Walkers(1)
    walkers.come("a")
    await settle()
    for name in ("b", "c", "b"):
        walkers.come(name)
    order = []
    for _ in range(3):
        walkers.holding[0][2].set()
        await settle()
        order.append(walkers.holding[0][0])
    assert order == ["b", "c", "b"]
    await walkers.end()


async def test_a_waiter_that_is_cancelled_as_a_turn_becomes_free_does_not_stop_the_next_one():
    turns, reached = Turns(1), asyncio.Event()

    async def walk(pipeline: str) -> None:
        async with turns.turn(pipeline):
            reached.set()

    async with turns.turn("a"):
        cancelled, _next = asyncio.create_task(walk("b")), asyncio.create_task(walk("c"))
        await settle()
        cancelled.cancel()  # and given back before it could go
    await asyncio.wait_for(reached.wait(), 10)
    await asyncio.wait([cancelled, _next])
    assert turns.taken == 0
