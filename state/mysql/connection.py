"""A connection to MySQL or MariaDB as everybody here wants it: what the driver would let pass is refused."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import aiomysql
from pymysql.constants import CLIENT, FIELD_TYPE
from pymysql.err import OperationalError

from state.errors import ConfigurationError
from state.mysql.errors import NO_TLS

PACKETS_PER_TURN = 100
"""Rows that have come are taken without a pause by the driver: some milliseconds, then others get their turn."""

_NUMBERS = (FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.INT24, FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG)


class Connection(aiomysql.Connection):  # type: ignore[misc]
    """As the driver's, which would go on in the clear with a server, or somebody between, that offers no TLS.

    Text in `utf8mb4`, whole numbers as int, everything else as the text that came; in autocommit mode; one
    statement at a time, so that nothing hides behind a semicolon; files of this machine are not to be had.
    """

    _reader: asyncio.StreamReader | None
    _writer: asyncio.StreamWriter | None

    _packets = 0

    def __init__(
        self, host: str, port: int, *, user: str, password: str, database: str, trusting: ssl.SSLContext | None
    ) -> None:
        super().__init__(
            host=host,
            port=port,
            user=user,
            password=password.encode().decode("latin-1"),  # the driver sends latin-1
            db=database,
            charset="utf8mb4",
            conv=dict.fromkeys(_NUMBERS, int),
            autocommit=True,
            client_flag=CLIENT.FOUND_ROWS,
            program_name="sluiceway",
            local_infile=False,
            ssl=trusting,
        )
        self.client_flag &= ~CLIENT.MULTI_STATEMENTS

    @property
    def encryption(self) -> str:
        """The version of TLS in use; empty if there is none."""
        used = self._writer.get_extra_info("ssl_object") if self._writer is not None else None
        return str(used.version()) if used is not None else ""

    async def open(self) -> None:
        """Connect and log in. Raises the driver's errors."""
        await self._connect()

    async def _read_packet(self, *kind: Any) -> Any:
        self._packets += 1
        if self._packets % PACKETS_PER_TURN == 0:
            await asyncio.sleep(0)
        return await super()._read_packet(*kind)

    async def _request_authentication(self) -> None:
        if self._ssl_context and not self.server_capabilities & CLIENT.SSL:
            raise OperationalError(NO_TLS, "the server offers no TLS")
        try:
            await super()._request_authentication()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """At once; the driver's own way leaves the socket open until the other side agrees that TLS ends."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._writer = self._reader = None


def certificates(ca_file: Path | None, section: str) -> ssl.SSLContext:
    """Whom to trust: the certificates in `ca_file`, or this machine's. Blocks for some milliseconds.

    Raises `ConfigurationError`, naming the setting `ca_file` of `section`, if they cannot be read.
    """
    path = f"{section}.ca_file"
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationError(
            f"the certificates in {ca_file} cannot be read: {error.strerror or error}",
            hint=f"Set {path} to a file of certificates in PEM form.",
            code="ca_file",
            path=path,
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
