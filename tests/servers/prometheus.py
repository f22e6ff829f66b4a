"""A real Prometheus for tests, as Debian ships it, and promtool, which judges names and alert rules.

One server scrapes a few ports of 127.0.0.1 from its start, because it takes new ones only every five seconds; a
test takes one (`port_to_serve`) and serves there. Tests tell their series apart by `instance`.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tests.servers.guard import started
from tests.servers.mariadb import program
from tests.servers.s3 import free_ports

START_SECONDS = 60
STOP_SECONDS = 30
ANSWER_SECONDS = 60
PORTS = 16
"""Ports that it scrapes: as many as tests of a session may take."""
CONFIG = """
global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}
scrape_configs:
  - {{job_name: test, static_configs: [{{targets: {targets}}}]}}
"""


@dataclass(frozen=True)
class Sample:
    """One series of an answer: its labels, the name as `__name__`, and its value at `at`, in Unix seconds."""

    labels: dict[str, str]
    value: float
    at: float


class Prometheus:
    """A server on 127.0.0.1; `start` it once."""

    def __init__(self) -> None:
        self._work = Path(tempfile.mkdtemp(prefix="prometheus-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port, *self._ports = free_ports(1 + PORTS)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Prometheus:
        """Start it and wait until it is ready; raises RuntimeError with the end of its log if it is not."""
        targets = json.dumps([instance_of(port) for port in self._ports])
        (self._work / "config.yml").write_text(CONFIG.format(work=self._work, targets=targets))
        with (self._work / "log").open("ab") as log:
            self._process = started(self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        began = time.monotonic()
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() - began > START_SECONDS:
                end = (self._work / "log").read_text(errors="replace")[-3000:]
                self.stop()
                raise RuntimeError(f"Prometheus did not start:\n{end}")
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        """End it; what it has stored is of no use to anybody."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(STOP_SECONDS)

    def remove(self) -> None:
        """Stop it and remove its data."""
        self.stop()
        shutil.rmtree(self._work, ignore_errors=True)

    def port_to_serve(self) -> int:
        """A port that is scraped at `/metrics`; nobody else is given it."""
        return self._ports.pop()

    def caught_up(self, port: int) -> None:
        """Return when a scrape of `port` that began after this call is stored."""
        now, began, up = time.time(), time.monotonic(), f'up{{instance="{instance_of(port)}"}}'
        while not any(sample.value > now for sample in self.query(f"timestamp({up}) and {up} == 1")):
            if time.monotonic() - began > ANSWER_SECONDS:
                raise RuntimeError(f"{port} was not scraped: {self.why(port)}")
            time.sleep(0.05)

    def why(self, port: int) -> str:
        """What the last scrape of `port` came to."""
        targets = self._ask("/api/v1/targets", state="active")["activeTargets"]
        mine = (one for one in targets if one["labels"]["instance"] == instance_of(port))
        return "; ".join(one["lastError"] or one["health"] for one in mine)

    def query(self, promql: str) -> list[Sample]:
        """An instant query: the series of its answer."""
        found = self._ask("/api/v1/query", query=promql)["result"]
        return [Sample(one["metric"], float(one["value"][1]), float(one["value"][0])) for one in found]

    def value(self, promql: str) -> float:
        """The value of a query that has one answer."""
        [sample] = self.query(promql)
        return sample.value

    def _ask(self, path: str, **parameters: str) -> dict:
        url = f"{self.url}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
            said = json.load(answer)
        assert said["status"] == "success", said
        return said["data"]

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def _command(self) -> list[str]:
        return [
            str(program("prometheus")),
            f"--config.file={self._work / 'config.yml'}",
            f"--storage.tsdb.path={self._work / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]


def instance_of(port: int) -> str:
    """The label `instance` of what is scraped there."""
    return f"127.0.0.1:{port}"


def lint(metrics: str) -> str:
    """What `promtool check metrics` has against a scrape's text; empty if nothing."""
    done = subprocess.run(
        [str(program("promtool")), "check", "metrics"], input=metrics, capture_output=True, text=True, check=False
    )
    return f"{done.stdout}{done.stderr}" if done.returncode or done.stdout or done.stderr else ""
