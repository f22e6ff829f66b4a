"""A real MariaDB for tests, as Debian ships it: a process with its own data, socket and port, as user `mysql`.

Tests get a fresh database each (`MariaServer.database`), made with the statements that the docs give operators.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pymysql

from state.mysql.settings import MysqlDriveSettings
from tests.servers.guard import started
from tests.unit.search_tls import CERTIFICATE, KEY

START_SECONDS = 120
STOP_SECONDS = 60
NEWS_SECONDS = 0.15
"""Between two looks at `information_schema.innodb_trx`; within 0.1 s of the last one it shows the same again."""
PASSWORD_VARIABLE = "SLUICEWAY_TEST_MARIADB_PASSWORD"
PASSWORD = "pässword-✓-'\"\\%s"
"""Whatever a password may hold."""

OPERATOR_STATEMENTS = (
    "CREATE DATABASE {database}",
    "CREATE USER IF NOT EXISTS {user}@'127.0.0.1' IDENTIFIED BY {password}",
    "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP ON {database}.* TO {user}@'127.0.0.1'",
)


def program(name: str) -> str | None:
    """Path of one of MariaDB's programs; servers are often outside a user's PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class MariaServer:
    """A server on 127.0.0.1. `start` may be repeated after `stop` or `kill`: data, port and socket stay.

    `options`: further ones for it, such as `--innodb-buffer-pool-size=1G`; the last of one name counts.
    """

    def __init__(self, *options: str) -> None:
        self._more = options
        self._work = Path(tempfile.mkdtemp(prefix="mariadb-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._names = count(1)
        self._is_made = False
        self.port = free_port()

    @property
    def socket(self) -> Path:
        return self._work / "run" / "socket"

    @property
    def ca_file(self) -> Path:
        return self._work / "run" / "certificate.pem"

    def start(self) -> MariaServer:
        """Start it and wait until it answers; raises RuntimeError with the end of its log if it does not."""
        if not self._is_made:
            self._make()
        with (self._work / "log").open("ab") as log:
            self._process = started(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._work,
                env=self._environment,
            )
        began = time.monotonic()
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() - began > START_SECONDS:
                end = (self._work / "log").read_text(errors="replace")[-3000:]
                self.kill()
                raise RuntimeError(f"MariaDB did not start:\n{end}")
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        """Shut it down as an administrator does."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def pause(self, paused: bool) -> None:
        """Let it stand still, connections open, or go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def remove(self) -> None:
        """Stop it and remove its data."""
        self.stop()
        shutil.rmtree(self._work, ignore_errors=True)

    def sql(self, statement: str, *values: Any, database: str | None = None) -> list[tuple[Any, ...]]:
        """What an administrator is answered."""
        with self.connection(database) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    @contextmanager
    def connection(self, database: str | None = None) -> Iterator[pymysql.Connection]:
        """An administrator's connection, in autocommit mode; close or end its transaction yourself."""
        connection = pymysql.connect(
            unix_socket=str(self.socket), user="root", database=database, autocommit=True, charset="utf8mb4"
        )
        with closing(connection):
            yield connection

    def hang_up(self, database: str) -> None:
        """KILL every connection that uses `database`; they are gone when this returns."""
        of_database = "SELECT id FROM information_schema.processlist WHERE db = %s"
        for (number,) in self.sql(of_database, database):
            self.sql("KILL %s", number)
        while self.sql(of_database, database):
            time.sleep(0.005)

    def wait_for_lock_wait(self, database: str) -> None:
        """Return when a connection that uses `database` waits for a lock of a row."""
        while not self.has_lock_wait(database):
            time.sleep(NEWS_SECONDS)

    def has_lock_wait(self, database: str) -> bool:
        """True if a connection that uses `database` waits for a lock of a row; ask each `NEWS_SECONDS`."""
        waiting = (
            "SELECT count(*) FROM information_schema.innodb_trx JOIN information_schema.processlist"
            " ON id = trx_mysql_thread_id WHERE trx_state = 'LOCK WAIT' AND db = %s"
        )
        return self.sql(waiting, database) != [(0,)]

    def database(self, **settings: Any) -> MysqlDriveSettings:
        """Settings of a fresh, empty database and of a user who may do there what the docs say."""
        os.environ[PASSWORD_VARIABLE] = PASSWORD
        name = f"drive_{next(self._names)}"
        with self.connection() as connection, connection.cursor() as cursor:
            quoted = connection.escape(PASSWORD)
            for statement in OPERATOR_STATEMENTS:
                cursor.execute(statement.format(database=name, user="sluiceway", password=quoted))
        given = {"host": "127.0.0.1", "port": self.port, "user": "sluiceway", "database": name, "tls": False}
        password = {"password": {"env": PASSWORD_VARIABLE}}
        return MysqlDriveSettings.model_validate({"type": "mysql"} | given | password | settings)

    def _answers(self) -> bool:
        """PyMySQL forgets to close the socket of a connection that fails, so this looks first."""
        with closing(socket.socket(socket.AF_UNIX)) as probe:
            try:
                probe.connect(str(self.socket))
            except OSError:
                return False
        return self.sql("SELECT 1") == [(1,)]

    def _make(self) -> None:
        run = self._work / "run"
        run.mkdir()
        self.ca_file.write_text(CERTIFICATE)
        (run / "key.pem").write_text(KEY)
        (self._work / "data").mkdir()
        (run / "tmp").mkdir()
        self._work.chmod(0o755)
        if user := unprivileged():
            for path in (run, *run.iterdir(), self._work / "data"):
                shutil.chown(path, user, user)
        install = [program("mariadb-install-db"), *self._options(), "--skip-test-db"]
        install += ["--auth-root-authentication-method=normal", "--skip-name-resolve"]
        done = subprocess.run(
            install, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=self._environment
        )
        if done.returncode:
            raise RuntimeError(f"mariadb-install-db failed:\n{done.stdout}{done.stderr}")
        self._is_made = True

    @property
    def _environment(self) -> dict[str, str]:
        """A server that starts removes temporary tables that it finds, whoever made them: each has a place."""
        return {**os.environ, "TMPDIR": str(self._work / "run" / "tmp")}

    def _options(self) -> list[str]:
        user = unprivileged()
        return ["--no-defaults", f"--datadir={self._work / 'data'}", *([f"--user={user}"] if user else [])]

    def _command(self) -> list[str]:
        return [
            str(program("mariadbd")),
            *self._options(),
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            f"--socket={self.socket}",
            f"--pid-file={self._work / 'run' / 'pid'}",
            f"--ssl-cert={self.ca_file}",
            f"--ssl-key={self._work / 'run' / 'key.pem'}",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=64M",
            "--innodb-log-file-size=32M",
            "--skip-performance-schema",
            *self._more,
        ]

    def _end(self, how: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(how)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def unprivileged() -> str | None:
    """The user that the server runs as; None: the one who runs the tests."""
    return pwd.getpwnam("mysql").pw_name if os.geteuid() == 0 else None


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
