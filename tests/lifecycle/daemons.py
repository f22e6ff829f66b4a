"""Real `sluiceway serve` processes: started on a folder, watched by their log, killed at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from service.config import parse_config
from tests.servers.guard import started

ROOT = Path(__file__).parents[2]
ENDS = ("run_finished", "run_failed", "run_released", "run_fenced", "run_left")


class Serving:
    """A process that serves `folder/configs`; `folder/log` is what it says, a JSON line for each event."""

    def __init__(self, folder: Path, configs: Sequence[dict[str, Any]], **settings: Any) -> None:
        """`settings`: of `daemon.yaml`."""
        self.folder = folder
        (folder / "configs").mkdir(parents=True, exist_ok=True)
        for config in configs:
            data = parse_config(config).model_dump(mode="json", exclude_unset=True)
            name = data["pipeline_metadata"]["pipeline_name"]
            (folder / "configs" / f"{name}.json").write_text(json.dumps(data))
        quiet = {"health": {"host": "127.0.0.1", "port": 0}, "admin": {"enabled": False}}
        (folder / "configs" / "daemon.yaml").write_text(json.dumps(quiet | settings))
        self.process: subprocess.Popen[bytes] | None = None
        self.form = "json"
        """Of the log; all that is told here is read from JSON."""

    def start(self, *path: Path, **variables: str) -> Serving:
        """`path`: where a user's functions are found; `variables`: more of the environment."""
        places = os.pathsep.join(map(str, (ROOT, *path)))
        with (self.folder / "log").open("ab") as log:
            self.process = started(
                [sys.executable, "-m", "service", "serve", self.folder / "configs", "--log", self.form],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": places} | variables,
            )
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def send(self, number: signal.Signals) -> float:
        """The machine's clock when it was sent."""
        os.kill(self.pid, number)
        return time.time()

    def ended(self, seconds: float = 60) -> int:
        """Its exit code, as soon as it has one."""
        assert self.process is not None
        return self.process.wait(seconds)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def told(self, *events: str) -> list[dict[str, Any]]:
        """What it said so far, of these events or of all."""
        file = self.folder / "log"
        lines = file.read_text().split("\n")[:-1] if file.exists() else []  # the last one may be half
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [one for one in found if not events or one["event"] in events]

    def holds(self) -> set[str]:
        """Names of the runs that it has begun and not ended. A log says once what fails many of one pipeline."""
        held: set[str] = set()
        for one in self.told("run_claimed", *ENDS):
            held.add(one["run"]) if one["event"] == "run_claimed" else held.discard(one["run"])
        return held

    def is_busy(self, since: float = 0.0) -> bool:
        """Whether it has finished a run since then, and holds one."""
        finished = self.told("run_finished")
        return bool(self.holds()) and any(seconds(one) > since for one in finished)


def seconds(line: dict[str, Any]) -> float:
    """The machine's clock when a line was written."""
    return datetime.fromisoformat(line["time"]).timestamp()


@contextmanager
def all_closed(*processes: Serving) -> Iterator[None]:
    """None of them outlives the block."""
    try:
        yield
    finally:
        for one in processes:
            one.close()


def until(true: Callable[[], Any], what: str, limit: float = 120, every: float = 0.02) -> Any:
    """What `true()` gives as soon as it is true."""
    deadline = time.monotonic() + limit
    while not (found := true()):
        assert time.monotonic() < deadline, f"waited too long for: {what}"
        time.sleep(every)
    return found
