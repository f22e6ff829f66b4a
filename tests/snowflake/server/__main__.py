"""`python -m tests.snowflake.server PORT HOME`: serve until told to stop; port 0 takes a free one.

The address is written to `HOME/address` once it listens. On SIGUSR1 it writes where each of its threads is.
"""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from tests.snowflake.server import catalog, parameters
from tests.snowflake.server.app import build
from tests.snowflake.server.model import Server


async def serve(port: int, home: Path) -> None:
    listening = socket.socket(
        socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )  # asyncio leaves others to Nagle
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen(1024)
    server = Server(home)
    catalog.setup(server)
    server.functions.update(parameters.functions())
    config = uvicorn.Config(build(server), log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    partly = home / "address.part"
    partly.write_text(f"127.0.0.1:{listening.getsockname()[1]}")
    partly.rename(home / "address")
    await uvicorn.Server(config).serve(sockets=[listening])


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1)
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
