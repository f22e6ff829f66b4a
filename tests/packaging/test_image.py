"""The image, built from the Dockerfile; its entrypoint run as in the restricted profile (K-2, K-4, K-12)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.daemon.settings import Health
from tests.lifecycle.world import HOUR, START, World, defaults, events, merged
from tests.packaging.lock import LOCK, read
from tests.servers.image import ROOT, Container, Image, Volume, built
from tests.servers.judges import HADOLINT
from tests.servers.s3 import free_ports

PYTHON = "/opt/sluiceway/bin/python"
HOME, CONFIG = "/var/lib/sluiceway", "/etc/sluiceway"
SLUICEWAY = ("tini", "--", "sluiceway")
WINDOWS = 12
LONGEST = 120.0
"""Seconds that anything here may take."""
INSTALLED = (
    "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
)
TABLE = f"""
import duckdb
rows = duckdb.connect("{HOME}/warehouse.duckdb", read_only=True).execute
print(*rows("SELECT count(*), count(DISTINCT id), sum(value) FROM events").fetchone())
print(*rows("SELECT count(*), count(DISTINCT run_name) FROM SLUICEWAY_LOADS WHERE kind = 'receipt'").fetchone())
"""


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with built() as image:
        yield image


@dataclass(frozen=True)
class Site:
    """What a pod mounts: the configuration, as a ConfigMap is mounted, and the volume of the state."""

    config: Path
    state: Path
    log: Path
    port: int

    @property
    def volumes(self) -> list[Volume]:
        return [Volume(self.config, CONFIG), Volume(self.state, HOME, writable=True)]

    def ask(self, path: str) -> tuple[int, str]:
        """Status and body; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, series: str) -> float:
        found = re.search(rf"^{re.escape(series)} (\S+)$", self.ask("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else 0.0

    @property
    def completed(self) -> float:
        return self.metric('sluiceway_windows_total{pipeline="events",result="completed"}')

    def logged(self, event: str) -> list[dict]:
        """The lines of the log about an event, of all containers."""
        lines = map(json.loads, self.log.read_text().splitlines())
        return [line for line in lines if line["event"] == event]


@pytest.fixture
def site(tmp_path) -> Site:
    """Files to DuckDB, a window for each hour."""
    site = Site(tmp_path / "config", tmp_path / "state", tmp_path / "log", free_ports(1)[0])
    end = START + WINDOWS * HOUR
    world = World(site.state, {})
    for hour in range(WINDOWS + 1):
        world.write(f"{hour:03d}", events(60, START + hour * HOUR))
    pipeline = merged(defaults(Path(HOME)), {"windows": {"end": end.isoformat()}})
    daemon = {"health": {"host": "127.0.0.1", "port": site.port}, "admin": {"enabled": False}, "drain_seconds": 60}
    as_mounted(site.config, {"events.json": json.dumps(pipeline), "daemon.yaml": json.dumps(daemon)})
    for place in (site.state, *site.state.rglob("*")):
        os.chown(place, 10001, 10001)
    return site


def as_mounted(folder: Path, files: dict[str, str]) -> None:
    """As the kubelet lays out a ConfigMap: the names lead to a folder that is exchanged as a whole."""
    version = folder / "..2026_01_01"
    version.mkdir(parents=True)
    (folder / "..data").symlink_to(version.name)
    for name, text in files.items():
        (version / name).write_text(text)
        (folder / name).symlink_to(f"..data/{name}")


def until(true: Callable[[], bool], container: Container) -> None:
    """Wait for it, as long as the container runs."""
    began = time.monotonic()
    while not true():
        assert container.process.poll() is None
        assert time.monotonic() - began < LONGEST
        time.sleep(0.05)


@pytest.fixture
def serve(image, site) -> Iterator[Callable[[], Container]]:
    """Starts the image's own command on the site; what still runs at the end is ended."""
    running = []

    def start() -> Container:
        with site.log.open("a") as log:
            running.append(image.start(image.command, site.volumes, stdout=log, stderr=log))
        return running[-1]

    done = image.run(*SLUICEWAY, "drive", "init", "--config", f"{CONFIG}/events.json", volumes=site.volumes)
    assert done.returncode == 0, done.stderr
    yield start
    for container in running:
        container.kill()


def test_the_dockerfile_has_no_fault_that_hadolint_knows():
    done = subprocess.run(
        [HADOLINT.python().parent / "hadolint", "--failure-threshold", "style", ROOT / "Dockerfile"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")


def test_nothing_in_the_image_is_started_by_a_shell_or_as_root(image):
    assert image.command == [*SLUICEWAY, "serve", CONFIG]
    assert image.user > 0
    kind, *words = image.config["Healthcheck"]["Test"]
    assert (kind, words[0]) == ("CMD", PYTHON)
    assert f"{Health().port}" in words[-1]
    assert image.config["WorkingDir"] == HOME


def test_the_image_holds_the_lock_and_sluiceway_and_no_more(image):
    done = image.run(PYTHON, "-c", INSTALLED)
    assert done.returncode == 0, done.stderr
    held = json.loads(done.stdout)
    assert held.pop("sluiceway")
    python = image.run(PYTHON, "-c", "import platform; print(platform.python_version())").stdout.strip()
    wanted = {name: one.version for name, one in read(LOCK, python).items()}
    assert {name.lower().replace("_", "-").replace(".", "-"): version for name, version in held.items()} == wanted


def test_no_compiler_and_no_tool_of_the_build_is_in_the_image(image):
    programs = [
        file.name
        for folder in ("usr/bin", "usr/local/bin", "opt/sluiceway/bin")
        for file in (image.root / folder).glob("*")
    ]
    assert "tini" in programs
    assert {"cc", "gcc", "g++", "clang", "ld", "make", "hatchling"} & set(programs) == set()
    assert not (image.root / "opt/tools").exists()
    assert not (image.root / "opt/sluiceway/bin/pip").exists()
    assert not (image.root / "build").exists()


def test_it_runs_without_privileges_and_writes_nowhere_but_on_its_volumes(image, site):
    tried = """
for place in /etc/sluiceway /opt/sluiceway /usr /var/spool/sluiceway /; do
  touch "$place/x" 2>/dev/null && echo "$place"
done
touch /tmp/x /var/lib/sluiceway/x && echo written
id -u; grep CapBnd /proc/self/status; grep NoNewPrivs /proc/self/status
"""
    done = image.run("sh", "-c", tried, volumes=site.volumes)
    assert done.stdout.split() == ["written", "10001", "CapBnd:", "0" * 16, "NoNewPrivs:", "1"]


def test_a_module_that_lies_in_the_working_directory_is_not_imported(image, site):
    (site.state / "state.py").write_text("raise SystemExit('a stranger was imported')\n")
    done = image.run(PYTHON, "-m", "service", "--version", volumes=site.volumes)
    assert done.stdout.startswith("sluiceway"), done.stderr
    done = image.run("env", "-u", "PYTHONSAFEPATH", PYTHON, "-m", "service", "--version", volumes=site.volumes)
    assert "a stranger was imported" in done.stderr


def test_its_probes_and_metrics_answer_and_the_health_check_tells_a_dead_one(image, site, serve):
    check = [word.replace(str(Health().port), str(site.port)) for word in image.config["Healthcheck"]["Test"][1:]]
    container = serve()
    until(lambda: site.ask("/readyz") == (200, "ok\n"), container)
    assert site.ask("/healthz") == (200, "ok\n")
    assert "sluiceway_build_info" in site.ask("/metrics")[1]
    assert image.run(*check).returncode == 0
    container.stop()
    assert container.process.wait(LONGEST) == 0
    assert image.run(*check).returncode == 1


def test_sigterm_under_load_drains_and_ends_with_0_and_the_next_one_loads_the_rest_once(image, site, serve):
    """K-2, G-6: what one has left, the next goes on with."""
    first = serve()
    until(lambda: site.completed >= 2, first)
    first.stop()
    assert first.process.wait(LONGEST) == 0, site.log.read_text()
    assert len(site.logged("drain_began")) == len(site.logged("daemon_stopped")) == 1
    early = len(site.logged("run_finished"))
    assert 2 <= early < WINDOWS
    second = serve()
    until(lambda: early + site.completed == WINDOWS, second)
    second.stop()
    assert second.process.wait(LONGEST) == 0, site.log.read_text()
    rows = WINDOWS * 60
    done = image.run(PYTHON, "-c", TABLE, volumes=site.volumes)
    assert done.stdout.splitlines() == [f"{rows} {rows} {rows * 14.75}", f"{WINDOWS} {WINDOWS}"], done.stderr
