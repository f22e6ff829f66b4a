"""Settings of a MySQL or MariaDB source: `source_system` in the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StrictBool, model_validator

from connectors.policies import Policy
from state.settings import Group, Secret

Name = Annotated[str, Field(min_length=1)]
Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
WholeSeconds = Annotated[int, Field(strict=True, ge=1, le=86_400)]


class MysqlColumns(Group):
    """Which columns are read, under which names and types."""

    include: tuple[Name, ...] = ("*",)
    """Column patterns that are read. Default all, generated and invisible ones too: what is left out is lost for
    good."""
    exclude: tuple[Name, ...] = ()
    """Column patterns that are not read, after `include`. Default none."""
    rename: Mapping[Name, Name] = {}
    """Column of the table to column of the target. Default none."""
    types: Mapping[Name, Name] = {}
    """Column of the table to type (string, binary, json, int64, decimal(p,s), float64, boolean, time), where the
    declared one is not wanted. Default none: the table decides."""
    hash: tuple[Name, ...] = ()
    """Columns of the table that the server replaces by their SHA-256 in hex, so that the value never leaves it.
    Default none."""
    mask: Mapping[Name, str] = {}
    """Column of the table to the text that stands for each of its values that is not NULL; the value never leaves
    the server. Default none."""
    on_bad_value: Mapping[Name, Policy] = {}
    """Column to what becomes of a value that it cannot hold, a zero date for one: error, null, text (the column is
    text then) or quarantine (the row is set aside); all but errors are counted. Default error for all: nothing is
    dropped unasked."""


class MysqlSettings(Group):
    """A table or view of MySQL or MariaDB, or one SELECT."""

    type: Literal["mysql", "mariadb"]
    """Kind of source. The server itself is asked what it is, so both words do."""
    host: Name
    """Name or address of the server; with TLS the one that its certificate must bear. No default."""
    port: Annotated[int, Field(strict=True, ge=1, le=65535)] = 3306
    """Port of the server. Default 3306."""
    user: Name
    """User of the database; SELECT on what is read is all that it needs. No default."""
    password: Secret
    """Password of `user`, as a reference, read at each connection, so that a rotated one is seen. No default."""
    database: Name
    """Database of the table. No default."""
    table: Text | None = None
    """Table or view that is read. Default none: then a `query` is given."""
    query: Text | None = None
    """One SELECT that is read in place of a table, as a sub-query; its text is trusted like code. Default none."""
    allow_query: StrictBool = False
    """Whether `query` may be used. Default false: whoever may write it reads all that `user` may."""
    cursor: Name | None = None
    """Column of the target that windows are cut by: a TIMESTAMP, a DATETIME or a DATE; wall times are taken as
    UTC. Default none, which only `target_system.mode: snapshot` can do with: it reads the table whole."""
    key: tuple[Name, ...] = ()
    """Columns of the target that identify a row. Default: the primary key, else a unique key without NULL."""
    columns: MysqlColumns = MysqlColumns()
    """Which columns are read. Default all."""
    where: Text | None = None
    """A condition in the server's SQL that each row must match; its text is trusted like code. Default none."""
    null_cursor: Literal["error", "ignore"] = "error"
    """What to do with rows whose cursor is NULL or a zero date: they belong to no window. `ignore` leaves them
    out, and each part reports how many there are. Default error: nothing is left out unasked."""
    cursor_fallback: Name | None = None
    """Column of the table that stands for the cursor of a row where that is NULL, of the same type and with an
    index of its own. Default none."""
    consistent: StrictBool = True
    """Whether each part is read inside one transaction's snapshot. Default true; only InnoDB has such, so other
    engines are refused until this is false, and the proof then says that there was none."""
    allow_full_scan: StrictBool = False
    """Whether a table of more than 100,000 rows may be read without an index that begins with the cursor. Default
    false: each part, and each count, would pass over the whole table."""
    require_read_only: StrictBool = False
    """Whether doctor fails for a user who may write. Default false: it only says so."""
    hold_back_open_transactions: StrictBool = False
    """Whether a window waits until every transaction that was open on the server before its end is over, so that
    none of them can still commit rows into it. Default false: it needs the privilege PROCESS."""
    replica: StrictBool = False
    """Whether the server is a replica whose lag is looked at: a window waits until the replica has what its source
    had at its end. Default false: it needs the privilege REPLICA MONITOR or REPLICATION CLIENT."""
    tls: StrictBool = True
    """Whether the connection is encrypted and the server's certificate checked. Default true; a server that offers
    no TLS is refused before the password is sent. `false` only where nobody else can listen."""
    ca_file: Path | None = None
    """Certificates that the server's is checked against. Default: those of this machine."""
    max_connections: Annotated[int, Field(strict=True, ge=2, le=65)] = 5
    """Connections of one run at most: one for questions, and one for each part that is read at the same time.
    Default 5: kind to the server."""
    connect_timeout_seconds: WholeSeconds = 10
    """Seconds until a connection is open, TLS and login included. Default 10: a server far away needs one."""
    statement_timeout_seconds: WholeSeconds = 900
    """Seconds of one statement, then the server or this side ends it. Default 900: as long as a snapshot may
    last."""
    write_timeout_seconds: WholeSeconds = 1800
    """Seconds that the server waits for a reader that takes nothing (`net_write_timeout`); after half of them the
    reader gives the part up itself and it is read again. Default 1800: a server's own 60 is less than an upload
    may take."""

    @model_validator(mode="after")
    def _agree(self) -> MysqlSettings:
        if (self.table is None) == (self.query is None):
            raise ValueError("give one of table and query")
        if self.query is not None and not self.allow_query:
            raise ValueError("a query is trusted like code: set allow_query to true where it may be")
        if self.ca_file is not None and not self.tls:
            raise ValueError("ca_file has no use with tls: false")
        return self

    @model_validator(mode="after")
    def _told_apart(self) -> MysqlSettings:
        for column in (self.cursor, *self.key):
            if (policy := self.columns.on_bad_value.get(column or "")) in ("null", "text"):
                raise ValueError(
                    f"on_bad_value of {column} cannot be {policy}: windows and rows are told apart by it"
                )
        if twice := set(self.columns.hash) & set(self.columns.mask):
            raise ValueError(f"{min(twice)} is both hashed and masked")
        columns = self.columns
        hidden = {columns.rename.get(name, name): name for name in (*columns.hash, *columns.mask)}
        idle = (set(hidden.values()) & set(columns.types)) | (set(hidden) & set(columns.on_bad_value))
        if idle:
            raise ValueError(
                f"{min(idle)} is hashed or masked, so text that always fits: no types, no on_bad_value"
            )
        return self

    @property
    def place(self) -> str:
        """How messages name the server; no secret in it."""
        return f"{self.host}:{self.port}"

    @property
    def what(self) -> str:
        """How messages name what is read."""
        return f"{self.database}.{self.table}" if self.table is not None else f"the query on {self.database}"

    @property
    def policies(self) -> Mapping[str, Policy]:
        """Column to what becomes of a value that it cannot hold; the others: error."""
        return self.columns.on_bad_value
