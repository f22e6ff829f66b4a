"""What errors of MySQL and MariaDB mean for a drive table, as a table: each row is a test."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pymysql.err import InterfaceError, MySQLError

from state.errors import (
    UNKNOWN_AT_MOST,
    ConfigurationError,
    PermanentError,
    SluicewayError,
    TransientError,
    UnknownOutcome,
)
from state.masking import mask

_SHOWN = 300


@dataclass(frozen=True)
class Meaning:
    """What the errors with these numbers become. `path` names the setting to change, if it is one.

    `at_most`: of a `TransientError`, the attempts in a row after which an operator is asked.
    """

    numbers: Sequence[int]
    becomes: type[SluicewayError]
    hint: str
    path: str = ""
    at_most: int | None = None

    def error(self, message: str, code: str) -> SluicewayError:
        """Such an error, with this message."""
        if issubclass(self.becomes, ConfigurationError):
            return ConfigurationError(message, hint=self.hint, code=code, path=self.path)
        if self.becomes is TransientError:
            return TransientError(message, hint=self.hint, code=code, at_most=self.at_most)
        return self.becomes(message, hint=self.hint, code=code)


NO_TLS = 2026
"""The number that MySQL's own clients give an error of TLS."""

BY_ITSELF = "It is tried again by itself; nothing was half written."

MEANINGS: Sequence[Meaning] = (
    Meaning(
        (2002, 2003, 2005),
        TransientError,
        f"{BY_ITSELF} Check drive_table.host and drive_table.port, and that the server runs, if it stays.",
    ),
    Meaning(
        (1040, 1203, 1226),
        TransientError,
        f"{BY_ITSELF} Allow the user more connections if it stays: one for each process.",
    ),
    Meaning(
        (1129,),
        TransientError,
        "An administrator of the server runs FLUSH HOSTS: it blocks this host after too many failed connections.",
    ),
    Meaning(
        (1053, 1158, 1159, 1160, 1161, 1152, 1927, 2006, 2013, 2055, 3032, 4031, 1317, 1969, 3024),
        TransientError,
        BY_ITSELF,
    ),
    Meaning(
        (1047,),
        TransientError,
        f"{BY_ITSELF} The node is not part of its cluster; look at the cluster if it stays.",
    ),
    Meaning(
        (1205,),
        TransientError,
        f"{BY_ITSELF} Look in information_schema.innodb_trx for who holds the lock if it stays.",
    ),
    Meaning((1213, 1180, 1412, 1637, 3101), TransientError, BY_ITSELF),
    Meaning(
        (1021, 1030, 1037, 1038, 1041, 1114, 3015),
        TransientError,
        "Free disk or memory on the database server; nothing was half written.",
    ),
    Meaning(
        (1045, 1130, 1251, 1698, 1820, 1862, 2059, 3118, 3955, 4151),
        ConfigurationError,
        "Check drive_table.user and drive_table.password, and that the user may log in from this host.",
        "drive_table.user",
    ),
    Meaning(
        (NO_TLS, 3159),
        ConfigurationError,
        "Set drive_table.ca_file to the certificate that signed the server's, and drive_table.host to a name that"
        " the server's bears; tls: false sends everything in the clear.",
        "drive_table.tls",
    ),
    Meaning(
        (1044, 1142, 1143, 1227, 1370),
        ConfigurationError,
        "Grant the user SELECT, INSERT and UPDATE on drive_table.database, and all on it to run `sluiceway drive"
        " init` or `upgrade`.",
        "drive_table.user",
    ),
    Meaning(
        (1049, 1046, 1102),
        ConfigurationError,
        "Create the database, or correct drive_table.database.",
        "drive_table.database",
    ),
    Meaning(
        (1050, 1051, 1054, 1064, 1103, 1109, 1146),
        ConfigurationError,
        "The tables are not as `sluiceway drive init` makes them; look who changed them, or use another database.",
        "drive_table.database",
    ),
    Meaning(
        (1115, 1193, 1231, 1273, 1286, 1665),
        ConfigurationError,
        "The server must be MariaDB 10.6 or MySQL 8.0 or newer, with InnoDB and binlog_format ROW or MIXED.",
        "drive_table.host",
    ),
    Meaning(
        (1290, 1792, 1836),
        ConfigurationError,
        "The server is read-only; set drive_table.host to the one that takes writes.",
        "drive_table.host",
    ),
    Meaning(
        (1153, 2020),
        ConfigurationError,
        "Raise max_allowed_packet on the server: a run with very many chunks is a large row.",
        "drive_table.host",
    ),
    Meaning(
        (1194, 1195, 1034, 1932),
        PermanentError,
        "Repair or restore the database; the receipts in the target repair a drive table that is made anew.",
    ),
    Meaning(
        (1048, 1062, 1264, 1292, 1366, 1406, 3819, 4025),
        PermanentError,
        "This is a defect of Sluiceway, or somebody changed the tables: please report the message.",
    ),
)

_BY_NUMBER: Mapping[int, Meaning] = {number: row for row in MEANINGS for number in row.numbers}

ROLLED_BACK = (1180, 1205, 1213, 1290, 1792, 1836, 3101)
"""What a server answers to COMMIT when the transaction is certainly undone."""

TIMED_OUT = "timeout"
"""The code of an answer that did not come in time."""

LOST = (1053, 1152, 1158, 1159, 1160, 1161, 1927, 2006, 2013, 2055, 4031)
"""The connection is gone, or of no more use."""


def number_of(error: BaseException) -> int:
    """The vendor's number of an error, 0 if none; 2013 for whatever is said about a connection that is gone."""
    if _untrusted(error):
        return NO_TLS
    if isinstance(error, InterfaceError | OSError):  # TimeoutError is an OSError
        return 2013
    number = error.args[0] if isinstance(error, MySQLError) and error.args else 0
    return number if isinstance(number, int) else 0


def is_lost(error: BaseException) -> bool:
    """True if the connection cannot be used any more."""
    return number_of(error) in LOST


def explain(place: str, error: BaseException, *, committing: bool = False) -> SluicewayError:
    """What an error of the driver means for the one who runs Sluiceway. `committing`: COMMIT was on its way."""
    number = number_of(error)
    code = TIMED_OUT if isinstance(error, TimeoutError) else str(number) if number in _BY_NUMBER else "other"
    if committing and number not in ROLLED_BACK:
        return UnknownOutcome(
            f"the drive table {place} did not say whether it stored a change: {words_of(error)}",
            hint="Nothing to do: the next look at the drive table shows it.",
            code=code,
        )
    message = f"the drive table {place} cannot be used: {words_of(error)}"
    row = _BY_NUMBER.get(number)
    if row is None:
        return TransientError(message, hint=BY_ITSELF, code=code, at_most=UNKNOWN_AT_MOST)
    return row.error(message, code)


def _untrusted(error: BaseException) -> bool:
    """True if TLS failed; the driver hides that behind a failure to connect."""
    return isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError)


def words_of(error: BaseException) -> str:
    """The server's own words, or the system's; no statement and no value that was sent is in them."""
    inner = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(inner, TimeoutError):
        return "no answer in time"
    words = inner.args[-1] if isinstance(inner, MySQLError) and inner.args else inner
    return mask(str(words))[:_SHOWN]  # before it is cut: half a secret is not recognised
