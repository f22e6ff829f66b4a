"""A process that changes a drive table and is killed before its n-th statement.

`python -m tests.contract.drive_victim PLACE N` (N = 0: it lives). Prints how many statements there were.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing

from state.drive import DriveTable
from state.owner import owner_name
from tests.contract.drive_desk import LEASE, T0, failure, merged, new, receipt_of, window
from tests.contract.drive_places import place_of


async def steps(drive: DriveTable) -> AsyncIterator[str]:
    """One of each kind of write; it is told after each, with the state of the table that it left."""
    await drive.create("p", "x", [new(0), new(1)])
    yield "create"
    claim = await drive.claim("p", owner_name(), LEASE)
    yield "claim"
    await drive.renew([claim], LEASE)
    yield "renew"
    claim = await drive.checkpoint(claim, merged(claim.run))
    yield "checkpoint"
    await drive.fail(claim, claim.run, failure(), retry_in=None, quarantine=True)
    yield "fail"
    await drive.adopt("p", [receipt_of(type(claim.run.id)("elsewhere", "p", window(5), 1))], 9)
    yield "adopt"


async def live_until(text: str, fatal: int) -> None:
    place = place_of(text)
    async with aclosing(await place.open(clock=lambda: T0)) as drive:
        seen = 0

        def before() -> None:
            nonlocal seen
            seen += 1
            if seen == fatal:
                os.kill(os.getpid(), signal.SIGKILL)

        place.before_each_statement(drive, before)
        async for _ in steps(drive):
            pass
        print(seen, flush=True)


if __name__ == "__main__":
    asyncio.run(live_until(sys.argv[1], int(sys.argv[2])))
