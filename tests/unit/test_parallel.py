"""Work side by side ends with one error: the gravest (X-7)."""

import asyncio

import pytest

from service.parallel import each
from state.errors import ContractError, LeaseLost, RestartAttempt, TransientError


async def test_no_more_than_the_limit_at_a_time():
    now, most = 0, 0

    async def work(_item: int) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1

    await each(range(20), 3, work)
    assert most == 3


@pytest.mark.parametrize(
    "errors",
    [
        (TransientError("t"), RestartAttempt("r")),
        (RestartAttempt("r"), ContractError("c")),
        (ContractError("c"), LeaseLost("l")),
        (LeaseLost("l"), ValueError("defect")),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
async def test_the_gravest_error_is_raised_alone(errors, order):
    ready = asyncio.Barrier(2)

    async def work(error: Exception) -> None:
        await ready.wait()
        raise error

    with pytest.raises(type(errors[1])) as caught:
        await each(errors[::order], 2, work)
    assert caught.value is errors[1]


async def test_an_error_cancels_the_others_and_begins_nothing_new():
    begun = []

    async def work(item: int) -> None:
        begun.append(item)
        if item == 1:
            raise TransientError("gone")
        await asyncio.sleep(60)

    with pytest.raises(TransientError):
        await asyncio.wait_for(each(range(10), 2, work), 5)
    assert begun == [0, 1]


async def test_cancellation_from_outside_passes_through():
    task = asyncio.create_task(each(range(3), 2, lambda _item: asyncio.sleep(60)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_that_comes_while_an_error_ends_the_others_goes_on_s8():
    ending, over = asyncio.Event(), asyncio.Event()

    async def work(item: int) -> None:
        if item == 0:
            raise TransientError("gone")
        try:
            await asyncio.sleep(60)
        finally:
            ending.set()
            await over.wait()

    task = asyncio.create_task(each(range(2), 2, work))
    await ending.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    over.set()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_an_error_leaves_nothing_of_a_cancellation_behind_s8():
    """Else a run that is lost later would be taken for one that is told to stop."""

    async def work(_item: int) -> None:
        raise TransientError("gone")

    with pytest.raises(TransientError):
        await each(range(2), 2, work)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
