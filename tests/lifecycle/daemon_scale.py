"""Many pipelines with windows of one minute in one `sluiceway serve`, on a real search server that is written to.

All read one index, each into a DuckDB database of its own; one drive table in SQLite holds them all.
"""

from __future__ import annotations

import asyncio
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from service.memory import resident
from state.sqlite import SqliteDrive
from tests.lifecycle.daemons import Serving, all_closed, until
from tests.servers.client import Client
from tests.servers.mariadb import free_port
from tests.servers.search import SearchServer

MINUTE = timedelta(minutes=1)
AHEAD = timedelta(seconds=3)
"""By which a document's instant is later than its writing, so that a window is whole when it closes."""
EVERY_SECONDS = 1.0
ROWS = 3
"""Documents that are written at a time, every `EVERY_SECONDS`."""
PROPERTIES = {"at": {"type": "date"}, "n": {"type": "long"}}


class Scale(msgspec.Struct, frozen=True):
    """What came of it. `lag_p99`: upper edge of its bucket, seconds; `rss`: MiB after a third, and at the end."""

    pipelines: int
    windows: int
    rows: int
    lag_p99: float
    lag_p50: float
    rss: tuple[float, float]
    cpu_seconds: float
    most_series: int
    missed: int


@dataclass
class Writer:
    """Writes until it is told to stop; `written`: the instant of each document by its id."""

    server: SearchServer
    index: str
    written: dict[str, datetime]

    @contextmanager
    def writing(self) -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=self._write, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _write(self, over: threading.Event) -> None:
        client = Client(self.server.url)
        try:
            while not over.wait(EVERY_SECONDS):
                at = datetime.now(UTC).replace(microsecond=0) + AHEAD
                ids = [f"d{len(self.written) + n:06d}" for n in range(ROWS)]
                client.put(self.index, {one: {"at": at.isoformat(), "n": int(one[1:])} for one in ids})
                self.written |= dict.fromkeys(ids, at)
        finally:
            client.close()


def config(root: Path, name: str, source: dict[str, Any], start: datetime) -> dict[str, Any]:
    return {
        "config_version": 1,
        "pipeline_metadata": {"pipeline_name": name, "owner_email": "team@example.com"},
        "windows": {
            "start": start.isoformat(),
            "width": "1m",
            "schedule": "* * * * *",
            "safety_lag_seconds": 0,
        },
        "source_system": {"type": "elasticsearch", "cursor": "at", **source},
        "stage_system": {"directory": f"{root}/stage"},
        "target_system": {
            "type": "duckdb",
            "database": f"{root}/{name}.duckdb",
            "table": "events",
            "mode": "merge",
            "key": ["_id"],
            "version": "read_at",
        },
        "drive_table": {"type": "sqlite", "path": f"{root}/drive.sqlite"},
        "limits": {"spool_directory": f"{root}/spool"},
    }


def run_for(root: Path, server: SearchServer, pipelines: int, seconds: float) -> Scale:
    """Serve for so long while documents are written, let what is closed then be loaded, and judge it all."""
    writer = Writer(server, server.client.new_index(PROPERTIES, name="scale"), {})
    start = datetime.now(UTC).replace(second=0, microsecond=0)
    source = {"endpoint": server.url, "index": writer.index}
    names = [f"p{number:03d}" for number in range(pipelines)]
    port = free_port()
    health = {"host": "127.0.0.1", "port": port}
    serving = Serving(root / "daemon", [config(root, name, source, start) for name in names], health=health)
    asyncio.run(SqliteDrive.init(root / "drive.sqlite"))
    with all_closed(serving):
        began = time.monotonic()
        serving.start()
        with writer.writing():
            time.sleep(seconds / 3)
            early = rss(serving)
            time.sleep(max(seconds - (time.monotonic() - began), 0))
            first = min(writer.written.values())
            until(lambda: closed() > first, "a window with documents that is closed", 90)
        edge = closed()
        starts = [start + n * MINUTE for n in range(int((edge - start) / MINUTE))]
        windows = [f"[{show(at)}, {show(at + MINUTE)})" for at in starts]
        wanted = {(name, window) for name in names for window in windows}
        until(lambda: not wanted - finished(serving), "every window that is closed", 600, every=1.0)
        late, cpu, metrics = rss(serving), cpu_of(serving), scraped(port)
        serving.send(15)
        assert serving.ended(120) == 0
        assert serving.told("run_failed", "look_failed", "run_fenced") == []
        missed = sum(line.get("what") == "missed" for line in serving.told("tick_noted"))
    rows = sum(at < edge for at in writer.written.values())
    assert rows
    for name in names:
        require_whole(root / f"{name}.duckdb", writer.written, edge)
    series = Counter(one.labels.get("pipeline", "") for one in metrics if not one.name.endswith("_created"))
    most = max(series[name] for name in names)
    p50, p99 = lag(metrics, 0.5), lag(metrics, 0.99)
    return Scale(pipelines, len(wanted), rows, p99, p50, (early, late), cpu, most, missed)


def closed() -> datetime:
    """Where the newest window ends that may be read."""
    return datetime.now(UTC).replace(second=0, microsecond=0)


def show(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%MZ}"


def finished(serving: Serving) -> set[tuple[str, str]]:
    """Windows that are loaded, by pipeline."""
    return {(line["pipeline"], line["window"]) for line in serving.told("run_finished")}


def require_whole(database: Path, written: dict[str, datetime], edge: datetime) -> None:
    """What the source had before `edge`, each document once."""
    with duckdb.connect(str(database), read_only=True) as connection:
        asked = 'SELECT _id, "at", n FROM events WHERE "at" < ? ORDER BY _id'
        found = connection.execute(asked, [edge]).fetchall()
    assert found == [(name, at, int(name[1:])) for name, at in sorted(written.items()) if at < edge]


def scraped(port: int) -> list[Any]:
    """Samples of `/metrics`."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def lag(metrics: list[Any], share: float) -> float:
    """Upper edge of the bucket of the event loop's lag below which `share` of all beats are."""
    name = "sluiceway_event_loop_lag_seconds_bucket"
    buckets = sorted((float(one.labels["le"]), one.value) for one in metrics if one.name == name)
    return next(edge for edge, count in buckets if count >= share * buckets[-1][1])


def rss(serving: Serving) -> float:
    """MiB of memory that the process has now."""
    return resident(serving.pid) / 2**20


def cpu_of(serving: Serving) -> float:
    """Seconds of processor time that the process has taken."""
    fields = Path(f"/proc/{serving.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100
