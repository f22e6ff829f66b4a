"""What the server knows: sessions, statements, answers, and the state that all sessions share."""

from __future__ import annotations

import itertools
import re
import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

KEPT_STATEMENTS = 100_000
KEPT_ANSWERS = 20
GLOBAL = "_fs_global"
"""The DuckDB database with what belongs to no other."""

COMMENT = re.compile(r"\s*(--[^\n]*\n|/\*.*?\*/)", re.DOTALL)
WORD = re.compile(r"\s*([A-Za-z_]+)")


class SnowflakeError(Exception):
    """An error as Snowflake answers it: `code` of six digits, SQLSTATE, message. HTTP status 200 unless told."""

    def __init__(
        self, code: str, state: str, message: str, *, status: int = 200, data: dict | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.state = state
        self.message = message
        self.status = status
        self.data = data or {}


@dataclass(frozen=True)
class Column:
    """A column of an answer; `type` as in Snowflake's `rowtype`: fixed, real, text, timestamp_ltz, variant, …"""

    name: str
    type: str = "text"
    precision: int | None = None
    scale: int | None = None
    length: int | None = None
    nullable: bool = True


@dataclass
class Answer:
    """What a statement answers.

    `rows`: tuples of Python values in the order of `columns`, or a `pyarrow.Table`. `kind`: statement type id
    (`wire.KINDS`). `counts`: rows inserted, updated, deleted of a DML statement. `raw`: PUT and GET, whose
    answer tells the client what to move where, and goes out as it is. `extra`: more for the answer's `data`.
    """

    columns: Sequence[Column] = ()
    rows: Any = ()
    kind: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    raw: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return self.rows.num_rows if hasattr(self.rows, "num_rows") else len(self.rows)


def done(message: str = "Statement executed successfully.", kind: int = 0x6000) -> Answer:
    """The one row `status` that most statements answer with."""
    return Answer([Column("status")], [(message,)], kind)


@dataclass(frozen=True)
class Name:
    """An object of a schema, its parts as the server keeps them."""

    database: str
    schema: str
    name: str

    @property
    def duck(self) -> str:
        """As DuckDB reads it."""
        return ".".join('"' + part.replace('"', '""') + '"' for part in (self.database, self.schema, self.name))

    def __str__(self) -> str:
        return f"{self.database}.{self.schema}.{self.name}"


@dataclass
class Transaction:
    """An open transaction; `id` as CURRENT_TRANSACTION() tells it. `plugins`: what plug-ins keep with it."""

    id: str
    began: datetime
    implicit: bool = False
    plugins: dict[str, Any] = field(default_factory=dict)


@dataclass
class Session:
    """One login. Statements of a session run one at a time, under `lock`.

    `duck`: its DuckDB connection; who must not see or disturb the open transaction uses `duck.cursor()`.
    `parameters`: what ALTER SESSION and the login set, upper-case; `parameters.get` knows the defaults.
    `temporary`: temporary tables, by the name that they hide, with the name that DuckDB has for them.
    `answers`: the last ones by query id, for RESULT_SCAN. `plugins`: for the plug-ins' own data, one key for each.
    """

    id: int
    token: str
    master_token: str
    user: str
    role: str | None
    warehouse: str | None
    duck: duckdb.DuckDBPyConnection
    database: str | None = None
    schema: str | None = None
    secondary_roles: str = "ALL"
    parameters: dict[str, Any] = field(default_factory=dict)
    temporary: dict[Name, str] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    transaction: Transaction | None = None
    last_query_id: str | None = None
    closed: bool = False
    client: dict[str, Any] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    plugins: dict[str, Any] = field(default_factory=dict)

    def enter(self, database: str | None, schema: str | None) -> bool:
        """Make this the current schema; False, and none is current, if there is no such schema."""
        self.database = database if database and self._has("database_name = ?", database) else None
        found = self.database and schema and self._has("database_name = ? AND schema_name = ?", database, schema)
        self.schema = schema if found else None
        self.duck.execute(f"SET schema = '{self.database or GLOBAL}.{self.schema or 'main'}'")
        return bool(found)

    def _has(self, where: str, *values: str | None) -> bool:
        return (
            self.duck.execute(f"SELECT 1 FROM duckdb_schemas() WHERE {where}", list(values)).fetchone() is not None
        )

    def answered(self, query_id: str, answer: Answer) -> None:
        """Keep an answer for RESULT_SCAN."""
        self.last_query_id = query_id
        self.answers[query_id] = answer
        while len(self.answers) > KEPT_ANSWERS:
            del self.answers[next(iter(self.answers))]


@dataclass
class Statement:
    """One statement of a session. `binds`: Python values for `?`, or rows of them (`batch`).

    `request`: the body of the query request as the client sent it (asyncExec, describeOnly, parameters, …).
    """

    server: Server
    session: Session
    text: str
    binds: tuple[Any, ...] = ()
    batch: list[tuple[Any, ...]] | None = None
    request: dict[str, Any] = field(default_factory=dict)
    query_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def now(self) -> datetime:
        """The instant, by the clock of the session's database."""
        return self.server.now(self.session.database)

    @property
    def tag(self) -> str:
        """QUERY_TAG: of the statement itself, else of the session."""
        own = (self.request.get("parameters") or {}).get("QUERY_TAG")
        return str(self.session.parameters.get("QUERY_TAG", "") if own is None else own)

    @property
    def bare(self) -> str:
        """The text without comments and blanks in front, and without `;` at its end."""
        text = self.text
        while match := COMMENT.match(text):
            text = text[match.end() :]
        return text.strip().rstrip(";").strip()

    def words(self, count: int = 1) -> str:
        """The first words, upper-case, one blank between them: `ALTER SESSION`."""
        text, found = self.bare, []
        while len(found) < count and (match := WORD.match(text)):
            found.append(match[1].upper())
            text = text[match.end() :]
        return " ".join(found)


Handler = Callable[[Statement, Callable[[Statement], Answer]], Answer]
"""`handler(statement, proceed)`: answers itself, or calls `proceed(statement)` (perhaps another one) for the
rest of the chain, or raises `SnowflakeError`. It runs in a thread of the statement's own and may block."""


@dataclass
class Run:
    """A statement as the history keeps it."""

    query_id: str
    session: int
    user: str
    text: str
    tag: str
    database: str | None
    schema: str | None
    transaction: str | None
    started: datetime
    kind: int = 0
    ended: datetime | None = None
    code: str | None = None
    message: str | None = None
    rows: int | None = None

    @property
    def running(self) -> bool:
        return self.ended is None


@dataclass
class Server:
    """Everything that sessions share. `lock` guards the maps; never hold it while a statement runs.

    `ddl`: DDL statements run one after the other. `functions`: SQL functions that the server answers itself, by
    upper-case name: `function(statement, node) -> sqlglot expression`. `clocks`: seconds by which
    the clock of a database is off. `stages`: by name (`stages.Stage`).
    """

    home: Path
    lock: threading.RLock = field(default_factory=threading.RLock)
    ddl: threading.RLock = field(default_factory=threading.RLock)
    sessions: dict[str, Session] = field(default_factory=dict)
    history: deque[Run] = field(default_factory=lambda: deque(maxlen=KEPT_STATEMENTS))
    functions: dict[str, Callable[[Statement, Any], Any]] = field(default_factory=dict)
    stages: dict[Name, Any] = field(default_factory=dict)
    clocks: dict[str, float] = field(default_factory=dict)
    duck: duckdb.DuckDBPyConnection = field(default_factory=lambda: duckdb.connect(":memory:"))
    plugins: dict[str, Any] = field(default_factory=dict)
    _ids: Any = field(default_factory=lambda: itertools.count(1001))

    def now(self, database: str | None = None) -> datetime:
        """What CURRENT_TIMESTAMP() answers in a session of that database."""
        return datetime.now(UTC) + timedelta(seconds=self.clocks.get(database or "", 0.0))

    def next_id(self) -> int:
        """A number that no session or transaction had before."""
        return next(self._ids)

    def open_session(
        self, *, user: str, role: str | None, warehouse: str | None, database: str | None, schema: str | None
    ) -> Session:
        """A new session; one whose database or schema does not exist has none, as with Snowflake."""
        with self.lock:
            number = self.next_id()
            session = Session(
                id=number,
                token=f"session-{number}-{uuid.uuid4().hex}",
                master_token=f"master-{number}-{uuid.uuid4().hex}",
                user=user,
                role=role,
                warehouse=warehouse,
                duck=self.duck.cursor(),
            )
            session.enter(database, schema or "PUBLIC")
            self.sessions[session.token] = session
            return session

    def close_session(self, session: Session) -> None:
        """End it; an open transaction is rolled back."""
        with self.lock:
            self.sessions.pop(session.token, None)
        with session.lock:
            if not session.closed:
                session.closed = True
                session.duck.close()

    def started(self, statement: Statement) -> Run:
        """Write the statement to the history."""
        session = statement.session
        run = Run(
            query_id=statement.query_id,
            session=session.id,
            user=session.user,
            text=statement.text,
            tag=statement.tag,
            database=session.database,
            schema=session.schema,
            transaction=session.transaction.id if session.transaction else None,
            started=datetime.now(UTC),
        )
        self.history.append(run)
        return run
