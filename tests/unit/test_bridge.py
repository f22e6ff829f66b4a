"""A step in its thread, its questions in the loop: order, errors, and what a cancellation leaves."""

from __future__ import annotations

import asyncio
import threading

import pytest

from state.bridge import Bridge, Withdrawn


class Store:
    """A transaction that writes down what happens to it; `gates` holds an effect up until it is set."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.reached = asyncio.Event()
        self.errors: dict[str, BaseException] = {}

    async def effect(self, name: str) -> str:
        self.told.append(name)
        if gate := self.gates.get(name):
            self.reached.set()
            try:
                await gate.wait()
            except asyncio.CancelledError:
                await asyncio.sleep(0.01)  # a driver closes its connection
                self.told.append(f"{name} is given up")
                raise
            self.told.append(f"{name} is answered")
        if error := self.errors.get(name):
            raise error
        return name.upper()

    async def begin(self) -> None:
        await self.effect("begin")

    async def commit(self) -> None:
        await self.effect("commit")

    async def rollback(self) -> None:
        await self.effect("rollback")

    def hold(self, name: str) -> asyncio.Event:
        self.gates[name] = asyncio.Event()
        return self.gates[name]


@pytest.fixture
def store():
    return Store()


@pytest.fixture
async def bridge():
    bridge = Bridge("bridge-test")
    yield bridge
    await bridge.aclose()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("bridge-test")] == []


def two_questions(bridge: Bridge, store: Store):
    return lambda: [bridge.ask(store.effect, name) for name in ("first", "second")]


async def cancelled_at(name: str, bridge: Bridge, store: Store, cancels: int = 1) -> None:
    """Cancel a step of two questions while `name` waits for its answer, and answer then."""
    gate = store.hold(name)
    caller = asyncio.create_task(bridge.transact(store, two_questions(bridge, store)))
    await store.reached.wait()
    for _ in range(cancels):
        caller.cancel()
        await asyncio.sleep(0.01)
    assert not caller.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert caller.cancelled()


async def test_a_step_asks_in_its_thread_and_is_answered_in_the_loop(bridge, store):
    seen = {}

    async def question(word: str, *, twice: bool) -> str:
        seen["loop"] = threading.get_ident()
        return word * 2 if twice else word

    def step() -> str:
        seen["step"] = threading.get_ident()
        return bridge.ask(question, "ab", twice=True)

    assert await bridge.transact(store, step) == "abab"
    assert seen["loop"] == threading.get_ident() != seen["step"]
    assert store.told == ["begin", "commit"]


async def test_the_loop_goes_on_while_a_step_works(bridge):
    gone_on = threading.Event()
    step = asyncio.create_task(bridge.run(gone_on.wait))
    await asyncio.sleep(0)
    gone_on.set()
    assert await step is True


async def test_a_step_without_a_transaction_is_just_answered(bridge, store):
    assert await bridge.run(two_questions(bridge, store)) == ["FIRST", "SECOND"]
    assert store.told == ["first", "second"]


async def test_steps_run_one_at_a_time_in_the_order_they_came(bridge, store):
    gate = store.hold("begin")
    both = [asyncio.create_task(bridge.transact(store, two_questions(bridge, store))) for _ in range(2)]
    await store.reached.wait()
    await asyncio.sleep(0.01)
    assert store.told == ["begin"]
    gate.set()
    await asyncio.gather(*both)
    once = ["begin", "begin is answered", "first", "second", "commit"]
    assert store.told == once * 2


@pytest.mark.parametrize("place", ["begin", "first", "second", "commit"])
async def test_an_error_of_the_store_passes_unchanged_and_leaves_no_transaction(place, bridge, store):
    store.errors[place] = error = OSError(place)
    with pytest.raises(OSError, match=place) as caught:
        await bridge.transact(store, two_questions(bridge, store))
    assert caught.value is error
    assert store.told[-1] == {"begin": "begin", "commit": "commit"}.get(place, "rollback")
    store.errors.clear()
    assert await bridge.transact(store, two_questions(bridge, store)) == ["FIRST", "SECOND"]


async def test_an_error_of_the_step_itself_passes_unchanged_and_rolls_back(bridge, store):
    error = ValueError("decided")

    def step() -> None:
        bridge.ask(store.effect, "first")
        raise error

    with pytest.raises(ValueError, match="decided") as caught:
        await bridge.transact(store, step)
    assert caught.value is error
    assert store.told == ["begin", "first", "rollback"]


@pytest.mark.parametrize("cancels", [1, 3])
async def test_a_cancelled_step_ends_and_is_rolled_back_before_the_cancellation_goes_on(bridge, store, cancels):
    await cancelled_at("first", bridge, store, cancels)
    assert store.told == ["begin", "first", "first is answered", "rollback"]


async def test_a_step_cancelled_at_its_last_question_is_rolled_back_too(bridge, store):
    await cancelled_at("second", bridge, store)
    assert store.told == ["begin", "first", "second", "second is answered", "rollback"]


async def test_a_step_cancelled_before_it_began_asks_nothing(bridge, store):
    await cancelled_at("begin", bridge, store)
    assert store.told == ["begin", "begin is answered", "rollback"]


async def test_a_commit_that_was_sent_is_waited_for(bridge, store):
    await cancelled_at("commit", bridge, store)
    assert store.told == ["begin", "first", "second", "commit", "commit is answered"]


async def test_the_step_after_a_cancelled_one_is_not_touched_by_it(bridge, store):
    await cancelled_at("first", bridge, store)
    store.told.clear()
    assert await bridge.transact(store, two_questions(bridge, store)) == ["FIRST", "SECOND"]
    assert store.told[-1] == "commit"


async def test_a_caller_that_is_cancelled_while_it_waits_for_its_turn_never_begins(bridge, store):
    gate = store.hold("first")
    first = asyncio.create_task(bridge.transact(store, two_questions(bridge, store)))
    await store.reached.wait()
    second = asyncio.create_task(bridge.transact(store, two_questions(bridge, store)))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.set()
    assert await first == ["FIRST", "SECOND"]
    assert store.told.count("begin") == 1


async def test_what_is_cancelled_by_a_timeout_says_so(bridge, store):
    gate = store.hold("first")
    asyncio.get_running_loop().call_later(0.1, gate.set)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await bridge.transact(store, two_questions(bridge, store))
    assert store.told[-1] == "rollback"


async def test_an_error_that_comes_after_a_cancellation_gives_way_to_it(bridge, store):
    store.errors["first"] = OSError("late")
    await cancelled_at("first", bridge, store)
    assert store.told[-1] == "rollback"


async def test_a_withdrawn_step_is_told_so(bridge, store):
    gate = store.hold("first")
    seen = []

    def step() -> None:
        bridge.ask(store.effect, "first")
        try:
            bridge.ask(store.effect, "second")
        except Withdrawn as error:
            seen.append(error)
            raise

    caller = asyncio.create_task(bridge.run(step))
    await store.reached.wait()
    caller.cancel()
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert len(seen) == 1


async def test_closing_waits_for_the_step_under_way_and_may_be_repeated(bridge, store):
    gate = store.hold("first")
    step = asyncio.create_task(bridge.transact(store, two_questions(bridge, store)))
    await store.reached.wait()
    closing = asyncio.create_task(bridge.aclose())
    await asyncio.sleep(0.01)
    assert not closing.done()
    gate.set()
    await closing
    assert (await step, store.told[-1]) == (["FIRST", "SECOND"], "commit")
    await bridge.aclose()


def test_the_end_of_the_loop_ends_a_step_that_waits_for_its_answer():
    """`asyncio.run` cancels every task at its end, those of a step too: no thread stays behind."""
    store, bridges = Store(), []

    async def main() -> None:
        bridge = Bridge("bridge-at-the-end")
        bridges.append(bridge)
        store.hold("first")
        step = asyncio.create_task(bridge.transact(store, two_questions(bridge, store)))
        await store.reached.wait()
        assert not step.done()

    asyncio.run(main())
    assert store.told == ["begin", "first", "first is given up", "rollback"]
    asyncio.run(bridges[0].aclose())
    assert [thread for thread in threading.enumerate() if thread.name.startswith("bridge-at-the-end")] == []
