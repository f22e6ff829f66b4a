"""A MySQL table to a merged table in Snowflake: beside an expert's script and dlt, in one run.

    python -m bench.mysql_load [rounds]

Each way first loads all flights, then a window of a twelfth of them, of which half are updates, into a fresh
database of the Snowflake test server. `expert` and `dlt` are in bench/mysql_peers.py. `sluiceway` is `sluiceway
run` for either; `daemon` is a daemon that has loaded the flights and looks when the window is due: from the tick
to COMPLETED. For commands the time is that of the process, from its start to its end, with no more packages about
than it needs. The server is the tests' own: its time, which all ways have in them, is not Snowflake's.
"""

from __future__ import annotations

from service.memory import give_back

give_back()  # first, as in service.__main__

import asyncio  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Mapping, Sequence  # noqa: E402
from datetime import datetime  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from msgspec.structs import astuple  # noqa: E402

from bench.measuring import Measured, markdown, watched, with_lag  # noqa: E402
from bench.mysql_flights import CHANGED, FIRST, LATER, OURS, PEERS, ROWS, SECOND, flying, peer  # noqa: E402
from service.daemon.daemon import Daemon  # noqa: E402
from service.daemon.settings import DaemonSettings  # noqa: E402
from service.events import Event, LookFailed, RunFailed, RunFinished  # noqa: E402
from service.memory import peak_resident  # noqa: E402
from state.model import Window  # noqa: E402
from state.sqlite import SqliteDrive  # noqa: E402
from tests.servers.mariadb import MariaServer  # noqa: E402
from tests.snowflake.running import Place, SnowflakeServer  # noqa: E402

PASSWORD = "SLUICEWAY_TEST_PASSWORD"
WAYS = ("expert", "dlt", "sluiceway", "daemon")
SPANS = {"all": FIRST, "window": SECOND}
ROWS_PER_PART = 2_000_000
"""One part: where a part is more than a sixth of a table, MariaDB passes over the whole table for each."""
TOTAL = ROWS + LATER - CHANGED


