"""Real receivers of notifications, in the loop of the test: a webhook that can misbehave, and a mail server."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.unit.search_tls import CERTIFICATE, KEY

USER, PASSWORD = "reporter", "canary-5d20b7-password"


@dataclass(frozen=True)
class Posted:
    headers: dict[str, str]
    body: bytes


@dataclass
class Hook:
    """A webhook's receiver. `answers` are what it does with each request in turn, then it says yes.

    An answer is a status, one with headers, or one of `hang` (until `let_go`), `close` (no answer), `cut` (a yes
    whose body never ends).
    """

    url: str
    answers: list[object] = field(default_factory=list)
    got: list[Posted] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.got.append(Posted(dict(request.headers), await request.read()))
        self.came.set()
        answer = self.answers.pop(0) if self.answers else 200
        match answer:
            case "hang":
                await self.let_go.wait()
                return web.Response(text="ok")
            case "close":
                drop(request)
                return web.Response()
            case "cut":
                response = web.StreamResponse(headers={"Content-Length": "100"})
                await response.prepare(request)
                await response.write(b"o")
                drop(request)
                return response
            case (int(status), dict(headers)):
                return web.Response(status=status, headers=headers, text=f"no, not at {self.url}")
            case int(status):
                return web.Response(status=status, text=f"said of {self.url}")
        raise AssertionError(answer)


def drop(request: web.Request) -> None:
    """Close the connection as it is."""
    if request.transport is not None:
        request.transport.abort()


@asynccontextmanager
async def hook(*answers: object, trust: ssl.SSLContext | None = None) -> AsyncIterator[Hook]:
    """A receiver whose URL holds a canary."""
    made = Hook("", list(answers))
    app = web.Application()
    app.router.add_post("/{rest:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=trust)
        await site.start()
        port = runner.addresses[0][1]
        made.url = f"{'http' if trust is None else 'https'}://127.0.0.1:{port}/services/T0/B0/canary-77e1a4"
        yield made
    finally:
        made.let_go.set()
        await runner.cleanup()


def nobody_listens() -> int:
    """A port of this machine that refuses."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@dataclass(frozen=True)
class Mail:
    sender: str
    to: tuple[str, ...]
    message: EmailMessage
    encrypted: bool
    user: str


@dataclass
class Post:
    """A mail server's own. `refusals` are answers to RCPT and DATA in turn: `("RCPT", "451 later")`, or `("DATA",
    "close")`; then it takes everything."""

    port: int = 0
    refusals: list[tuple[str, str]] = field(default_factory=list)
    got: list[Mail] = field(default_factory=list)
    logins: list[tuple[str, bool]] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def login(self, _server: SMTP, session: Session, _envelope: Envelope, _how: str, data: object) -> AuthResult:
        assert isinstance(data, LoginPassword)
        good = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        self.logins.append((data.login.decode(), good))
        session.known_as = USER if good else ""
        return AuthResult(success=good, handled=False)

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if (said := self.refusal("RCPT", address)) is not None:
            return said
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        said = self.refusal("DATA", "")
        if said == "close":
            server.transport.abort()
            return "250 OK"
        if said is not None:
            return said
        message = message_from_bytes(envelope.content, policy=default)
        encrypted = server.transport.get_extra_info("sslcontext") is not None
        user = getattr(session, "known_as", "")
        self.got.append(Mail(envelope.mail_from, tuple(envelope.rcpt_tos), message, encrypted, user))
        self.came.set()
        return "250 OK"

    def refusal(self, step: str, address: str) -> str | None:
        """The next answer, if it is about this step and, where it names one, this address."""
        if self.refusals and self.refusals[0][0] in (step, f"{step} {address}"):
            return self.refusals.pop(0)[1]
        return None


def context() -> ssl.SSLContext:
    """What a server shows: the certificate of 127.0.0.1 and localhost."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    with tempfile.TemporaryDirectory() as folder:
        both = Path(folder, "both.pem")
        both.write_text(KEY + CERTIFICATE)
        made.load_cert_chain(both)
    return made


@asynccontextmanager
async def post(tls: str, *refusals: tuple[str, str], login: bool = True) -> AsyncIterator[Post]:
    """A mail server with `starttls`, `implicit` TLS or `none`; mails only after a login unless told otherwise."""
    made = Post(refusals=list(refusals))
    loop = asyncio.get_running_loop()
    served: list[SMTP] = []

    def protocol() -> SMTP:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it does not see implicit TLS, and warns of logins without STARTTLS
            one = SMTP(
                made,
                hostname="localhost",
                tls_context=context() if tls == "starttls" else None,
                require_starttls=tls == "starttls",
                auth_require_tls=tls == "starttls",
                auth_required=login,
                authenticator=made.login if login else None,
                loop=loop,
            )
        served.append(one)
        return one

    async with serving(protocol, context() if tls == "implicit" else None) as port:
        made.port = port
        yield made
    for one in served:
        if one.transport is not None:
            one.transport.abort()
        if one._handler_coroutine is not None:
            one._handler_coroutine.cancel()
            await asyncio.wait([one._handler_coroutine])


@asynccontextmanager
async def serving(
    protocol: Callable[[], asyncio.BaseProtocol], trust: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """A server of `protocol` on this machine; its port."""
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, ssl=trust)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


class Silent(asyncio.Protocol):
    """A server that takes connections and says nothing."""

    def __init__(self, came: asyncio.Event) -> None:
        self.came = came

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.came.set()


class Gone(asyncio.Protocol):
    """A server that hangs up on everybody, after half a word."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        transport.write(b"22")
        transport.close()
