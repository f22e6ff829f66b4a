"""Settings of a connection to Snowflake: `snowflake_connection` in the configuration."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, StrictBool, field_validator, model_validator

from state.settings import Group, Secret

Text = Annotated[str, Field(min_length=1)]
Seconds = Annotated[int, Field(strict=True, ge=1, le=604_800)]

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class SnowflakeConnection(Group):
    """Who connects to which account, with which credential, and how long anything may take.

    Exactly one credential is given. A file is read anew at every login, so that a rotated key needs no restart.
    """

    account: Text
    """Account identifier, `organisation-account`. No default."""
    user: Text
    """User that logs in, best one of `TYPE = SERVICE`. No default."""
    role: Text
    """Role of every session; secondary roles are switched off. No default: the grants belong to one role."""
    warehouse: Text
    """Warehouse that COPY and MERGE run in. No default."""
    private_key: Secret | None = None
    """Private key of the user in PEM, encrypted or not: the advised credential. Default: none."""
    private_key_passphrase: Secret | None = None
    """Passphrase of an encrypted `private_key`. Default: none."""
    programmatic_access_token: Secret | None = None
    """Programmatic access token instead of a key. Default: none."""
    oauth_token: Secret | None = None
    """OAuth access token instead of a key; whoever renews it writes it to the same place. Default: none."""
    password: Secret | None = None
    """Password instead of a key. Default: none; refused unless `allow_password` is true."""
    allow_password: StrictBool = False
    """Permits `password`. Default false: Snowflake is ending password logins of services."""
    host: Text | None = None
    """Host name of a private link. Default: what follows from `account`."""
    port: Annotated[int, Field(strict=True, ge=1, le=65_535)] | None = None
    """Port of the service. Default: 443."""
    protocol: Literal["https", "http"] = "https"
    """`http` only for a server on this machine. Default https."""
    login_timeout_seconds: Seconds = 60
    """Longest time of one login, all tries of it included. Default 60."""
    request_timeout_seconds: Seconds = 120
    """Longest time of one HTTP request; a statement that runs longer is asked for again. Default 120: Snowflake
    answers within 45."""
    upload_timeout_seconds: Seconds = 600
    """Longest time of bringing one file to the stage, all tries included. Default ten minutes: enough for a chunk
    of 128 MiB over a line of 2 Mbit/s."""
    statement_timeout_seconds: Seconds = 7_200
    """Longest time of one statement, waiting included; Snowflake cancels it then. Default two hours."""
    queued_timeout_seconds: Seconds = 1_800
    """Longest wait of a statement for the warehouse. Default half an hour: Snowflake's own is for ever."""
    lock_timeout_seconds: Seconds = 1_800
    """Longest wait of a statement for a lock on a table. Default half an hour: Snowflake's own is twelve hours."""

    @field_validator("account", "host")
    @classmethod
    def _bare(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|::1", name):
            raise ValueError(f"write the name alone, without https:// and without a path, not {name!r}")
        return name

    @field_validator("account")
    @classmethod
    def _identifier(cls, account: str) -> str:
        if ".snowflakecomputing." in account.lower():
            raise ValueError("write the account identifier, `organisation-account`; a host name goes into host")
        return account

    @model_validator(mode="after")
    def _one_credential(self) -> SnowflakeConnection:
        given = [name for name in CREDENTIALS if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"give exactly one of {', '.join(CREDENTIALS)}; found {found}")
        if self.password is not None and not self.allow_password:
            raise ValueError("use private_key instead of password, or permit it with allow_password: true")
        if self.private_key_passphrase is not None and self.private_key is None:
            raise ValueError("private_key_passphrase needs private_key")
        return self

    @model_validator(mode="after")
    def _encrypted(self) -> SnowflakeConnection:
        if self.protocol == "http" and self.host not in LOOPBACK:
            raise ValueError("protocol: http is for a host on this machine (localhost); use https")
        return self


CREDENTIALS = ("private_key", "programmatic_access_token", "oauth_token", "password")
"""Settings of which exactly one is given."""
