"""The page of a pipeline with 1,000 windows, among 200 such pipelines in a drive table, in SQLite and in MariaDB.

`.venv/bin/python -m bench.page`: how soon the first byte comes, and how late the event loop is meanwhile.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from service.admin.ports import opened_ports
from service.daemon.pulse import Pulse
from service.events import Looked
from service.memory import settle
from state.columns import row_of
from state.model import Run, RunStatus, Window, run_name
from state.mysql.drive import MysqlDrive
from state.sqlite import SqliteDrive
from tests.integration.test_admin_api import OPERATE
from tests.lifecycle.test_daemon import serving
from tests.lifecycle.world import HOUR, START, World, events
from tests.servers.mariadb import MariaServer

PIPELINES, WINDOWS, ROUNDS = 200, 1000, 30
SAMPLE_SECONDS = 0.005
PAGES = ("/", "/pipelines/p000", "/pipelines/p000/runs/p000_20251205_20h_run1", "/v1/pipelines/p000/windows")


def a_run(root: Path) -> Run:
    """A run as they are: read, merged, audited."""
    world = World(root / "one", {})
    world.write("h0", events(60))
    [run, *_] = world.run()
    assert run.status is RunStatus.COMPLETED, run.failure
    return run


def rows(run: Run, number: int) -> Iterator[dict[str, Any]]:
    """The same run in every window of a pipeline."""
    pipeline = f"p{number:03d}"
    for hour in range(WINDOWS):
        window = Window(START + hour * HOUR, START + (hour + 1) * HOUR)
        identity = replace(run.id, pipeline=pipeline, window=window)
        name = run_name(pipeline, window, 1, scheduled=True)
        yield row_of(replace(run, id=identity, name=name, read_start=window.start))


def fill(connection: Any, mark: str, run: Run) -> None:
    """All pipelines, by the driver of the database."""
    names = list(row_of(run))
    sql = f"INSERT INTO pipeline_execution_drive ({', '.join(names)}) VALUES ({', '.join([mark] * len(names))})"
    cursor = connection.cursor()
    for number in range(PIPELINES):
        cursor.executemany(sql, [[row[name] for name in names] for row in rows(run, number)])
        connection.commit()
    cursor.close()


def in_sqlite(root: Path, run: Run) -> dict[str, Any]:
    """Settings of a drive table that is filled."""
    path = root / "drive.sqlite"
    asyncio.run(SqliteDrive.init(path))
    with closing(sqlite3.connect(path)) as connection:
        fill(connection, "?", run)
    return {"type": "sqlite", "path": str(path)}


def in_mariadb(server: MariaServer, run: Run) -> dict[str, Any]:
    """Settings of a drive table that is filled."""
    settings = server.database()
    asyncio.run(MysqlDrive.init(settings))
    with server.connection(settings.database) as connection:
        fill(connection, "%s", run)
    return json.loads(settings.model_dump_json(exclude_unset=True))


def asked(port: int, path: str) -> tuple[float, int]:
    """Seconds to the first byte, and how many came in all."""
    password = base64.b64encode(f"anybody:{OPERATE}".encode()).decode()
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        began = time.perf_counter()
        connection.request("GET", path, headers={"Authorization": f"Basic {password}"})
        answer = connection.getresponse()
        first = time.perf_counter() - began
        assert answer.status == 200, answer.status
        return first, len(answer.read())


async def sampled(lags: list[float]) -> None:
    """How late the loop wakes, for ever."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(SAMPLE_SECONDS)
        lags.append(time.perf_counter() - began - SAMPLE_SECONDS)


async def measure(root: Path, drive_table: dict[str, Any]) -> None:
    """A daemon of one of the pipelines, and a table of its pages."""
    end = (START + WINDOWS * HOUR).isoformat()
    world = World(root / "p000", {"pipeline_metadata": {"pipeline_name": "p000"}, "windows": {"end": end}})
    world.write("h0", events(60))
    config = world.config.model_dump(mode="json", exclude_unset=True) | {"drive_table": drive_table}
    (root / "configs").mkdir()
    (root / "configs" / "p000.json").write_text(json.dumps(config))
    admin = {"port": 0, "operate_tokens": [{"env": "OPERATE_TOKEN"}]}
    async with (
        serving(root, admin=admin, health={"host": "127.0.0.1", "port": 0}) as (daemon, heard, _),
        opened_ports(daemon, Pulse(lambda _lag: None, 30), lambda _accept: (b"", "text/plain")) as (_health, port),
    ):
        await heard.until(lambda events: events.of(Looked))
        settle()
        for path in PAGES:
            lags: list[float] = []
            sampling = asyncio.create_task(sampled(lags))
            answers = [await asyncio.to_thread(asked, port, path) for _ in range(ROUNDS)]
            sampling.cancel()
            tell(path, [first for first, _ in answers], lags, answers[0][1])


def tell(path: str, firsts: list[float], lags: list[float], size: int) -> None:
    """A line of the table, in milliseconds and kB."""
    late = sorted(lags)[int(len(lags) * 0.99)]
    found = [1000 * value for value in (statistics.median(firsts), max(firsts), late, max(lags))]
    print(f"{path:46} {size / 1000:6.0f} " + " ".join(f"{value:9.0f}" for value in found), flush=True)


def main() -> None:
    os.environ["OPERATE_TOKEN"] = OPERATE
    server = MariaServer().start()
    try:
        for kind in ("sqlite", "mysql"):
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder)
                run = a_run(root)
                drive_table = in_mariadb(server, run) if kind == "mysql" else in_sqlite(root, run)
                print(f"{kind:46} {'kB':>6} {'first ms':>9} {'worst ms':>9} {'lag p99':>9} {'worst':>9}")
                asyncio.run(measure(root, drive_table))
    finally:
        server.remove()


if __name__ == "__main__":
    main()
