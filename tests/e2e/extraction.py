"""A process whose memory is measured: it reads a window of a search index to staged chunks, and no further.

    python -m tests.e2e.extraction FOLDER URL INDEX ROWS_PER_PART

The worker's own way up to the COPY: claim, cut, snapshots, pages, columns, chunks, stage. Prints a JSON line.
"""

from __future__ import annotations

from service.memory import give_back, peak_resident

give_back()  # first, as in service.__main__

import asyncio  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

from msgspec.structs import replace  # noqa: E402

from service.bench import Bench  # noqa: E402
from service.parallel import each  # noqa: E402
from service.phases import pre_validation  # noqa: E402
from service.phases.setting_aside import Allowance  # noqa: E402
from service.phases.source_to_stage_transfer import read_and_checkpoint  # noqa: E402
from tests.e2e.worker_of import attempt, config_of  # noqa: E402


async def read(bench: Bench) -> None:
    """Cut the window and read all of its parts."""
    cut = (await pre_validation.perform(bench)).manifest
    assert cut is not None
    await bench.lease.checkpoint(lambda run: replace(run, manifest=cut))
    contract, settings = await bench.contract(), bench.config.phases.source_to_stage_transfer
    allowance = Allowance(settings, bench.run)

    async def part(number: int) -> None:
        await read_and_checkpoint(bench, contract, number, allowance)

    await each(range(len(cut.parts)), settings.parallel_parts, part)


async def main() -> None:
    config = config_of(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
    async with attempt(config) as bench:
        began = time.monotonic()
        await read(bench)
        manifest = bench.run.manifest
        told = {
            "rows": manifest.rows,
            "parts": len(manifest.parts),
            "chunks": len(manifest.chunks),
            "bytes": sum(chunk.bytes for chunk in manifest.chunks),
            "seconds": round(time.monotonic() - began, 1),
            "peak_mib": peak_resident(os.getpid()) / 2**20,
        }
    print(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main())
