"""Settings of a drive table in MySQL or MariaDB: `drive_table` in the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StrictBool, model_validator

from state.settings import Group, Secret

Name = Annotated[str, Field(min_length=1)]
WholeSeconds = Annotated[int, Field(strict=True, ge=1, le=3600)]


class MysqlDriveSettings(Group):
    """A database on a server: any number of processes, on any machines, share its runs."""

    type: Literal["mysql"]
    """Kind of drive table; MariaDB is `mysql` too."""
    host: Name
    """Name or address of the server; with TLS the one that its certificate must bear. No default."""
    port: Annotated[int, Field(strict=True, ge=1, le=65535)] = 3306
    """Port of the server. Default 3306."""
    user: Name
    """User of the database. It needs SELECT, INSERT and UPDATE; for `drive init` and `upgrade` also CREATE, ALTER,
    INDEX, DROP and DELETE; on this database alone. No default."""
    password: Secret
    """Password of `user`, as a reference, read at each connection, so that a rotated one is seen. No default."""
    database: Name
    """Database that holds the drive table, and may hold nothing else. No default."""
    tls: StrictBool = True
    """Whether the connection is encrypted and the server's certificate checked. Default true; a server that offers
    no TLS is refused before the password is sent. `false` only where nobody else can listen."""
    ca_file: Path | None = None
    """Certificates that the server's is checked against. Default: those of this machine."""
    connect_timeout_seconds: WholeSeconds = 10
    """Seconds until a connection is open, TLS and login included. Default 10: a server far away needs one."""
    lock_wait_timeout_seconds: WholeSeconds = 10
    """Seconds that a write waits for another process, and that one which stands still inside a write keeps others
    waiting (MySQL: a minute). Default 10: a write takes milliseconds."""
    answer_timeout_seconds: WholeSeconds = 60
    """Seconds for one answer of the server, then the connection is given up. Default 60: longer than a wait for a
    lock."""

    @model_validator(mode="after")
    def _agree(self) -> MysqlDriveSettings:
        if self.ca_file is not None and not self.tls:
            raise ValueError("ca_file has no use with tls: false")
        if self.answer_timeout_seconds <= self.lock_wait_timeout_seconds:
            raise ValueError("answer_timeout_seconds must be above lock_wait_timeout_seconds")
        return self

    @property
    def place(self) -> str:
        """How messages name this drive table; no secret in it."""
        return f"{self.database} on {self.host}:{self.port}"
