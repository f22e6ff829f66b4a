"""The only retry. It repeats a whole step from durable state, never a half-consumed stream.

Backoff is exponential with full jitter; a wait that the other side asked for is kept at least. One that is longer
than a policy's patience is not waited here, with a lease held: the error is raised at once, and `service/walk.py`
gives the run back until the wait is over.
An error whose number of attempts is bounded is raised at once, too: it costs hours each time, or nobody knows it.
Only the errors named here are tried again: a cancellation never is.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from state.errors import RestartAttempt, SluicewayError, TransientError

T = TypeVar("T")
_PATIENCE = 120.0
OnRetry = Callable[[int, timedelta, SluicewayError], None]


class RetryPolicy(msgspec.Struct, frozen=True):
    """`tries` in all; waits grow from `base` seconds, doubled each time, up to `cap` seconds."""

    tries: int = 4
    base: float = 0.5
    cap: float = 30.0

    @property
    def patience(self) -> float:
        """Seconds that are waited in place at most: `cap`, and never less than two minutes."""
        return max(self.cap, _PATIENCE)

    def is_for_later(self, error: BaseException | None) -> bool:
        """True if the other side asked for a longer wait than `patience`, or attempts are counted (`at_most`)."""
        if not isinstance(error, TransientError):
            return False
        return error.at_most is not None or (error.retry_after or 0.0) > self.patience

    def wait(self, tries: int, error: BaseException | None) -> float:
        """Seconds before the next try, after `tries` failed ones."""
        asked = error.retry_after if isinstance(error, TransientError) else None
        ceiling = min(self.cap, self.base * 2 ** (tries - 1))
        return max(asked or 0.0, random.uniform(ceiling / 2, ceiling))


async def retrying(
    step: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    on_retry: OnRetry,
    *,
    errors: tuple[type[SluicewayError], ...] = (TransientError,),
) -> T:
    """Await `step()` until it succeeds, raises something else than `errors`, or `policy` is used up.

    An error that asks for more than `policy.patience`, or bounds its attempts, is raised at once as it is.
    """

    def wait(state: RetryCallState) -> float:
        return policy.wait(state.attempt_number, state.outcome.exception() if state.outcome else None)

    def stop(state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        return state.attempt_number >= policy.tries or policy.is_for_later(error)

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, SluicewayError):
            on_retry(state.attempt_number, timedelta(seconds=state.upcoming_sleep), error)

    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(errors),
        stop=stop,
        wait=wait,
        before_sleep=before_sleep,
        reraise=True,
    ):
        with attempt:
            return await step()
    raise AssertionError("unreachable: a policy has at least one try")


PART_ERRORS = (TransientError, RestartAttempt)
"""A part is read again from its start on a new snapshot, so a lost snapshot may be tried again too."""
