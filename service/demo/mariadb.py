"""A MariaDB for the demo, as Debian ships it: in a temporary folder, on 127.0.0.1 only, gone with the demo.

It ends when its standard input is closed, and so with this process, however that ends.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.demo.server import stop
from state.errors import ConfigurationError, PermanentError

DATABASE, READER = "nyc", "reader"
SOCKET = "socket"
"""In the data folder, which is where server and client are started."""
UNPRIVILEGED = "mysql"
"""Whom the server runs as where we are root."""
START_SECONDS, STOP_SECONDS = 60.0, 30.0
PROGRAMS = ("mariadbd", "mariadb-install-db", "mariadb")

UNTIL_INPUT_ENDS = (
    """trap 'rm -r "${PWD%/data}"; exit' TERM; ( "$@"; kill $$ ) & read _; kill "$(cat pid)"; wait"""
)
"""For a shell in the data folder: a server that ends with the shell's input, and then its files go."""

SERVING = (
    *("--bind-address=127.0.0.1", f"--socket={SOCKET}", "--pid-file=pid", "--skip-name-resolve"),
    *("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M", "--skip-performance-schema"),
)


@dataclass(frozen=True)
class MariaServer:
    """A server that runs. `password`: of `READER`, who may only read."""

    programs: Mapping[str, str]
    data: Path
    port: int
    version: str
    password: str

    @property
    def url(self) -> str:
        """Of the database, as `sluiceway init --from` takes it."""
        return f"mysql://{READER}@127.0.0.1:{self.port}/{DATABASE}?tls=false"

    def run(self, sql: str, database: str = DATABASE) -> str:
        """What the server's own client prints. Raises `PermanentError`."""
        command = [
            self.programs["mariadb"],
            "--no-defaults",
            f"--socket={SOCKET}",
            "--batch",
            "--skip-column-names",
        ]
        command += ["--default-character-set=utf8mb4", database]
        done = subprocess.run(command, cwd=self.data, input=sql.encode(), capture_output=True, check=False)
        if done.returncode:
            raise PermanentError(
                f"the demo's MariaDB refused: {done.stderr.decode().strip()[:300]}", code="mariadb"
            )
        return done.stdout.decode()


def programs() -> Mapping[str, str]:
    """The programs by name. Raises `ConfigurationError` if one is not installed."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    found = {name: shutil.which(name, path=path) for name in PROGRAMS}
    if missing := [name for name, place in found.items() if place is None]:
        raise ConfigurationError(
            f"{missing[0]} is not installed",
            hint="Install it: apt-get install mariadb-server (make demo does so as root, on Debian).",
            code="missing_package",
        )
    return {name: str(place) for name, place in found.items()}


@contextmanager
def maria_server(log: Path) -> Iterator[MariaServer]:
    """A new server with an empty database, as long as the context. Raises `ConfigurationError`."""
    found = programs()
    with data_folder() as data, log.open("w") as said:
        command = [found["mariadb-install-db"], *options(), f"--datadir={data}", "--skip-test-db"]
        command += ["--auth-root-authentication-method=socket", f"--auth-root-socket-user={getpass.getuser()}"]
        made = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False)
        if made.returncode:
            raise did_not_start(log)
        port = free_port()
        serve = [found["mariadbd"], *options(), f"--datadir={data}", f"--port={port}", *SERVING]
        with subprocess.Popen(
            ["sh", "-c", UNTIL_INPUT_ENDS, "sh", *serve],
            cwd=data,
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            start_new_session=True,  # Ctrl-C is for us; we then end the server
        ) as process:
            try:
                wait_for(process, port, log)
                yield prepared(found, data, port)
            finally:
                stop(process, STOP_SECONDS)


@contextmanager
def data_folder() -> Iterator[Path]:
    """A temporary folder that the server may write to; its programs cannot do with blanks in a path."""
    with tempfile.TemporaryDirectory(prefix="sluiceway-demo-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        data = folder / "data"
        data.mkdir()
        if os.geteuid() == 0:
            shutil.chown(data, UNPRIVILEGED, UNPRIVILEGED)
        yield data


def options() -> list[str]:
    return ["--no-defaults", *([f"--user={UNPRIVILEGED}"] if os.geteuid() == 0 else [])]


def prepared(found: Mapping[str, str], data: Path, port: int) -> MariaServer:
    """The server with its database and its reader."""
    password = secrets.token_hex(16)
    blank = MariaServer(found, data, port, "", password)
    version = blank.run("SELECT VERSION()", "mysql").strip().partition("-")[0]
    blank.run(
        f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4;"
        f"CREATE USER {READER}@'127.0.0.1' IDENTIFIED BY '{password}';"
        f"GRANT SELECT ON {DATABASE}.* TO {READER}@'127.0.0.1'",
        "mysql",
    )
    return MariaServer(found, data, port, version, password)


def wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    began = time.monotonic()
    while True:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() - began > START_SECONDS:
            raise did_not_start(log)
        time.sleep(0.05)


def did_not_start(log: Path) -> ConfigurationError:
    said = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
    return ConfigurationError(
        f"the demo's MariaDB did not start; it said: {said[-1]}", hint=f"See {log}.", code="server"
    )


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
