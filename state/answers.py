"""Answers that are lost: a drive table did something, or not, and the word of it never came.

Backends settle that themselves where they can: each of their steps has a name, written beside the pipeline's token
in the step's own transaction, and asked for in a new session. Here is what they share, and what is left then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime

from state.errors import TransientError, UnknownOutcome
from state.model import Claim, Run, RunId

KEPT_STEPS = 50
"""Names of steps that a pipeline's row remembers; a lost answer is settled at once, long before as many follow."""

Hold = tuple[RunId, int, str, datetime | None]
"""A run as one claim left it: a renewal, and every later claim, moves the end of the lease."""


@contextmanager
def repeatable() -> Iterator[None]:
    """Around a write that may be asked for again, whether it happened or not: it finds what it did.

    An `UnknownOutcome` becomes a `TransientError`.
    """
    try:
        yield
    except UnknownOutcome as lost:
        raise TransientError(lost.message, hint=lost.hint, code=lost.code) from lost


class Unheard:
    """Claims that this process made, perhaps, and has not heard of: it takes their runs up with its next claim.

    Nobody else can know of them; to all others such a run is held until its lease ends.
    """

    def __init__(self, owner_is_dead: Callable[[str], bool]) -> None:
        self._owner_is_dead = owner_is_dead
        self._holds: set[Hold] = set()

    @contextmanager
    def listening(self, made: Iterable[Claim]) -> Iterator[None]:
        """Around a claim, which writes down in `made` what it is about to store. Repeatable as well."""
        with repeatable():
            try:
                yield
            except UnknownOutcome:
                self._holds |= {_hold(claim.run) for claim in made}
                raise

    def nobody_holds(self, run: Run) -> bool:
        """True if a RUNNING run is certainly in nobody's hands, although its lease lasts."""
        return self._owner_is_dead(run.owner) or _hold(run) in self._holds


def _hold(run: Run) -> Hold:
    return run.id, run.token, run.owner, run.lease_expires_at
