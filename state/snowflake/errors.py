"""What Snowflake's errors mean, as tables: each row is a test.

Decided by the number of the error first, by its SQLSTATE second, by its class last. A number that nobody knows is
transient under the code `other`: attempts are bounded, and the run is quarantined after them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from snowflake.connector import errors as vendor

from state.errors import (
    ConfigurationError,
    SluicewayError,
    TransientError,
    UnknownOutcome,
)

AGAIN = "It is tried again by itself."
CREDENTIAL = "Check the credential under snowflake_connection and the user in Snowflake (DESCRIBE USER)."
GRANT = "Create the object or grant the privilege that it names; deploy/sql/grants.sql has all that are needed."


@dataclass(frozen=True)
class Meaning:
    """Errors that mean one thing. `numbers`, `states`, `kinds`: what they are known by, whichever is looked at.

    `words`: a regular expression that the text must hold as well, where a number alone does not tell enough.
    """

    becomes: type[SluicewayError]
    code: str
    what: str
    hint: str = AGAIN
    numbers: frozenset[int] = frozenset()
    states: frozenset[str] = frozenset()
    kinds: tuple[type[vendor.Error], ...] = ()
    words: str = ""


def _of(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


LOST = frozenset({4, 5, 14, 250003})
"""Numbers of the driver itself (4: I/O, 5: cancelled, 14: timeout; 250003 of driver 4.x): no answer came."""

SESSION_GONE = frozenset({390110, 390111, 390112, 390113, 390114, 390115, 390195, 250002, 252006})
"""Numbers that say: this session is over, and the statement was not run."""

KEY_REJECTED = frozenset({390144, 394304})
"""Numbers that a key replaced a moment ago gives: the file is read once more."""

MEANINGS: Sequence[Meaning] = (
    Meaning(
        TransientError,
        "session_gone",
        "the session is over",
        "It is opened anew and tried again by itself.",
        numbers=SESSION_GONE,
    ),
    Meaning(
        TransientError,
        "lock_waiters",
        "too many statements wait for the same table",
        numbers=_of(625),
    ),
    Meaning(
        TransientError,
        "oauth_expired",
        "the OAuth token has expired",
        "It is read anew at the next login; see that whoever renews it still does.",
        numbers=_of(390318),
    ),
    Meaning(
        ConfigurationError,
        "oauth_invalid",
        "the OAuth token is refused",
        "Write a token of this user, for this account and role, to where snowflake_connection.oauth_token points.",
        numbers=_of(390303, 390309),
    ),
    Meaning(
        ConfigurationError,
        "clock",
        "the login token lies in the past or the future: the clocks differ",
        "Set the clock of this machine (NTP); the key is not the matter.",
        numbers=_of(394301, 394302, 394303),
    ),
    Meaning(
        ConfigurationError,
        "credential",
        "the credential is refused",
        CREDENTIAL,
        numbers=_of(390100, 390144, 394300, 394304, 394305, 394306),
    ),
)


def explain(error: vendor.Error, doing: str, *, changes: bool = True) -> SluicewayError:
    """What an error of the driver means for the one who runs Sluiceway.

    `doing` names the step. `changes`: False if it changes nothing, so that a lost answer leaves nothing unknown.
    """
    number = error.errno if isinstance(error.errno, int) else -1
    if number in LOST:
        return _lost(error, doing, changes)
    for meaning in MEANINGS:
        if number in meaning.numbers:
            return meaning.becomes(_told(error, doing, meaning.what), hint=meaning.hint, code=meaning.code)
    return TransientError(_told(error, doing, ""), hint=AGAIN, code="other")


def _lost(error: vendor.Error, doing: str, changes: bool) -> SluicewayError:
    becomes = UnknownOutcome if changes else TransientError
    return becomes(_told(error, doing, "no answer came"), hint=AGAIN, code="lost")


def _told(error: vendor.Error, doing: str, what: str) -> str:
    words = first_line(error)
    return f"{doing}: {what}: {words}" if what else f"{doing}: {words}"


def first_line(error: vendor.Error) -> str:
    """Snowflake's own words, without the lines of the statement that may follow them."""
    raw = str(error.raw_msg or "").strip()
    line = raw.splitlines()[0] if raw else type(error).__name__
    return re.sub(r"^\d{6} \(\w{5}\): ", "", line)[:500]
