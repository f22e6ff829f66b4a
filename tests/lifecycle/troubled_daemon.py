"""One `sluiceway serve` with every trouble that its metrics tell of, up to a drain that is held up and scraped.

Pipelines read a real search server, each through a proxy of its own, into DuckDB and one into Snowflake. What
happens to each of them is said in `Troubled.pipelines`. Ticks of the scheduler come every second and a half: in
the process that is served, APScheduler's clock runs faster. All other clocks are as they are.
"""

from __future__ import annotations

import asyncio
import json
import math
import signal
import sqlite3
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from service.config import parse_config
from state.model import Run
from state.sqlite import SqliteDrive
from tests.integration.notify_receivers import nobody_listens
from tests.lifecycle.daemons import Serving, all_closed, seconds, until
from tests.lifecycle.snowflake_world import PROPERTIES, Index, SnowflakeWorld, fault, snowflake_defaults
from tests.lifecycle.troubles import (
    FUNCTIONS,
    QUICK_TICKS,
    Gate,
    Meter,
    Receiver,
    clock,
    live_count,
    more,
    snapshot_count,
)
from tests.lifecycle.world import HOUR, START, defaults, events, merged
from tests.servers.mariadb import free_port
from tests.servers.prometheus import Prometheus, instance_of
from tests.servers.proxy import FaultProxy, Request, answer, page
from tests.servers.search import SearchServer
from tests.snowflake.running import Place

STOPPED_SECONDS = 3.5
"""How long the process stands still: longer than two ticks, and than the lease of `taken`."""
TOKEN, QUOTA = "a-token-of-the-test", 64 * 1024**2
SNOWED, HELD = "snowed", ("taken", "freed", "kept")
REFUSAL = {"error": {"type": "parsing_exception", "reason": "no"}}
REMOVING = {"enabled": True, "retention": "90m", "max_percent": 100.0, "dry_run": False}


Labels = tuple[tuple[str, str], ...]


@dataclass
class Seen:
    """What Prometheus has, and everything else that can be known of the same instant.

    `between`: the daemon started at the first, in Unix seconds, and was scraped before the second.
    """

    series: dict[tuple[str, Labels], float]
    lines: list[dict[str, Any]]
    held: dict[str, int]
    runs: dict[str, list[Run]]
    given: dict[str, int]
    asked: dict[str, list[Request]]
    statements: list[dict[str, Any]]
    notified: dict[tuple[str, str], int]
    in_spool: int
    between: tuple[float, float]
    fresh_end: datetime


