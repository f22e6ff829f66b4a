"""What errors of MySQL and MariaDB mean for a source, as a table: each row is a test.

An error is known by its number. What no row knows is transient with the code `other`, for a few attempts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connectors.mysql.settings import MysqlSettings
from state.errors import (
    UNKNOWN_AT_MOST,
    ConfigurationError,
    PermanentError,
    RestartAttempt,
    SluicewayError,
    TransientError,
    Unreachable,
)
from state.mysql.errors import NO_TLS, TIMED_OUT, Meaning, number_of, words_of

BY_ITSELF = "It is tried again by itself."
AGAIN = "Nothing to do: the part is read again in a new snapshot."

MEANINGS: Sequence[Meaning] = (
    Meaning(
        (2002, 2003, 2005),
        Unreachable,
        f"{BY_ITSELF} Check source_system.host and port, and that the server runs, if it stays.",
    ),
    Meaning(
        (1040, 1203, 1226),
        Unreachable,
        f"{BY_ITSELF} Allow the user more connections, or lower source_system.max_connections, if it stays.",
    ),
    Meaning(
        (1129,),
        TransientError,
        "An administrator of the server runs FLUSH HOSTS: it blocks this host after too many failed connections.",
        at_most=UNKNOWN_AT_MOST,
    ),
    Meaning((1053, 3032), Unreachable, f"{BY_ITSELF} The server is being shut down, or serves nobody now."),
    Meaning((1158, 1159, 1160, 1161), TransientError, f"{BY_ITSELF} Look at the network if it stays."),
    Meaning((1047,), Unreachable, f"{BY_ITSELF} The node is not part of its cluster; look at it if it stays."),
    Meaning((2006, 2013, 2014, 2027, 2055, 4031, 1152, 1927), RestartAttempt, AGAIN),
    Meaning(
        (1317, 1969, 3024),
        RestartAttempt,
        f"{AGAIN} If it happens again, lower phases.source_to_stage_transfer.rows_per_part, or raise"
        " source_system.statement_timeout_seconds.",
    ),
    Meaning((1205, 1213, 1637), RestartAttempt, AGAIN),
    Meaning((1412,), RestartAttempt, f"{AGAIN} The table was altered meanwhile; its columns are compared again."),
    Meaning(
        (1021, 1030, 1037, 1038, 1041, 1114, 3015),
        TransientError,
        f"{BY_ITSELF} Free disk or memory on the database server.",
    ),
    Meaning(
        (1045, 1130, 1251, 1698, 1820, 1862, 2059, 3118, 3955, 4151),
        ConfigurationError,
        "Check source_system.user and password, and that the user may log in from this host.",
        "source_system.user",
    ),
    Meaning(
        (NO_TLS, 3159),
        ConfigurationError,
        "Set source_system.ca_file to the certificate that signed the server's, and source_system.host to a name"
        " that the server's bears; tls: false sends everything in the clear.",
        "source_system.tls",
    ),
    Meaning(
        (1044, 1142, 1143, 1227, 1345, 1370),
        ConfigurationError,
        "Grant the user what it needs; docs/mysql.md has the statements.",
        "source_system.user",
    ),
    Meaning(
        (1049, 1046, 1102, 1103, 1109, 1051, 1146),
        ConfigurationError,
        "Correct source_system.database and table, or create the table.",
        "source_system.table",
    ),
    Meaning(
        (1356, 1449),
        ConfigurationError,
        "Mend the view in the database: a table, a column, a user or a right that it needs is not there.",
        "source_system.table",
    ),
    Meaning(
        (1052, 1054, 1060, 1064, 1222, 1248, 1267, 1305, 1582, 1792),
        ConfigurationError,
        "Look at source_system.where, query and columns; the server does not take the statement made from them.",
        "source_system.where",
    ),
    Meaning(
        (1193, 1231, 1232, 1238),
        ConfigurationError,
        "The server must be MariaDB 10.6 or MySQL 8.0 or newer, and let the user set its session.",
        "source_system.host",
    ),
    Meaning(
        (1290, 1827, 1836),
        ConfigurationError,
        "The server was started with an option that forbids what is asked of it; ask its administrator.",
        "source_system.host",
    ),
    Meaning((1194, 1195, 1034, 1932), PermanentError, "Repair or restore the table in the database."),
    Meaning(
        (2020,),
        PermanentError,
        "Leave the column with such values out (source_system.columns.exclude); no target takes one.",
    ),
    Meaning(
        (1292, 1366, 1365, 1690),
        PermanentError,
        "A value does not fit what is computed from it; look at source_system.where and query.",
    ),
)
"""The vendor table; each row is a test."""

AURORA = "Please retry"
"""In the text of 1105, which says nothing by its number."""

_BY_NUMBER: Mapping[int, Meaning] = {number: row for row in MEANINGS for number in row.numbers}


def explain(settings: MysqlSettings, doing: str, error: BaseException, *, in_snapshot: bool) -> SluicewayError:
    """What an error of the driver means. Outside of a snapshot nothing is half done that would have to restart."""
    number = number_of(error)
    row = _BY_NUMBER.get(number)
    if number == 1105 and AURORA in words_of(error):
        row = Meaning((1105,), RestartAttempt, AGAIN)
    code = TIMED_OUT if isinstance(error, TimeoutError) else str(number) if row else "other"
    message = f"{doing} at {settings.place}: {words_of(error)}"
    if row is None:
        return TransientError(message, hint=BY_ITSELF, code=code, at_most=UNKNOWN_AT_MOST)
    if row.becomes is RestartAttempt and not in_snapshot:
        return TransientError(message, hint=BY_ITSELF, code=code)
    return row.error(message, code)
