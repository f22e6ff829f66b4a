"""What the server knows: sessions, statements, answers, and the state that all sessions share."""

from __future__ import annotations

import itertools
import re
import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fakesnow.fakes import FakeSnowflakeConnection
from fakesnow.instance import FakeSnow

KEPT_STATEMENTS = 100_000
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
    answer tells the client what to move where, and goes out as it is.
    """

    columns: Sequence[Column] = ()
    rows: Any = ()
    kind: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    raw: dict[str, Any] | None = None

    @property
    def total(self) -> int:
        return self.rows.num_rows if hasattr(self.rows, "num_rows") else len(self.rows)


def done(message: str = "Statement executed successfully.", kind: int = 0x6000) -> Answer:
    """The one row `status` that most statements answer with."""
    return Answer([Column("status")], [(message,)], kind)


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

    `fake`: the connection of fakesnow with its DuckDB connection (`fake._duck_conn`, see `duck`); a handler
    that needs SQL of its own uses `duck.cursor()` where it must not see or disturb the open transaction.
    `parameters`: what ALTER SESSION and the login set, upper-case; defaults in `parameters.DEFAULTS`.
    `plugins`: for the plug-ins' own data, one key for each.
    """

    id: int
    token: str
    master_token: str
    user: str
    role: str | None
    warehouse: str | None
    fake: FakeSnowflakeConnection
    parameters: dict[str, Any] = field(default_factory=dict)
    transaction: Transaction | None = None
    last_query_id: str | None = None
    autocommit: bool = True
    closed: bool = False
    client: dict[str, Any] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    plugins: dict[str, Any] = field(default_factory=dict)

    @property
    def duck(self) -> Any:
        return self.fake._duck_conn

    @property
    def database(self) -> str | None:
        return self.fake.database

    @property
    def schema(self) -> str | None:
        return self.fake.schema


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
    """Everything that sessions share. `lock` guards the maps; never hold it while a statement runs."""

    home: Path
    lock: threading.RLock = field(default_factory=threading.RLock)
    sessions: dict[str, Session] = field(default_factory=dict)
    history: deque[Run] = field(default_factory=lambda: deque(maxlen=KEPT_STATEMENTS))
    fakesnow: FakeSnow = field(
        default_factory=lambda: FakeSnow(create_database_on_connect=False, create_schema_on_connect=False)
    )
    plugins: dict[str, Any] = field(default_factory=dict)
    _ids: Any = field(default_factory=lambda: itertools.count(1001))

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
                fake=self.fakesnow.connect(database, schema),
            )
            _forget_missing(session.fake)
            self.sessions[session.token] = session
            return session

    def close_session(self, session: Session) -> None:
        """End it; an open transaction is rolled back."""
        with self.lock:
            self.sessions.pop(session.token, None)
        with session.lock:
            if not session.closed:
                session.closed = True
                session.fake.close()

    def create_database(self, name: str, schemas: Sequence[str] = ()) -> None:
        """A database with its schemas, in a few milliseconds."""
        maker = FakeSnow.connect
        with self.lock:
            self.fakesnow.create_database_on_connect = self.fakesnow.create_schema_on_connect = True
            try:
                for schema in ("PUBLIC", *schemas):
                    maker(self.fakesnow, name, schema).close()
            finally:
                self.fakesnow.create_database_on_connect = self.fakesnow.create_schema_on_connect = False

    def started(self, statement: Statement) -> Run:
        """Write the statement to the history."""
        session = statement.session
        run = Run(
            query_id=statement.query_id,
            session=session.id,
            user=session.user,
            text=statement.text,
            tag=str(session.parameters.get("QUERY_TAG", "")),
            database=session.database,
            schema=session.schema,
            transaction=session.transaction.id if session.transaction else None,
            started=datetime.now(UTC),
        )
        self.history.append(run)
        return run


def _forget_missing(fake: FakeSnowflakeConnection) -> None:
    if not fake.database_set:
        fake.database = None
    if not fake.schema_set:
        fake._schema = None
