"""What an error of the driver becomes.

Decided by its number first, by its SQLSTATE second, by its class last; text only tells apart what bears one
number. A number that nobody knows is transient under the code `other`, for a few attempts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from state.errors import SluicewayError, TransientError, UnknownOutcome
from state.masking import mask
from state.snowflake.driver import errors as vendor
from state.snowflake.meaning import Meaning
from state.snowflake.meanings import AGAIN, MEANINGS, NETWORK, SETTLED

ENDS_SESSION = ("session_gone", "lost", "garbled", "http_")
"""How the codes of errors begin after which nobody knows what state the session is in."""

OF_THE_LAST_TRY = ("session_gone", "http_4")
"""How the codes of refusals begin that come from before the statement is looked at."""


def explain(error: vendor.Error, doing: str, *, changes: bool = True) -> SluicewayError:
    """What an error of the driver means for the one who runs Sluiceway.

    `doing` names the step. `changes`: False if it changes nothing, so that a lost answer leaves nothing unknown.
    """
    meaning, groups = _found(error)
    becomes = meaning.becomes
    hint = meaning.hint
    if becomes is UnknownOutcome and not changes:
        becomes, hint = TransientError, AGAIN
    message, code = f"{doing}: {meaning.what}: {told(error)}", meaning.code.format(*groups)
    if becomes is TransientError:
        return TransientError(message, hint=hint, code=code, at_most=meaning.at_most)
    return becomes(message, hint=hint, code=code)


def _found(error: vendor.Error) -> tuple[Meaning, Sequence[str]]:
    ways: tuple[Callable[[Meaning], bool], ...] = (
        lambda meaning: error.errno in meaning.numbers,
        lambda meaning: error.sqlstate in meaning.states,
        lambda meaning: isinstance(error, meaning.kinds),
    )
    for known in ways:
        for meaning in MEANINGS:
            if known(meaning) and (words := re.search(meaning.words, str(error.raw_msg), re.IGNORECASE)):
                return meaning, words.groups()
    raise AssertionError("unreachable: the last row matches every error")


def told(error: vendor.Error) -> str:
    """Snowflake's own words on one line, with its number and the query id: what its support asks for."""
    words = " ".join(mask(str(error.raw_msg or type(error).__name__)).split())  # half a secret is not recognised
    words = re.sub(r"^\d{6} \(\w{5}\): ", "", words)
    number = f" ({error.errno:06d})" if isinstance(error.errno, int) and error.errno > 99 else ""
    query = f" [query {error.sfqid}]" if error.sfqid else ""
    return f"{words[:500]}{number}{query}"


def doubted(error: SluicewayError) -> SluicewayError:
    """The same error after a time in which the driver may have sent the statement more than once.

    That a session is over, or that something on the way refuses, was true of the last try; an earlier one may have
    been heard, and its answer lost. What else Snowflake says, it says of all tries: they bear one id.
    """
    if not error.code.startswith(OF_THE_LAST_TRY):
        return error
    advice = f" {NETWORK}" if error.code.startswith("http_4") else ""
    return UnknownOutcome(error.message, hint=f"{SETTLED}{advice}", code=error.code)


def ends_session(error: SluicewayError) -> bool:
    """True if a session that had this error is of no more use."""
    return error.code.startswith(ENDS_SESSION)
