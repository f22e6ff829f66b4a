"""A process whose idle time is measured: a worker with a claimed run, everything open, and nothing to do.

    python -m tests.e2e.idling FOLDER URL INDEX SECONDS

Prints the CPU seconds, user and system, that it took in that time; the lease is renewed meanwhile.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

from tests.e2e.worker_of import attempt, config_of


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def main() -> None:
    config = config_of(Path(sys.argv[1]), sys.argv[2], sys.argv[3], 500_000)
    async with attempt(config) as bench:
        await bench.connector.now()
        before, lease = cpu_seconds(), bench.lease.deadline
        await asyncio.sleep(float(sys.argv[4]))
        assert bench.lease.deadline > lease, "the lease was not renewed: this was no worker"
        print(cpu_seconds() - before)


if __name__ == "__main__":
    asyncio.run(main())
