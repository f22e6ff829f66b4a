"""Servers that let nobody in and repeat what they were given: a search server, Snowflake, S3, webhooks, mail."""

from __future__ import annotations

import gzip
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.sax.saxutils import escape


@dataclass
class Heard:
    """Everything that came, as text; `posted` are the bodies alone, by path."""

    everything: list[str] = field(default_factory=list)
    posted: list[tuple[str, str]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.everything)


@contextmanager
def web_tattler() -> Iterator[tuple[int, Heard]]:
    """Its port, and what it heard. By the path it is Snowflake, a bucket or, for all others, a search server."""
    heard = Heard()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            text = body.decode(errors="replace")
            given = " ".join([self.path, *(f"{name}: {value}" for name, value in self.headers.items()), text])
            heard.everything.append(given)
            heard.posted.append((self.path, text))
            status, kind, said = refusal(self.path, given)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(said)

        do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = answer

        def log_message(self, *_args: object) -> None:
            """Quiet."""

    with served(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield port, heard


def refusal(path: str, given: str) -> tuple[int, str, bytes]:
    """Status, content type and body."""
    if path.startswith("/session"):
        said: dict[str, Any] = {"success": False, "code": "390100", "message": f"not {given}", "data": {}}
        return 200, "application/json", json.dumps(said).encode()
    if path.startswith("/bucket"):
        xml = f"<Error><Code>AccessDenied</Code><Message>not {escape(given)}</Message></Error>"
        return 403, "application/xml", xml.encode()
    error = {"type": "security_exception", "reason": f"not {given}"}
    return 401, "application/json", json.dumps({"error": error, "status": 401}).encode()


@contextmanager
def mail_tattler() -> Iterator[tuple[int, Heard]]:
    """A mail server: its port, and what it heard."""
    heard = Heard()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 localhost\r\n")
            for line in self.rfile:
                given = line.decode(errors="replace").strip()
                heard.everything.append(given)
                if given.upper().startswith("EHLO"):
                    self.wfile.write(b"250-localhost\r\n250 AUTH PLAIN\r\n")
                else:
                    self.wfile.write(f"535 5.7.8 not {given}\r\n".encode())

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    with served(server) as port:
        yield port, heard


@contextmanager
def served(server: socketserver.TCPServer) -> Iterator[int]:
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is no news
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