def config(folder: Path, source: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """Two windows of a year; what has a default has it, but for the size of a part."""
    schema = f"{place.database}.{place.schema}"
    login = {name: place.connection[name] for name in ("account", "user", "role", "warehouse", "host", "port")}
    secret = {"password": {"env": PASSWORD}, "allow_password": True}
    return {
        "config_version": 1,
        "pipeline_metadata": {"pipeline_name": "flights", "owner_email": "team@example.com"},
        "windows": {
            "start": FIRST.start.isoformat(),
            "end": SECOND.end.isoformat(),
            "width": "365d",
            "schedule": "0 0 1 1 *",
        },
        "source_system": {"type": "mysql", "table": "flights", "cursor": "updated_at", **source},
        "stage_system": {"stage": f"{schema}.SLUICEWAY"},
        "target_system": {
            "type": "snowflake",
            "table": f"{schema}.FLIGHTS",
            "key": ["id"],
            "version": "updated_at",
        },
        "phases": {"source_to_stage_transfer": {"rows_per_part": ROWS_PER_PART}},
        "drive_table": {"type": "sqlite", "path": f"{folder}/drive.sqlite"},
        "limits": {"spool_directory": f"{folder}/spool"},
        "snowflake_connection": {**login, "protocol": "http", **secret},
    }


class World:
    """One MariaDB and one Snowflake server for all rounds."""

    def __init__(self, maria: MariaServer, source: Mapping[str, Any], snowflake: SnowflakeServer) -> None:
        self.maria, self.source, self.snowflake = maria, source, snowflake
        self.database = str(source["database"])

    def turn_to(self, which: str) -> None:
        """Be in the first year, or in the second, with the rows that were updated meanwhile."""
        at = SPANS[which].end
        self.maria.sql(f"SET GLOBAL init_connect = 'SET timestamp = {at.timestamp() + 3600}'")
        is_second = bool(self.maria.sql("SHOW TABLES LIKE 'flights_earlier'", database=self.database))
        if which == "window" and not is_second:
            names = "flights TO flights_earlier, flights_later TO flights"
        elif which == "all" and is_second:
            names = "flights TO flights_later, flights_earlier TO flights"
        else:
            return
        self.maria.sql(f"RENAME TABLE {names}", database=self.database)

    def round(self, way: str) -> dict[str, Measured]:
        """One way into a database of its own, both times."""
        place = self.snowflake.place()
        with tempfile.TemporaryDirectory() as made:
            root = Path(made)
            found = self._daemon(root, place) if way == "daemon" else self._commands(way, root, place)
        held = rows(place, "DLT" if way == "dlt" else place.schema)
        assert held == TOTAL, f"{way} left {held} rows of {TOTAL}"
        sql(place, f"DROP DATABASE {place.database}")
        return found

    def _commands(self, way: str, root: Path, place: Place) -> dict[str, Measured]:
        found = {}
        if way == "sluiceway":
            prepared(root, self.source, place)
        for which, span in SPANS.items():
            self.turn_to(which)
            folder = root / which
            folder.mkdir()
            command = self._command(way, root, span, folder, place)
            found[which] = watched(command, ROWS if which == "all" else LATER)
        return found

    def _command(self, way: str, root: Path, span: Window, folder: Path, place: Place) -> Sequence[object]:
        if way == "sluiceway":
            program = Path(sys.executable).with_name("sluiceway")
            return [
                program,
                "run",
                "--window",
                f"{span.start:%F}T00:00Z/{span.end:%F}T00:00Z",
                "-c",
                root / "p.json",
            ]
        more = (folder, place.server.port, place.database)
        return peer({"dlt": "dlt_merge"}.get(way, way), self.source, "flights", span, *more)

    def _daemon(self, root: Path, place: Place) -> dict[str, Measured]:
        """The process says that it has the flights, is told to look, and tells of the window."""
        self.turn_to("all")
        (root / "configs").mkdir()
        prepared(root, self.source, place, root / "configs" / "p.json")
        command = [sys.executable, "-m", "bench.mysql_load", "--daemon", root / "configs"]
        with subprocess.Popen(
            [*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            assert process.stdout.readline() == "loaded\n"
            self.turn_to("window")
            told, _ = process.communicate("look\n")
        return {"window": Measured(*json.loads(told.splitlines()[-1]))}


def prepared(root: Path, source: Mapping[str, Any], place: Place, file: Path | None = None) -> None:
    """A configuration and its drive table."""
    asyncio.run(SqliteDrive.init(root / "drive.sqlite"))
    (file or root / "p.json").write_text(json.dumps(config(root, source, place)))


def sql(place: Place, text: str) -> list[tuple[Any, ...]]:
    """By an operator."""

    async def asked() -> list[tuple[Any, ...]]:
        async with place.connect() as connection:
            return await place.rows(connection, text)

    return asyncio.run(asked())


def rows(place: Place, schema: str) -> int:
    return int(sql(place, f"SELECT COUNT(*) FROM {place.database}.{schema}.FLIGHTS")[0][0])


async def daemon(folder: Path) -> Measured:
    """Body of the daemon's process: load what is due, wait for a word, look, and tell of the window's load."""
    heard: asyncio.Queue[Event] = asyncio.Queue()
    serving = Daemon(folder, DaemonSettings(), heard.put_nowait)
    task = asyncio.create_task(serving.serve())
    await until(heard, RunFinished)
    print("loaded", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    attendant = serving.pipelines["flights"].attendant
    assert attendant is not None
    began, cpu = time.perf_counter(), time.process_time()
    attendant.tick()
    finished, lag = await with_lag(until(heard, RunFinished))
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    serving.stop.set()
    await task
    return Measured(finished.run.manifest.rows, wall, cpu, peak_resident(os.getpid()) / 2**20, lag)


async def until(heard: asyncio.Queue[Event], kind: type[Event]) -> Any:
    """The next event of a kind; an error is one too many."""
    while True:
        event = await heard.get()
        assert not isinstance(event, LookFailed | RunFailed), event
        if isinstance(event, kind):
            return event


def main() -> None:
    """Start both servers, then let the ways take turns."""
    [rounds] = (int(text) for text in sys.argv[1:] or ["7"])
    os.environ.setdefault(PASSWORD, "secret")
    PEERS.python()
    OURS.python()
    snowflake = SnowflakeServer().start()
    try:
        with flying(second=True) as (maria, source):
            world = World(maria, source, snowflake)
            for way in WAYS:
                world.round(way)  # warms the servers
            found: dict[str, dict[str, list[Measured]]] = {"all": {}, "window": {}}
            for _ in range(rounds):
                for way in WAYS:
                    for which, measured in world.round(way).items():
                        found[which].setdefault(way, []).append(measured)
    finally:
        snowflake.stop()
    for which, count in (("all", ROWS), ("window", LATER)):
        print(f"\n{count:,} rows to a merged target, {rounds} rounds at {datetime.now():%F %H:%M}\n")
        markdown(found[which], ("expert",))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--daemon"]:
        print(json.dumps(astuple(asyncio.run(daemon(Path(sys.argv[2]))))))
    else:
        main()
