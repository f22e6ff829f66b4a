"""A process that changes a SQLite drive table and is killed before its n-th statement.

`python -m tests.contract.drive_victim PATH N` (N = 0: it lives). Prints its owner name first.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import aclosing
from pathlib import Path

from state.owner import owner_name
from state.sqlite import SqliteDrive
from tests.contract.drive_desk import LEASE, T0, failure, merged, new, receipt_of, window


async def steps(drive: SqliteDrive) -> None:
    """One of each kind of write; a state of the table after each."""
    await drive.create("p", "x", [new(0), new(1)])
    claim = await drive.claim("p", owner_name(), LEASE)
    await drive.renew([claim], LEASE)
    claim = await drive.checkpoint(claim, merged(claim.run))
    await drive.fail(claim, claim.run, failure(), retry_in=None, quarantine=True)
    await drive.adopt("p", [receipt_of(type(claim.run.id)("elsewhere", "p", window(5), 1))], 9)


async def live_until(path: Path, fatal: int) -> None:
    async with aclosing(await SqliteDrive.open(path, clock=lambda: T0)) as drive:
        seen = 0

        def before(_statement: str) -> None:
            nonlocal seen
            seen += 1
            if seen == fatal:
                os.kill(os.getpid(), signal.SIGKILL)

        drive._connection.set_trace_callback(before)
        await steps(drive)
        print(seen, flush=True)


if __name__ == "__main__":
    asyncio.run(live_until(Path(sys.argv[1]), int(sys.argv[2])))
