"""What Snowflake's errors mean: the table, each row of which is a test. `errors.py` looks things up in it."""

from __future__ import annotations

from collections.abc import Sequence

from state.errors import (
    UNKNOWN_AT_MOST,
    ConfigurationError,
    ContractError,
    PermanentError,
    RestartAttempt,
    TransientError,
    UnknownOutcome,
    Unreachable,
)
from state.snowflake.driver import errors as vendor
from state.snowflake.meaning import Meaning, numbered

AGAIN = "It is tried again by itself."
AWAY = f"{AGAIN} If it stays: is the account or host right, is the way open (DNS, firewall, proxy)?"
SETTLED = "What became of it is looked up first, then it is tried again by itself."
CREDENTIAL = "Check the credential under snowflake_connection, and the user in Snowflake (DESCRIBE USER)."
NETWORK = "Look for a network policy of the user or account, a proxy on the way, and a wrong account or host."
GRANT = (
    "Create the object, or grant the privilege to the role of snowflake_connection: `sluiceway doctor` names each"
    " that is missing with its GRANT, `sluiceway drive sql grants` prints all of them."
)
VALUE = "Map the column to a type that holds all its values (source_system.columns.types), or mend the rows."
SLOW = (
    "Give the work a larger warehouse or shorter windows, or raise snowflake_connection.statement_timeout_seconds."
)

SESSION_GONE = numbered(390110, 390111, 390112, 390113, 390114, 390115, 390195, 250002, 252006)
"""This session is over, and the statement was not run."""

REFUSED_SECRET = numbered(390100, 390144, 394300, 394304, 394305, 394306, 394307, 394400)
"""The credential is refused; 390144 and 394304 are what a key gives that was taken out of use."""

STALE_SECRET = REFUSED_SECRET | numbered(390303, 390318)
"""What a credential gives that was replaced a moment ago: it is read once more."""

NO_ANSWER = numbered(4, 5, 14, 250003)
"""Numbers of the driver itself: 4 input and output, 5 cancelled, 14 time; 250003 with drivers before 5."""

HTTP_4XX = r"error status: (4\d\d)"

