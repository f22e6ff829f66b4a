"""Five pipelines into Snowflake, two of them into one table, on one drive table, and processes that work on all.

The lease of a drive table in Snowflake is 600 seconds or more by a rule of the configuration, which is judged
where a file is read. So `Fleet.config` shortens it on the object that `parse_config` has passed: what a worker is
given differs from an operator's in that one number, and a take-over happens within seconds.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import typer

from service.app import account_of, drive_of, opened
from service.cli.stopping import until_told_to_stop
from service.config import parse_config
from service.console import Console
from service.events import Event
from service.settings import PipelineConfig
from service.worker import Worker
from state.model import Run, Window
from state.registry import AnyDrive, backend
from tests.lifecycle.snowflake_world import SnowflakeWorld, snowflake_defaults
from tests.lifecycle.world import START, events, merged
from tests.servers.mariadb import PASSWORD, PASSWORD_VARIABLE
from tests.snowflake.running import Place

TABLES = {"p1": "SHARED", "p2": "SHARED", "p3": "EVENTS_3", "p4": "EVENTS_4", "p5": "EVENTS_5"}
"""Target table by the end of a pipeline's name."""

SPAN = timedelta(minutes=20)
ROWS, KEYS = 80, 30
"""Rows of a pipeline, evenly over `SPAN`; keys come again with a higher version, so that merges update too."""


@dataclass(frozen=True)
class Fleet:
    """Everything below `root`. `windows`: of each pipeline; `drive`: settings of the drive table that all share.
    `lease_seconds`: of every worker. Can be sent to a process."""

    root: Path
    connection: Mapping[str, Any]
    drive: AnyDrive
    windows: int
    max_open: int = 2
    lease_seconds: float = 8.0

    def made(self) -> Fleet:
        """With its sources written and its drive table made."""
        for number, name in enumerate(self.pipelines):
            self.world(name).write(name, rows_of(number))
        asyncio.run(self._init())
        return self

    async def _init(self) -> None:
        config = self.config(self.pipelines[0], "init")
        async with account_of(config) as account:
            await backend(self.drive, account).init()

    @property
    def pipelines(self) -> list[str]:
        """Their names, which no other place's pipelines have."""
        return [f"{self.connection['database']}_{name}" for name in TABLES]

    def world(self, pipeline: str) -> SnowflakeWorld:
        return SnowflakeWorld(self.root / pipeline, {}, self.connection)

    def config(self, pipeline: str, process: str) -> PipelineConfig:
        """What a worker of the process gets."""
        world = self.world(pipeline)
        own = {
            "pipeline_metadata": {"pipeline_name": pipeline},
            "windows": {
                "end": (START + SPAN).isoformat(),
                "width": f"{SPAN // timedelta(seconds=1) // self.windows}s",
                "max_open": self.max_open,
            },
            "target_system": {"table": f"{world.schema}.{TABLES[pipeline[-2:]]}"},
            "limits": {
                "spool_directory": f"{self.root}/spool-{process}",
                "tries_per_phase": 20,
                "try_base_seconds": 0.05,
                "try_cap_seconds": 1.0,
            },
        }
        config = parse_config(merged(snowflake_defaults(world), own))
        limits = config.limits.model_copy(update={"lease_seconds": self.lease_seconds})
        return config.model_copy(update={"drive_table": self.drive, "limits": limits})

    def runs(self) -> list[Run]:
        """What the drive table holds."""

        async def look() -> list[Run]:
            async with drive_of(self.config(self.pipelines[0], "look")) as drive:
                return await drive.runs()

        return asyncio.run(look())

    def wanted(self) -> list[tuple[str, Window]]:
        """Every window that has to be loaded."""
        width = SPAN / self.windows
        return sorted(
            (name, Window(START + width * n, START + width * (n + 1)))
            for name in self.pipelines
            for n in range(self.windows)
        )

    def rows(self) -> dict[str, list[tuple]]:
        """Each target whole, what Sluiceway adds to its rows included."""
        return {table: self._query(f"SELECT * FROM {table} ORDER BY id") for table in sorted({*TABLES.values()})}

    def content_hashes(self) -> dict[str, str]:
        """Of each target, over the columns of the source."""
        asked = 'SELECT id, "AT", version, value FROM {} ORDER BY id, "AT"'
        return {
            table: hashlib.sha256(repr(self._query(asked.format(table))).encode()).hexdigest()
            for table in sorted({*TABLES.values()})
        }

    def loads(self, kind: str = "%") -> list[tuple]:
        """Claims and receipts of all targets: table, kind, pipeline, start, end, run, token."""
        return [
            (table, *row)
            for table in sorted({*TABLES.values()})
            for row in self._query(
                "SELECT kind, pipeline, window_start, window_end, run_name, token FROM"
                f" {table}__SLUICEWAY_LOADS WHERE kind <> 'fence' AND kind LIKE ? ORDER BY 1, 2, 3, 5, 6",
                kind,
            )
        ]

    def left_in_stage(self) -> list[str]:
        """Files and tables that nobody removed."""
        asked = (
            "SELECT table_name FROM information_schema.tables WHERE table_name LIKE '%!_STAGE!_%!_A%' ESCAPE '!'"
            " AND table_name NOT LIKE '%!_STAGE!_EMPTY%' ESCAPE '!'"
        )
        return [name for name, *_ in self._query(asked) + self._query("LIST @SLUICEWAY")]

    def _query(self, sql: str, *values: Any) -> list[tuple]:
        return self.world(self.pipelines[0]).query(sql, *values)


