"""Real single-node Elasticsearch and OpenSearch servers for tests, each a process of its own.

Both publish their whole server, without a JDK and with few modules, as an ordinary Maven artifact. It is fetched
and unpacked once per version into `${XDG_CACHE_HOME:-~/.cache}/sluiceway/servers`.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.client import Client, no_answer
from tests.servers.guard import started
from tests.servers.java import java_home

PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
START_SECONDS = 240
STOP_SECONDS = 30
HEAP = "512m"


@dataclass(frozen=True)
class Release:
    """One version of one product; `java`: the major versions of JDKs that run it."""

    product: str
    version: str
    java: range

    def __str__(self) -> str:
        return f"{self.product}-{self.version}"

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    @property
    def is_opensearch(self) -> bool:
        return self.product == "opensearch"

    @property
    def artifact(self) -> str:
        """Maven coordinate of the zip."""
        group = {"elasticsearch": "org.elasticsearch", "opensearch": "org.opensearch"}[self.product]
        return f"{group}.distribution.integ-test-zip:{self.product}:{self.version}:zip"


JAVA_17, JAVA_21 = range(17, 100), range(21, 100)
WITH_SECURITY_MANAGER = range(17, 24)
"""JDK 24 has none any more, and the older servers do not start without one."""

ES8 = Release("elasticsearch", "8.19.4", JAVA_17)
ES7 = Release("elasticsearch", "7.17.28", WITH_SECURITY_MANAGER)
OS2 = Release("opensearch", "2.19.1", WITH_SECURITY_MANAGER)
ES9 = Release("elasticsearch", "9.1.0", JAVA_21)
OS3 = Release("opensearch", "3.3.0", JAVA_21)

ALWAYS = (ES8, ES7, OS2)
"""What every `make test` runs."""
MATRIX = (ES9, OS3)
"""What `make test-matrix` adds where a JDK fits."""


def cache() -> Path:
    """Where unpacked servers and Maven's own files are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sluiceway" / "servers"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Only one process at a time fetches; the others wait and find its work done."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def install(release: Release) -> Path:
    """The unpacked server, fetched if it is not there yet. Raises CalledProcessError with Maven's words."""
    home = cache() / str(release)
    if home.is_dir():
        return home
    with _alone(cache()):
        if not home.is_dir():
            with tempfile.TemporaryDirectory(dir=cache()) as folder:
                _unpack(_fetch(release, Path(folder)), Path(folder) / "unpacked")
                (Path(folder) / "unpacked" / str(release)).rename(home)
    return home


def _fetch(release: Release, folder: Path) -> Path:
    command = ["mvn", "-B", "-q", f"-Dmaven.repo.local={cache() / 'maven'}", PLUGIN]
    command += [f"-Dartifact={release.artifact}", f"-DoutputDirectory={folder}", "-Dmdep.useBaseVersion=true"]
    subprocess.run(command, check=True, cwd=folder, stdin=subprocess.DEVNULL)
    [archive] = folder.glob("*.zip")
    return archive


def _unpack(archive: Path, into: Path) -> None:
    """As `unzip` does; Python's own way drops the permissions that make scripts run."""
    with zipfile.ZipFile(archive) as file:
        file.extractall(into)
        for entry in file.infolist():
            if mode := entry.external_attr >> 16 & 0o777:
                (into / entry.filename).chmod(mode)