class Troubled:
    """The world of one such process. `place`: where Snowflake is; `server`: what is read."""

    def __init__(self, root: Path, server: SearchServer, place: Place) -> None:
        self.root, self.server, self.place = root, server, place
        self.proxies: dict[str, FaultProxy] = {}
        self.meters: dict[str, Meter] = {}
        self.indices: dict[str, str] = {}
        self.gate = Gate()
        self.receiver = Receiver()
        self.admin = free_port()
        now = datetime.now(UTC).replace(second=0, microsecond=0)
        self.fresh_end, self.future = now - HOUR / 3, now + 24 * HOUR
        asyncio.run(SqliteDrive.init(root / "drive.sqlite"))

    def pipelines(self) -> dict[str, dict[str, Any]]:
        """Their settings beside the common ones."""
        held = {"phases": {"pre_validation": {"function": "user_functions:hold"}}}
        fresh = {"start": (self.fresh_end - HOUR).isoformat(), "end": self.fresh_end.isoformat()}
        return {
            # 180 rows of 50 keys in three windows; a server that is too busy, and one that miscounts; retention
            "steady": {
                "windows": {"end": (START + 3 * HOUR).isoformat(), "ordered": True},
                "phases": {"target_cleaning": REMOVING, "source_to_stage_transfer": {"rows_per_part": 40}},
            },
            # away for a whole attempt; where it should archive is a file
            "flaky": {"phases": {"stage_cleaning": {"archive": str(self.root / "drive.sqlite")}}},
            # its source is away at the first looks, and later one look takes long; it is never fresh
            "refused": {"windows": {"freshness_seconds": 600}},
            "broken": {},  # its query is refused
            # what should merge does nothing
            "mismatch": {"phases": {"stage_to_target_transfer": {"function": "user_functions:nothing"}}},
            "drifting": {},  # two rows turn up after it was read
            "appended": {"target_system": {"mode": "append"}},  # an operator loads it again
            "skipped": {"phases": {"pre_validation": {"function": "user_functions:skip"}}},  # paused and resumed
            "fresh": {"windows": fresh | {"freshness_seconds": 3_000}},  # behind until it is loaded
            "idle": {"windows": {"start": self.future.isoformat(), "end": None}},
            "taken": held | {"limits": {"lease_seconds": 2.0}},  # another worker takes its run
            "freed": held,  # gives its run back in the drain
            "kept": held,  # keeps the drain waiting
            SNOWED: {},  # a statement fails once
        }

    def config(self, name: str, own: dict[str, Any]) -> dict[str, Any]:
        world = SnowflakeWorld(self.root / name, {}, self.place.connection)
        base = snowflake_defaults(world) if name == SNOWED else defaults(self.root / name)
        common = {
            "pipeline_metadata": {"pipeline_name": name, "notifications": self.notifications},
            "windows": {"end": (START + HOUR).isoformat(), "schedule": "* * * * *"},
            "drive_table": {"type": "sqlite", "path": str(self.root / "drive.sqlite")},
            "phases": {"source_to_stage_transfer": {"parallel_parts": 1, "rows_per_part": 1000}},
            "limits": {"tries_per_phase": 2, "retry_base_seconds": 0.05, "retry_cap_seconds": 0.1},
        }
        source = {
            "type": "elasticsearch",
            "cursor": "at",
            "endpoint": self.proxies[name].url,
            "index": self.indices[name],
        }
        made = merged(merged(base, common), own)
        made["source_system"] = source
        return parse_config(made).model_dump(mode="json", exclude_unset=True)

    @property
    def notifications(self) -> dict[str, Any]:
        return {
            "slack_webhook": {"env": "SLACK"},
            "webhook": {"url": {"env": "HOOK"}},
            "email": ["a@example.com"],
            "smtp": {"host": "127.0.0.1", "port": nobody_listens(), "tls": "none", "sender": "b@example.com"},
            "on": ["failed", "quarantined", "audit_mismatch", "freshness_missed", "recovered"],
            "gather_seconds": 0,
        }

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Documents and proxies are there, and what each proxy does."""
        with ExitStack() as stack:
            stack.enter_context(self.receiver.listening())
            self._write()
            for name in self.pipelines():
                proxy = self.proxies[name] = stack.enter_context(FaultProxy(self.server.url))
                self._inject(name, proxy)
                self.meters[name] = Meter()
                proxy.on(page, self.meters[name].act, times=math.inf)
            stack.callback(self.gate.opened.set)  # before the proxies end
            yield

    def _inject(self, name: str, proxy: FaultProxy) -> None:
        match name:
            case "steady":
                proxy.on(page, answer(429), nth=2)
                proxy.on(snapshot_count, more(1), nth=4)
            case "flaky":
                proxy.on(page, answer(503), times=2)
            case "refused":
                proxy.on(clock, answer(503), times=5)
            case "broken":
                proxy.on(page, answer(400, REFUSAL), times=math.inf)
            case "drifting":
                proxy.on(live_count, more(2), times=math.inf)

    def _write(self) -> None:
        """One index for most of them."""
        client = self.server.client
        hour, own, fresh = (client.new_index(PROPERTIES, name="troubled") for _ in range(3))
        self.indices = dict.fromkeys(self.pipelines(), hour) | {"steady": own, "fresh": fresh}
        Index(self.server.url, hour).put(events(60))
        Index(self.server.url, fresh).put(events(60, self.fresh_end - HOUR))
        client.put(own, {f"d{n:03d}": steady(n) for n in range(180)})

    def serving(self, port: int) -> Serving:
        configs = [self.config(name, own) for name, own in self.pipelines().items()]
        (self.root / "user").mkdir()
        (self.root / "user" / "sitecustomize.py").write_text(QUICK_TICKS)
        (self.root / "user" / "user_functions.py").write_text(FUNCTIONS)
        made = Serving(
            self.root / "daemon",
            configs,
            health={"host": "127.0.0.1", "port": port},
            admin={"port": self.admin, "operate_tokens": [{"env": "TOKEN"}]},
            spool_quota_bytes=QUOTA,
            max_runs=16,
        )
        (self.root / "daemon" / "configs" / "bad.json").write_text("{")
        return made

    def run(self, prometheus: Prometheus) -> Seen:
        """Everything from start to stop; what was seen in the drain."""
        port = prometheus.port_to_serve()
        with self.prepared():
            serving = self.serving(port)
            copying = fault(self.place, "error", sql="^COPY", times=1, code="000630", message="a fault on demand")
            with all_closed(serving), copying:
                serving.start(
                    self.root / "user",
                    TOKEN=TOKEN,
                    SLACK=f"{self.receiver.url}/slack",
                    HOOK=f"{self.receiver.url}/hook",
                )
                self._until_quiet(serving)
                self._act(serving)
                self._stand_still(serving)
                self._until_quiet(serving)
                return self._drain(serving, prometheus, port)

    def _until_quiet(self, serving: Serving) -> None:
        """All that can be done is done, but for what is held."""

        def quiet() -> bool:
            runs = [run for all_ in self._runs().values() for run in all_]
            ended = [run for run in runs if not run.unfinished or run.quarantined_at or run.id.pipeline in HELD]
            began = {run["pipeline"] for run in serving.told("run_claimed")}
            return len(ended) == len(runs) and began >= set(self.pipelines()) - {"idle"}

        until(quiet, "everything that can be done")

    def _act(self, serving: Serving) -> None:
        """An operator pauses, resumes, and loads a window again; a look takes longer than to the next tick."""
        self._post("/v1/pipelines/skipped/pause")
        self._post("/v1/pipelines/skipped/resume")
        span = {"from": START.isoformat(), "to": (START + HOUR).isoformat(), "dry_run": False}
        self._post("/v1/pipelines/appended/backfills", span)
        self.proxies["refused"].on(clock, self.gate.act)
        until(lambda: noted(serving, "overlapping"), "a tick while a look is under way")
        self.gate.opened.set()
        until(lambda: len(ended(serving, "appended")) == 2, "the backfill")

    def _post(self, path: str, body: Any = None) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", "Idempotency-Key": "k"}
        url = f"http://127.0.0.1:{self.admin}{path}"
        asked = urllib.request.Request(url, json.dumps(body or {}).encode(), headers, method="POST")
        with urllib.request.urlopen(asked, timeout=30) as got:
            assert got.status == 200

    def _stand_still(self, serving: Serving) -> None:
        """The process is stopped for longer than a lease: another worker takes a run of it."""
        self._stop_between_writes(serving)
        began = time.monotonic()
        until(self._take, "the end of a lease", every=0.2)
        time.sleep(max(STOPPED_SECONDS - (time.monotonic() - began), 0))
        serving.send(signal.SIGCONT)
        until(lambda: noted(serving, "missed"), "the ticks that were missed")
        (serving.folder / "go-taken").touch()
        until(lambda: serving.told("run_fenced"), "the fence")

    def _stop_between_writes(self, serving: Serving) -> None:
        """Stopped inside a write, the process would keep SQLite's only lock, and nobody could take anything."""

        def stopped() -> bool:
            serving.send(signal.SIGSTOP)
            if is_free(self.root / "drive.sqlite"):
                return True
            serving.send(signal.SIGCONT)
            return False

        until(stopped, "a moment between two writes")

    def _take(self) -> Any:
        async def claim() -> Any:
            drive = await SqliteDrive.open(self.root / "drive.sqlite")
            try:
                return await drive.claim("taken", "another", timedelta(hours=1))
            finally:
                await drive.aclose()

        return asyncio.run(claim())

    def _runs(self) -> dict[str, list[Run]]:
        async def look() -> list[Run]:
            drive = await SqliteDrive.open(self.root / "drive.sqlite")
            try:
                return await drive.runs()
            finally:
                await drive.aclose()

        found: dict[str, list[Run]] = {name: [] for name in self.pipelines()}
        for run in asyncio.run(look()):
            found[run.id.pipeline].append(run)
        return found

    def _drain(self, serving: Serving, prometheus: Prometheus, port: int) -> Seen:
        """Told to stop, one run is given back and another keeps the process: then it is scraped."""
        until(lambda: self._is_told(prometheus, port), "the last look to be scraped")
        serving.send(signal.SIGTERM)
        until(lambda: serving.told("drain_began"), "the drain")
        (serving.folder / "go-freed").touch()
        until(lambda: serving.told("run_released"), "what is given back")
        held = serving.holds()
        in_spool = sum(one.stat().st_size for one in self.root.glob("*/spool/**/*") if one.is_file())
        until(lambda: self._is_answered(prometheus, port), "the last look")
        prometheus.caught_up(port)
        found = series(prometheus, port)
        [started] = serving.told("daemon_started")
        seen, runs, statements = datetime.now(UTC).timestamp(), self._runs(), self._statements()
        at = self.receiver.at
        (serving.folder / "go-kept").touch()
        until(lambda: serving.told("daemon_stopped"), "the end")  # but for mails, which are still tried
        return Seen(
            found,
            serving.told(),
            {name: sum(self._pipeline(run) == name for run in held) for name in self.pipelines()},
            runs,
            {name: meter.rows for name, meter in self.meters.items()},
            {name: list(proxy.requests) for name, proxy in self.proxies.items()},
            statements,
            {("slack", "failed"): at("/slack"), ("webhook", "sent"): at("/hook")},
            in_spool,
            (seconds(started), seen),
            self.fresh_end,
        )

    def _is_told(self, prometheus: Prometheus, port: int) -> bool:
        """Whether the last look of every pipeline came after the last change of its runs, and was scraped."""
        found = series(prometheus, port)
        return all(
            found.get(("sluiceway_unfinished_windows", (("pipeline", name),)))
            == sum(run.unfinished for run in runs)
            and found["sluiceway_quarantined_windows", (("pipeline", name),)]
            == sum(run.quarantined_at is not None for run in runs)
            for name, runs in self._runs().items()
        )

    def _is_answered(self, prometheus: Prometheus, port: int) -> bool:
        """Whether no look is under way: every question for the time has its answer, and that was scraped."""
        asked = sum(len(proxy.seen(clock)) for proxy in self.proxies.values())
        found = series(prometheus, port).items()
        clocks = "sluiceway_effects_total", ("kind", "source.clock")
        return asked == sum(by for (name, of), by in found if name == clocks[0] and clocks[1] in of)

    def _pipeline(self, run: str) -> str:
        return run.rpartition("_2025")[0] or run.rpartition("_2026")[0]

    def _statements(self) -> list[dict[str, Any]]:
        user, told = f"U_{self.place.database}", self.place.server.get("/test/statements")
        return [one for one in told if one["user"] == user]