def rows_of(pipeline: int) -> pa.Table:
    """The source of a pipeline: no other one has its keys."""
    table = events(ROWS, every=SPAN / ROWS)
    ids = pa.array([f"p{pipeline}-{n % KEYS:03d}" for n in range(ROWS)])
    return table.set_column(0, "id", ids).set_column(2, "version", pa.array(range(ROWS), pa.int64()))


# A process of workers, and what it tells.


@dataclass(frozen=True)
class Told:
    """One event of a run. `at`: seconds of the machine's clock."""

    at: float
    event: str
    run: str
    token: int


@dataclass(frozen=True)
class Log:
    """The events of one process, in a file that it appends to; `go` lets it begin once it is ready."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "events"

    @property
    def ready(self) -> Path:
        return self.folder / "ready"

    @property
    def go(self) -> Path:
        return self.folder / "go"

    def hear(self, event: Event) -> None:
        run = getattr(event, "run", None)
        if run is not None:
            line = json.dumps([time.time(), type(event).__name__, run.name, run.token])
            with self.file.open("a") as file:
                file.write(line + "\n")

    def told(self, *kinds: str) -> list[Told]:
        """Events of these kinds so far, or of all."""
        lines = self.file.read_text().split("\n")[:-1] if self.file.exists() else []  # the last one may be half
        found = [Told(*json.loads(line)) for line in lines]
        return [one for one in found if not kinds or one.event in kinds]


ENDS = ("RunFinished", "RunFailed", "RunReleased", "RunFenced")


def work(fleet: Fleet, name: str, log: Log, *, to_the_end: bool = False) -> None:
    """Body of a process that works on all five pipelines in one event loop, and stops when told, as the command
    does. `to_the_end`: it looks again until nothing is left that anybody may still have to do."""
    os.environ.setdefault(PASSWORD_VARIABLE, PASSWORD)

    async def go() -> None:
        async with AsyncExitStack() as stack:
            workers = [
                await stack.enter_async_context(opened(fleet.config(pipeline, name), log.hear))
                for pipeline in fleet.pipelines
            ]
            log.ready.touch()
            while not log.go.exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.01)
            async with asyncio.TaskGroup() as group:
                for worker in workers:
                    group.create_task(until_nothing_is_left(worker) if to_the_end else worker.run_due())

    try:
        until_told_to_stop(go(), Console())
    except typer.Exit as end:
        sys.exit(end.exit_code)


async def until_nothing_is_left(worker: Worker) -> None:
    while True:
        await worker.run_due()
        left = [run for run in await worker.drive.runs(worker.pipeline) if run.unfinished]
        if not left:
            return
        assert all(run.quarantined_at is None for run in left), [(run.name, run.failure) for run in left]
        await asyncio.sleep(0.1)


def until(true: Callable[[], Any], what: str, seconds: float = 240) -> Any:
    """What `true()` gives as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"waited too long for: {what}"
        time.sleep(0.02)
    return found


# What the server remembers.


@dataclass
class Merge:
    """A transaction that took a target's fence: held from `since` at the latest until `till` at least."""

    transaction: str
    since: datetime
    till: datetime


def statements_of(fleet: Fleet, place: Place) -> list[dict[str, Any]]:
    """What all sessions of the fleet ran, oldest first."""
    return place.server.get(f"/test/statements?tag={fleet.connection['database']}_p")


def merges(fleet: Fleet, statements: list[dict[str, Any]]) -> dict[str, list[Merge]]:
    """The transactions that took a fence, by target, in order.

    The lock is taken before the first statement of a transaction is answered, and is kept until its last one,
    COMMIT, has begun; of one that nobody ended the rest of the time is not counted.
    """
    taking = re.compile(rf'\s*(?:UPDATE|MERGE INTO) "{fleet.connection["database"]}"\."\w+"\."(\w+?)(__\w+)?"')
    by_transaction: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in statements:
        if one["transaction"] and one["code"] is None and one["ended"]:
            by_transaction[one["transaction"]].append(one)
    found: dict[str, list[Merge]] = defaultdict(list)
    for transaction, mine in by_transaction.items():
        tables = {match[1] for one in mine if (match := taking.match(one["text"])) and match[1] in TABLES.values()}
        for table in tables:
            since = datetime.fromisoformat(mine[0]["ended"])
            till = max(since, datetime.fromisoformat(mine[-1]["started"]))
            found[table].append(Merge(transaction, since, till))
    return {table: sorted(of_table, key=lambda merge: merge.since) for table, of_table in found.items()}


def two_at_once(of_table: list[Merge]) -> Iterator[tuple[Merge, Merge]]:
    """Transactions that held one fence at the same time, which must not be."""
    for first, second in pairwise(of_table):
        if second.since < first.till:
            yield first, second
