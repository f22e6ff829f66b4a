"""A client that opens a session, runs statements and then waits to be killed: `python -m … CONNECTION STATEMENT…`

CONNECTION: JSON of the keywords of `connect`. It says `ready` when all but a last statement that starts with `>`
are done; that one it sends and waits for.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.servers.guard import started


async def main(connection: dict[str, Any], *statements: str) -> None:
    from snowflake.connector import aio

    session = await aio.connect(**connection)
    cursor = session.cursor()
    for statement in statements:
        if statement.startswith(">"):
            print("ready", flush=True)
        await cursor.execute(statement.removeprefix(">"))
    print("ready", flush=True)
    await asyncio.sleep(3600)


@contextmanager
def client(place: Any, *statements: str, **parameters: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that has run the statements; it is killed at the end at the latest."""
    connection = {**place.connection, "session_parameters": parameters}
    process = started(
        [sys.executable, "-m", "tests.snowflake.vanishing", json.dumps(connection), *statements],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1]), *sys.argv[2:]))