MEANINGS: Sequence[Meaning] = (
    Meaning(
        TransientError,
        "session_gone",
        "the session is over",
        "A new one is opened and it is tried again by itself.",
        numbers=SESSION_GONE,
    ),
    Meaning(
        TransientError,
        "session_gone",
        "the session could not be renewed",
        "A new one is opened and it is tried again by itself.",
        numbers=numbered(250001),
        words="refresh session",
    ),
    Meaning(
        UnknownOutcome,
        "http_{0}",
        "Snowflake refused every try",
        SETTLED,
        numbers=NO_ANSWER,
        words=r"last status (429|5\d\d)",
    ),
    Meaning(UnknownOutcome, "lost", "no answer came", SETTLED, numbers=NO_ANSWER),
    Meaning(
        UnknownOutcome,
        "http_{0}",
        "Snowflake refused every try",
        SETTLED,
        numbers=frozenset({290429, *range(290500, 290600)}),
        words=r"(429|5\d\d)",
    ),
    Meaning(
        TransientError,
        "http_{0}",
        "something on the way refused the request",
        f"A new session is opened and it is tried again by itself. {NETWORK}",
        numbers=numbered(6),
        words=HTTP_4XX,
    ),
    Meaning(UnknownOutcome, "garbled", "the answer cannot be read", SETTLED, numbers=numbered(6)),
    Meaning(
        TransientError,
        "transaction_ended",
        "Snowflake has ended the transaction: it was idle for too long while others waited, or was aborted",
        AGAIN,
        numbers=numbered(637),
    ),
    Meaning(
        TransientError,
        "deadlock",
        "it was given up to end a deadlock",
        AGAIN,
        numbers=numbered(625),
        states=frozenset({"57014"}),
        words="deadlock",
    ),
    Meaning(
        TransientError,
        "lock_timeout",
        "another transaction held the table for too long",
        f"{AGAIN} SHOW LOCKS names the holder.",
        numbers=numbered(625),
        states=frozenset({"57014"}),
        words=r"lock[_ ]timeout|waiting for (a )?lock",
    ),
    Meaning(TransientError, "lock_waiters", "too many wait for one table", AGAIN, numbers=numbered(625)),
    Meaning(
        TransientError,
        "queued_timeout",
        "it waited too long for the warehouse",
        f"{AGAIN} Give the warehouse more clusters, or raise snowflake_connection.queued_timeout_seconds.",
        numbers=numbered(604, 630),
        states=frozenset({"57014"}),
        words="queue",
    ),
    Meaning(
        TransientError,
        "statement_timeout",
        "it took longer than a statement may",
        f"It is tried once more. {SLOW}",
        numbers=numbered(630),
        words="timeout",
        at_most=2,
    ),
    Meaning(UnknownOutcome, "cancelled", "it was cancelled", SETTLED, numbers=numbered(604, 630)),
    Meaning(UnknownOutcome, "result_gone", "no answer of it is kept", SETTLED, numbers=numbered(612, 709)),
    Meaning(
        TransientError,
        "oauth_expired",
        "the OAuth token has expired",
        "It is read anew before the next login; see that whoever renews it still does.",
        numbers=numbered(390318),
    ),
    Meaning(
        ConfigurationError,
        "oauth_invalid",
        "the OAuth token is refused",
        "Put a token of this user, for this account and role, where snowflake_connection.oauth_token points.",
        numbers=numbered(390303, 390309),
    ),
    Meaning(
        ConfigurationError,
        "clock",
        "the login lies in the past or in the future for Snowflake: the clocks differ",
        "Set the clock of this machine (NTP); the key is not the matter.",
        numbers=numbered(394301, 394302, 394303),
    ),
    Meaning(
        ConfigurationError,
        "credential",
        "the credential is refused",
        CREDENTIAL,
        numbers=REFUSED_SECRET,
    ),
    Meaning(
        ConfigurationError,
        "user_locked",
        "the user is locked or disabled",
        "Unlock it (ALTER USER … SET MINS_TO_UNLOCK = 0, DISABLED = FALSE) once the credential is right.",
        numbers=numbered(390101, 390102),
    ),
    Meaning(
        ConfigurationError,
        "network_policy",
        "a network policy keeps this machine out",
        "Add the address to the network policy of the user or the account.",
        numbers=numbered(390420, 390422, 390432),
    ),
    Meaning(
        ConfigurationError,
        "role",
        "the role is missing or not granted to the user",
        "Grant the role to the user, both as snowflake_connection names them.",
        numbers=numbered(390189),
    ),
    Meaning(
        ConfigurationError,
        "object",
        "an object named at login is missing or not granted",
        GRANT,
        numbers=numbered(390201),
    ),
    Meaning(
        ConfigurationError,
        "settings",
        "the driver does not take these settings",
        "Mend what it names under snowflake_connection.",
        numbers=numbered(7, 8, *range(251001, 251019)),
    ),
    Meaning(
        ConfigurationError,
        "credential",
        "the private key cannot be used",
        "Give a private key in PEM (PKCS#8 or PKCS#1), and private_key_passphrase if it is encrypted.",
        numbers=numbered(250001),
        words="authentication failed",
    ),
    Meaning(
        ConfigurationError,
        "tls",
        "the connection is not safe",
        "Check snowflake_connection.host, and whether a proxy puts its own certificate between.",
        numbers=numbered(250001),
        words="certificate|InvalidContentType",
    ),
    Meaning(
        ConfigurationError,
        "http_{0}",
        "something refuses the login",
        NETWORK,
        numbers=numbered(250001),
        words=HTTP_4XX,
    ),
    Meaning(
        TransientError,
        "http_{0}",
        "Snowflake refused every try",
        AGAIN,
        numbers=numbered(250001),
        words=r"last status (429|5\d\d)",
    ),
    Meaning(
        Unreachable,
        "unreachable",
        "Snowflake cannot be reached",
        AWAY,
        numbers=numbered(250001),
    ),
    Meaning(TransientError, "upload", "a file could not be uploaded", AGAIN, numbers=numbered(253003)),
    Meaning(
        RestartAttempt,
        "local_file",
        "a file to upload is not there any more",
        "The rows are read again; let nothing else clean the spool directory.",
        numbers=numbered(10, 253006),
    ),
    Meaning(
        RestartAttempt,
        "stage_file_missing",
        "a staged file is gone",
        "The rows are read again; find out who removes files from the stage.",
        numbers=numbered(91016),
    ),
    Meaning(
        ConfigurationError,
        "object",
        "an object is missing, or the role may not see it",
        GRANT,
        numbers=numbered(2003, 2043),
        states=frozenset({"42S02", "02000"}),
    ),
    Meaning(
        ConfigurationError,
        "privilege",
        "the role may not do it",
        GRANT,
        numbers=numbered(3001, 3041),
        states=frozenset({"42501"}),
    ),
    Meaning(
        ConfigurationError,
        "sql",
        "Snowflake does not understand the statement",
        "Mend SQL of yours in it; undo what somebody changed by hand; else it is a defect to be reported.",
        numbers=numbered(904, 1003, 1007),
        states=frozenset({"42000", "42601"}),
    ),
    Meaning(
        PermanentError,
        "duplicate_row",
        "two rows of one key were to be merged",
        "Check target_system.key: does it identify a row?",
        numbers=numbered(100090),
    ),
    Meaning(
        PermanentError,
        "duplicate_row",
        "two rows of one key were to be merged",
        "Check target_system.key: does it identify a row?",
        states=frozenset({"42P18"}),
        words="duplicate row detected",
    ),
    Meaning(
        ContractError,
        "value",
        "a value does not fit its column",
        VALUE,
        numbers=numbered(100035, 100038, 100040, 100046, 100072, 100078, 252005),
    ),
    Meaning(
        PermanentError,
        "data",
        "Snowflake cannot take the data",
        VALUE,
        numbers=frozenset(range(100000, 101000)),
        states=frozenset({"22000", "22003", "22007", "22018", "22023"}),
    ),
    Meaning(
        ConfigurationError,
        "resource_monitor",
        "a resource monitor has stopped the warehouse",
        "Raise the quota of the resource monitor or wait for its next interval.",
        numbers=numbered(90073),
        states=frozenset({"57P03"}),
        words="resource monitor|quota",
    ),
    Meaning(
        ConfigurationError,
        "no_warehouse",
        "there is no warehouse to run it in",
        "Grant USAGE on snowflake_connection.warehouse to the role, and let it resume (AUTO_RESUME = TRUE).",
        numbers=numbered(606, 90109),
        states=frozenset({"57P03"}),
    ),
    Meaning(
        TransientError,
        "cancelled",
        "it was cancelled",
        AGAIN,
        states=frozenset({"57014"}),
    ),
    Meaning(ContractError, "value", "a value does not fit its column", VALUE, kinds=(vendor.IntegrityError,)),
    Meaning(PermanentError, "data", "Snowflake cannot take the data", VALUE, kinds=(vendor.DataError,)),
    Meaning(UnknownOutcome, "lost", "no answer came", SETTLED, kinds=(vendor.OperationalError,)),
    Meaning(UnknownOutcome, "garbled", "the answer cannot be read", SETTLED, kinds=(vendor.InternalError,)),
    Meaning(
        TransientError,
        "other",
        "an error that Sluiceway does not know",
        "It is tried twice more; if it stays, Snowflake's support knows its number.",
        kinds=(vendor.Error,),
        at_most=UNKNOWN_AT_MOST,
    ),
)
