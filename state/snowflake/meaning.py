"""What errors of Snowflake may mean: the form of a row of `meanings.py`."""

from __future__ import annotations

from dataclasses import dataclass

from state.errors import SluicewayError
from state.snowflake.driver import errors as vendor


@dataclass(frozen=True)
class Meaning:
    """Errors that mean one thing, known by their `numbers`, `states` (SQLSTATE) or `kinds` (classes).

    `words`: a regular expression that the text must hold besides, case ignored; `{0}` in `code` is its first
    group. `what` is put before Snowflake's own words. `UnknownOutcome` holds for statements that change something;
    with others nothing is unknown, and it is a `TransientError`, whose `at_most` is given here.
    """

    becomes: type[SluicewayError]
    code: str
    what: str
    hint: str
    numbers: frozenset[int] = frozenset()
    states: frozenset[str] = frozenset()
    kinds: tuple[type[vendor.Error], ...] = ()
    words: str = ""
    at_most: int | None = None


def numbered(*numbers: int) -> frozenset[int]:
    """The numbers of one row."""
    return frozenset(numbers)
