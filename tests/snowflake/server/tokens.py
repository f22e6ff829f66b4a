"""Session tokens that expire: what a session is told, and how it gets a new token.

A session has a session token, sent with each request, and a master token, for a new session token. Refusals come
with HTTP status 200, as real servers send them:

    390112   the session token has expired: the client renews it (`/session/token-request`) and asks again
    390114   the master token has expired, which the client learns when it renews: a new login is needed
    390111   the session is gone: a new login is needed, and its transaction was rolled back

390112 and 390114 leave the session as it is: an open transaction stays open and keeps its locks.
"""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.snowflake.server import app, transactions
from tests.snowflake.server.model import Server, Session, SnowflakeError

MESSAGES = {
    "390111": "Session no longer exists.  New login required to access the service.",
    "390112": "Your session has expired. Please login again.",
    "390114": "Authentication token has expired.  The user must authenticate again.",
}
RENEW = "/session/token-request"
OPEN_TO_ALL = ("/session/v1/login-request", "/test/", "/storage/", "/telemetry/", RENEW)


class Tokens:
    """Tokens that are no longer good, with the code that their users get."""

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}
        self.renewals = 0

    def expire(self, server: Server, session: Session, code: str) -> None:
        """From now on the session gets this code (`MESSAGES`)."""
        if code not in MESSAGES:
            raise ValueError(f"no token expires with {code}")
        self.refused[session.token] = "390112" if code == "390114" else code
        if code != "390112":
            self.refused[session.master_token] = code
        if code == "390111":
            transactions.of(server).end_session(session)
            server.close_session(session)

    def renew(self, server: Server, master_token: str) -> Session:
        """A new session token for the session of the master token."""
        if master_token in self.refused:
            raise refusal(self.refused[master_token])
        with server.lock:
            for session in list(server.sessions.values()):
                if session.master_token == master_token:
                    self.refused[session.token] = "390112"
                    server.sessions.pop(session.token, None)
                    session.token = f"session-{session.id}-{uuid.uuid4().hex}"
                    server.sessions[session.token] = session
                    self.renewals += 1
                    return session
        raise refusal("390111")


def of(server: Server) -> Tokens:
    """The tokens of this server."""
    return server.plugins.setdefault("tokens", Tokens())


def refusal(code: str) -> SnowflakeError:
    return SnowflakeError(code, "08001", MESSAGES[code])


def wrap(server: Server, inner: Any) -> Any:
    """Refuse every request that carries a token which is no longer good."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(OPEN_TO_ALL):
            code = of(server).refused.get(token_of(Request(scope)))
            if code is not None:
                await app.refused(refusal(code))(scope, receive, send)
                return
        await inner(scope, receive, send)

    return guarded


def token_of(request: Request) -> str:
    header = request.headers.get("authorization", "")
    return header.split('"')[1] if 'Token="' in header else ""


def routes(server: Server) -> list[Route]:
    return [
        Route(RENEW, partial(renew, server), methods=["POST"]),
        Route("/test/expire", partial(expire, server), methods=["POST"]),
    ]


async def renew(server: Server, request: Request) -> Response:
    try:
        session = of(server).renew(server, token_of(request))
    except SnowflakeError as error:
        return JSONResponse({"data": None, "code": error.code, "message": error.message, "success": False})
    data = {
        "sessionToken": session.token,
        "validityInSecondsST": app.VALIDITY_SECONDS,
        "masterToken": session.master_token,
        "validityInSecondsMT": 4 * app.VALIDITY_SECONDS,
        "sessionId": session.id,
    }
    return JSONResponse({"data": data, "code": None, "message": None, "success": True})


async def expire(server: Server, request: Request) -> Response:
    """POST /test/expire {"code", "database"?, "session"?}: all sessions, those of a database, or one. It
    tells them, and as `alive` those among them whose token was good until now."""
    asked = await app.body_of(request)
    found = [session for session in list(server.sessions.values()) if chosen(session, asked)]
    alive = [session.id for session in found if session.token not in of(server).refused]
    for session in found:
        await app.in_thread(of(server).expire, server, session, asked["code"])
    return JSONResponse({"sessions": [session.id for session in found], "alive": alive})


def chosen(session: Session, asked: dict[str, Any]) -> bool:
    """Whether the session is one of those asked for: by "session" (its id), "database", or neither."""
    return asked.get("session") in (None, session.id) and asked.get("database") in (None, session.database)
