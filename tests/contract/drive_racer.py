"""A process that races others for the runs of one drive table, and writes down what it was told.

`python -m tests.contract.drive_racer work|create PLACE LOG SEED`; it starts when a line arrives on stdin. The
log holds a JSON line per thing that happened.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace

from service.leaving import leave
from state.drive import DriveTable
from state.errors import DuplicateWindow, LeaseLost
from state.model import Claim, Phase, PhaseRecord, PhaseStatus, Run, RunStatus
from state.owner import owner_name
from tests.contract.drive_desk import failure, new
from tests.contract.drive_places import place_of

ATTEMPTS = 3
"""A run is finished by its third attempt or a later one."""
CREATED = 12
"""Windows that all creators want at once."""


def counted(run: Run) -> int:
    """Checkpoints that the row of `run` remembers."""
    record = run.phases.get(Phase.AUDIT)
    return record.figures["checkpoints"] if record else 0


def with_one_more(run: Run) -> Run:
    record = PhaseRecord(PhaseStatus.RUNNING, figures={"checkpoints": counted(run) + 1})
    return replace(run, phases={Phase.AUDIT: record})


async def work(drive: DriveTable, lease: timedelta, log, dice: random.Random) -> None:
    """Claim until every run is finished; some attempts sleep longer than their lease."""
    while any(run.unfinished for run in await drive.runs("p")):
        claim = await drive.claim("p", owner_name(), lease)
        if claim is None:
            await asyncio.sleep(0.01)
            continue
        log(event="claim", token=claim.token, run=claim.run.name, attempts=claim.run.attempts)
        try:
            await attempt(drive, claim, lease, log, dice)
        except LeaseLost:
            log(event="lost", token=claim.token)


async def attempt(drive: DriveTable, claim: Claim, lease: timedelta, log, dice: random.Random) -> None:
    for _ in range(dice.randint(1, 3)):
        if dice.random() < 0.1:
            await asyncio.sleep(lease.total_seconds() * 1.5)
        claim = await drive.checkpoint(claim, with_one_more(claim.run))
        log(event="checkpoint", run=claim.run.name, token=claim.token)
    if claim.run.attempts >= ATTEMPTS:
        await drive.checkpoint(claim, replace(claim.run, status=RunStatus.COMPLETED))
        log(event="completed", run=claim.run.name)
    elif dice.random() < 0.5:
        await drive.fail(claim, claim.run, failure(), retry_in=timedelta(0), quarantine=False)
    else:
        await drive.release(claim, claim.run)


async def create(drive: DriveTable, _lease: timedelta, log, dice: random.Random) -> None:
    """Ask for the same windows as everybody else, one or two at a time, some of them shifted."""
    for hour in range(0, CREATED, 2):
        spans = dice.choice([[new(hour), new(hour + 1)], [new(hour, 2)], [new(hour)]])
        try:
            runs = await drive.create("p", owner_name(), spans)
        except DuplicateWindow as error:
            log(event="refused", code=error.code)
        else:
            log(event="created", runs=[run.name for run in runs])


async def race(role: str, text: str, log, seed: int) -> None:
    place = place_of(text)
    async with aclosing(await place.open()) as drive:
        print("ready", flush=True)
        sys.stdin.readline()
        await {"work": work, "create": create}[role](drive, place.lease, log, random.Random(seed))


if __name__ == "__main__":
    with Path(sys.argv[3]).open("w") as file:
        asyncio.run(
            race(
                sys.argv[1],
                sys.argv[2],
                lambda **told: print(json.dumps(told), file=file),
                int(sys.argv[4]),
            )
        )
    leave(0)