def steady(number: int) -> dict[str, Any]:
    """A document a minute, of 50 keys: the second hour has older versions than the first, the third has newer."""
    version = (3, 2, 4)[number // 60]
    at = (START + number * timedelta(minutes=1)).isoformat()
    return {"id": f"k{number % 50}", "at": at, "version": version, "value": float(number)}


def noted(serving: Serving, what: str) -> bool:
    return any(one["what"] == what for one in serving.told("tick_noted"))


def ended(serving: Serving, pipeline: str) -> list[dict[str, Any]]:
    return [one for one in serving.told("run_finished") if one["pipeline"] == pipeline]


def series(prometheus: Prometheus, port: int) -> dict[tuple[str, Labels], float]:
    """Every series of ours that Prometheus has of a target now, without the labels that it adds."""
    found = prometheus.query(f'{{__name__=~"sluiceway_.*",instance="{instance_of(port)}"}}')
    own = [{k: v for k, v in one.labels.items() if k not in ("__name__", "instance", "job")} for one in found]
    return {
        (one.labels["__name__"], tuple(sorted(labels.items()))): one.value
        for one, labels in zip(found, own, strict=True)
    }


def is_free(path: Path) -> bool:
    """True if nobody holds the write lock of the SQLite file."""
    with closing(sqlite3.connect(path, timeout=0.5, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True
