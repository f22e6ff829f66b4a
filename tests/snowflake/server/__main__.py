"""`python -m tests.snowflake.server PORT HOME`: serve until told to stop; port 0 takes a free one.

The address is written to `HOME/address` once it listens.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import uvicorn

from tests.snowflake.server.app import build
from tests.snowflake.server.model import Server


async def serve(port: int, home: Path) -> None:
    listening = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(build(Server(home)), log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    partly = home / "address.part"
    partly.write_text(f"127.0.0.1:{listening.getsockname()[1]}")
    partly.rename(home / "address")
    await uvicorn.Server(config).serve(sockets=[listening])


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