class SearchServer:
    """A running server on 127.0.0.1, on a port that it chose itself; `start_seconds` is how long it took."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.start_seconds = 0.0
        self._work: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        assert self._client is not None, f"{self.release} is not started"
        return self._client

    @property
    def url(self) -> str:
        return self.client.url

    def start(self) -> SearchServer:
        """Start it and wait until it answers; raises RuntimeError with the end of its log if it does not."""
        began = time.monotonic()
        java = java_home(self.release.java)
        if java is None:
            raise RuntimeError(
                f"{self.release} needs a JDK from {self.release.java[0]} to {self.release.java[-1]}"
            )
        home = install(self.release)
        self._work = Path(tempfile.mkdtemp(prefix=f"{self.release}-"))
        try:
            self._launch(home, java)
            self._client = Client(f"http://{self._address(began)}")
            self._wait(began)
        except BaseException:
            self.stop()
            raise
        self.start_seconds = time.monotonic() - began
        return self

    def stop(self) -> None:
        """End it, its children with it, and remove what it wrote. Harmless when repeated."""
        if self._client is not None:
            self._client.close()
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        if self._work is not None:
            shutil.rmtree(self._work, ignore_errors=True)  # a child may still be writing its last log line

    def _launch(self, home: Path, java: Path) -> None:
        assert self._work is not None
        work = self._work
        shutil.copytree(home, work / "server", copy_function=_link)  # root's home is closed to other users
        _configure(self.release, work)
        with (work / "output").open("wb") as output:
            self._process = started(
                [work / "server" / "bin" / self.release.product],
                cwd=work,
                env=_environment(self.release, work, java),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **_unprivileged(work),
            )

    def _address(self, began: float) -> str:
        """`127.0.0.1:PORT`, from the file that the server writes once it listens."""
        assert self._work is not None
        ports = self._work / "logs" / "http.ports"
        while not (ports.exists() and ports.read_text().endswith("\n")):
            self._still_coming(began)
        return ports.read_text().split()[0]

    def _wait(self, began: float) -> None:
        while no_answer(self.client, "/_cluster/health?wait_for_status=yellow&timeout=30s"):
            self._still_coming(began)

    def _still_coming(self, began: float) -> None:
        assert self._process is not None
        assert self._work is not None
        if self._process.poll() is not None or time.monotonic() - began > START_SECONDS:
            log = (self._work / "output").read_text(errors="replace")[-3000:]
            raise RuntimeError(f"{self.release} did not start:\n{log}")
        time.sleep(0.2)


def _link(source: str, target: str) -> None:
    """A second name for the file where the disk allows it, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def _configure(release: Release, work: Path) -> None:
    """A configuration folder of its own beside the server's."""
    shutil.copytree(work / "server" / "config", work / "config")
    for name in ("data", "logs", "tmp"):
        (work / name).mkdir()
    options = work / "config" / "jvm.options"  # some options write to the server's own folder
    kept = [line for line in options.read_text().splitlines() if not any(word in line for word in _WRITING)]
    options.write_text("\n".join(kept) + "\n")
    settings = {
        "cluster.name": "sluiceway-test",
        "node.name": "one",
        "discovery.type": "single-node",
        "http.host": "127.0.0.1",
        "http.port": 0,
        "transport.host": "127.0.0.1",
        "transport.port": 0,
        "node.portsfile": True,
        "path.data": str(work / "data"),
        "path.logs": str(work / "logs"),
        "cluster.routing.allocation.disk.threshold_enabled": False,
    }
    if not release.is_opensearch:
        settings["xpack.security.enabled"] = False
    text = "".join(f"{name}: {json.dumps(value)}\n" for name, value in settings.items())
    (work / "config" / f"{release.product}.yml").write_text(text)


_WRITING = ("gc.log", "HeapDumpPath", "ErrorFile")


def _environment(release: Release, work: Path, java: Path) -> dict[str, str]:
    prefix = "OPENSEARCH" if release.is_opensearch else "ES"
    foreign = ("JAVA_HOME", "ES_JAVA_HOME", "OPENSEARCH_JAVA_HOME", "JAVA_TOOL_OPTIONS")
    return {name: value for name, value in os.environ.items() if name not in foreign} | {
        "HOME": str(work),
        f"{prefix}_JAVA_HOME": str(java),
        f"{prefix}_PATH_CONF": str(work / "config"),
        f"{prefix}_TMPDIR": str(work / "tmp"),
        f"{prefix}_JAVA_OPTS": f"-Xms{HEAP} -Xmx{HEAP}",
        "JDK_JAVA_OPTIONS": f"-Djava.io.tmpdir={work / 'tmp'}",  # else the start script leaves folders in /tmp
    }


def _unprivileged(work: Path) -> dict[str, object]:
    """Neither server runs as root: hand over what it writes, and run as `nobody`."""
    work.chmod(0o755)
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    for name in ("config", "data", "logs", "tmp"):
        for path in (work / name, *(work / name).rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
