"""The only retry: E-10 (Retry-After), S-8 (cancellation is never retried)."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from pathlib import Path

import pytest

from service.retry import PART_ERRORS, RetryPolicy, retrying
from state.errors import PermanentError, RestartAttempt, TransientError

FAST = RetryPolicy(tries=4, base=0.001, cap=0.002)


def failing(errors, result="done"):
    left = list(errors)

    async def step():
        if left:
            raise left.pop(0)
        return result

    return step


async def test_transient_errors_are_tried_again_and_told():
    told = []
    step = failing([TransientError("a", code="429"), TransientError("b")])
    assert await retrying(step, FAST, lambda tries, wait, error: told.append((tries, str(error)))) == "done"
    assert told == [(1, "a"), (2, "b")]


async def test_the_last_error_comes_out_when_the_tries_are_used_up():
    with pytest.raises(TransientError, match="4"):
        await retrying(failing([TransientError(str(n)) for n in range(1, 9)]), FAST, lambda *_: None)


@pytest.mark.parametrize(
    "error", [PermanentError("p"), RestartAttempt("r"), RuntimeError("bug"), asyncio.CancelledError()]
)
async def test_nothing_else_is_retried_s8(error):
    told = []
    with pytest.raises(type(error)):
        await retrying(failing([error]), FAST, lambda *a: told.append(a))
    assert told == []


async def test_a_part_may_start_again_on_a_new_snapshot():
    step = failing([RestartAttempt("snapshot lost")])
    assert await retrying(step, FAST, lambda *_: None, errors=PART_ERRORS) == "done"


async def test_retry_after_is_waited_out_e10():
    waits = []
    step = failing([TransientError("busy", retry_after=0.05)])
    await retrying(step, FAST, lambda tries, wait, error: waits.append(wait))
    assert waits[0] >= timedelta(seconds=0.05)


@pytest.mark.parametrize(("cap", "asked"), [(30.0, 121.0), (200.0, 201.0), (30.0, 86_400.0)])
async def test_a_wait_beyond_patience_is_not_waited_here_e10(cap, asked):
    """Whoever holds the lease gives it up, and the run goes on by itself later."""
    told = []
    step = failing([TransientError("come back later", retry_after=asked)])
    policy = RetryPolicy(tries=4, base=0.001, cap=cap)
    with pytest.raises(TransientError, match="come back later") as caught:
        async with asyncio.timeout(5):
            await retrying(step, policy, lambda *a: told.append(a))
    assert (caught.value.retry_after, told) == (asked, [])


async def test_an_error_of_bounded_attempts_is_not_tried_again_in_place():
    """A statement that timed out after hours is not sent again while a lease is held."""
    told = []
    with pytest.raises(TransientError, match="slow") as caught:
        await retrying(failing([TransientError("slow", at_most=2)]), FAST, lambda *a: told.append(a))
    assert (caught.value.at_most, told) == (2, [])


@pytest.mark.parametrize(("cap", "asked"), [(30.0, 120.0), (0.002, 120.0), (200.0, 200.0)])
async def test_a_wait_within_patience_is_waited_here_e10(cap, asked, monkeypatch):
    waits = []

    async def at_once(seconds):
        waits.append(seconds)

    monkeypatch.setattr("asyncio.sleep", at_once)
    step = failing([TransientError("busy", retry_after=asked)])
    policy = RetryPolicy(tries=4, base=0.001, cap=cap)
    assert await retrying(step, policy, lambda *_: None) == "done"
    assert waits == [asked]


def test_waits_double_up_to_the_cap():
    policy = RetryPolicy(tries=9, base=1, cap=8)
    for tries, ceiling in [(1, 1), (2, 2), (3, 4), (4, 8), (7, 8)]:
        waits = [policy.wait(tries, None) for _ in range(50)]
        assert all(ceiling / 2 <= wait <= ceiling for wait in waits)


def test_no_predicate_in_the_code_can_retry_a_cancellation_s8():
    """Negated predicates and BaseException retry CancelledError; only the allow-list form is used."""
    root = Path(__file__).parents[2]
    text = "".join(
        path.read_text()
        for folder in ("service", "connectors", "loaders", "state")
        for path in root.glob(f"{folder}/**/*.py")
    )
    assert re.findall(r"retry_if_\w+", text) == ["retry_if_exception_type"] * 2
