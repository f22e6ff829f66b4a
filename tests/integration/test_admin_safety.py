"""`/v1` against those who mean harm or blunder: guesses, odd requests, slow ones, secrets that must not leave."""

from __future__ import annotations

import ast
import asyncio
import gzip
import inspect
import json
import logging

import aiohttp

from service.admin import auth
from service.admin.ports import url
from service.daemon.settings import Admin
from service.events import DaemonStarted, Listening
from state.settings import Secret
from tests.integration.test_admin_api import OPERATE, READ, api
from tests.lifecycle.test_daemon import enrol, world

EVENTS = "/v1/pipelines/events"
BEARER = f"Authorization: Bearer {OPERATE}"


async def raw(port: int, request: bytes) -> bytes:
    """What comes back for bytes as they are; empty if the connection is just closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        return await asyncio.wait_for(reader.read(65536), 10)
    finally:
        writer.close()
        await writer.wait_closed()


def port_of(ask) -> int:
    return int(ask._base.rpartition(":")[2])


def head(line: str, *more: str, token: str = OPERATE) -> bytes:
    lines = (f"{line} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", "Connection: close", *more)
    return "\r\n".join((*lines, "", "")).encode(errors="surrogateescape")


def test_a_guesser_at_one_address_keeps_nobody_out_at_another_x1(tmp_path, monkeypatch):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        elsewhere = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
        async with (
            api(tmp_path, monkeypatch) as (ask, _heard),
            aiohttp.ClientSession(connector=elsewhere) as guest,
        ):
            for _ in range(auth.MOST_FAILURES):
                assert (await ask("GET", EVENTS, token="guess"))[0] == 401
            assert (await ask("GET", EVENTS, token=OPERATE))[0] == 429  # or each guess could be tried
            async with guest.get(ask._base + EVENTS, headers={"Authorization": f"Bearer {READ}"}) as answer:
                assert answer.status == 200

    asyncio.run(go())


def test_who_sends_no_token_guesses_none_and_gets_the_same_answer_for_every_path_x1(tmp_path, monkeypatch):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with api(tmp_path, monkeypatch) as (ask, _heard):
            for _ in range(2 * auth.MOST_FAILURES):
                for path in (EVENTS, "/v1/pipelines/unknown", "/v1/nothing", "/v1/openapi.json"):
                    assert (await ask("GET", path, token=None))[0] == 401
            assert (await ask("GET", EVENTS))[0] == 200

    asyncio.run(go())


def test_a_token_counts_once_it_is_in_its_file_and_the_old_one_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(auth, "READ_AGAIN_SECONDS", 0.0)
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with api(tmp_path, monkeypatch) as (ask, _heard):
            file = tmp_path / "operate.token"
            assert (await ask("POST", f"{EVENTS}/pause"))[0] == 200
            file.write_text("another-token\n")
            assert (await ask("POST", f"{EVENTS}/resume"))[0] == 401
            assert (await ask("POST", f"{EVENTS}/resume", token="another-token"))[0] == 200
            file.unlink()
            assert (await ask("GET", EVENTS, token="another-token"))[0] == 401
            file.write_text(" \n")
            assert (await ask("GET", EVENTS, token=""))[0] == 401
            _, acts, _ = await ask("GET", f"{EVENTS}/events", token=READ)
            assert {act["actor"] for act in acts["events"] if act["action"] in ("pause", "resume")} == {"operate"}

    asyncio.run(go())


def test_without_tokens_nobody_is_let_in_and_the_log_says_what_to_set(tmp_path, monkeypatch, caplog):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with api(tmp_path, monkeypatch, admin={"port": 0}) as (ask, _heard):
            for token in (None, "", OPERATE):
                assert (await ask("GET", EVENTS, token=token))[0] == 401

    with caplog.at_level(logging.WARNING, "service.admin"):
        asyncio.run(go())
    assert "admin.read_tokens" in caplog.text


def test_tokens_are_compared_as_digests_of_one_length_in_constant_time_x1():
    """A code check: what is given is nowhere compared but by `hmac.compare_digest`, and none is left out."""
    tree = ast.parse(inspect.getsource(auth.Tokens.holder).strip().replace("\n    ", "\n"))
    [loop] = [node for node in ast.walk(tree) if isinstance(node, ast.For)]
    assert not [node for node in ast.walk(loop) if isinstance(node, ast.Break | ast.Return | ast.Continue)]
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Compare) for node in ast.walk(node)
             if isinstance(node, ast.Name)}  # fmt: skip
    assert not named & {"given", "digest", "authorization"}
    assert "hmac.compare_digest(digest, given)" in ast.unparse(loop)
    tokens = auth.Tokens([Secret(env="A_TOKEN")], [])
    assert tokens._digests == []


ODD = [
    ("GET", f"{EVENTS}?limit=1", 400),
    ("GET", f"{EVENTS}/runs?limit=0", 400),
    ("GET", f"{EVENTS}/runs?limit=10001", 400),
    ("GET", f"{EVENTS}/runs?limit=ten", 400),
    ("GET", f"{EVENTS}/runs?order=newest", 400),
    ("GET", f"{EVENTS}/runs?from=1763164800", 400),
    ("GET", f"{EVENTS}/runs?from=2025-11-15T00:00:00", 400),
    ("GET", f"{EVENTS}/runs?from=9999-12-31T23:59:59.9Z", 422),
    ("GET", f"{EVENTS}/runs?from=0001-01-01T00:00:00%2B23:59", 422),
    ("GET", f"{EVENTS}/runs?from=2025-13-45T00:00:00Z", 422),
    ("GET", f"{EVENTS}/windows?from=2025-11-15T02:00:00Z&to=2025-11-15T01:00:00Z", 422),
    ("GET", f"{EVENTS}/runs/..%2F..%2Fetc%2Fpasswd", 404),
    ("GET", f"{EVENTS}/runs/%00", 404),
    ("GET", f"{EVENTS}/runs/{'x' * 4000}", 404),
    ("GET", f"{EVENTS}/runs/{'x' * 4000}_20251115", 404),
    ("GET", f"{EVENTS}/backfills/%F0%9F%92%A9", 404),
    ("GET", "/v1/pipelines/..", 404),
    ("GET", "/v1/pipelines/%2e%2e%2f", 404),
    ("GET", "/v1/pipelines/%27%3B--", 404),
    ("GET", "/v1/../v1/pipelines", 404),
    ("GET", "//v1/pipelines", 404),
    ("GET", "/v1/pipelines/", 404),
    ("GET", f"/v1/{'x' * 9000}", 400),
    ("HEAD", EVENTS, 405),
    ("OPTIONS", EVENTS, 405),
    ("TRACE", EVENTS, 405),
    ("PUT", EVENTS, 405),
    ("BREW", EVENTS, 400),
    ("GET", f"{EVENTS}/pause", 405),
]


def test_an_odd_request_is_refused_and_no_defect(tmp_path, monkeypatch):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with api(tmp_path, monkeypatch) as (ask, _heard):
            for method, path, status in ODD:
                answer = await raw(port_of(ask), head(f"{method} {path}"))
                assert answer.split(b" ", 2)[1] == str(status).encode(), (method, path, answer)
                assert b"Traceback" not in answer
                assert b'File "' not in answer

    asyncio.run(go())


BYTE = "\udcff"
"""A byte that is no text, in a header."""
FORM, JSON = "Content-Type: application/x-www-form-urlencoded", "Content-Type: application/json"
BROKEN = [
    ("GET", EVENTS, [f"Authorization: Bearer {BYTE}"], b"", 401),
    ("GET", EVENTS, [f"Authorization: Basic {BYTE}"], b"", 401),
    ("GET", EVENTS, ["Authorization: Basic /w=="], b"", 401),
    ("POST", f"{EVENTS}/backfills", [JSON, f"Idempotency-Key: {BYTE}"], b"{}", 400),
    ("POST", f"{EVENTS}/backfills", [JSON, "Content-Encoding: gzip"], b"no gzip", 400),
    ("POST", f"{EVENTS}/backfills", [f"Content-Type: {BYTE}/;;="], b"{}", 400),
    ("POST", f"{EVENTS}/backfills", [JSON], b'{"from": "\\ud800"}', 400),
    ("POST", f"{EVENTS}/backfills", [JSON], b'{"from": ' + b"[" * 20_000, 400),
    ("POST", f"{EVENTS}/backfills", [JSON], b'{"from": ' + b"9" * 20_000 + b"}", 400),
    ("POST", f"{EVENTS}/backfills", [JSON, "Content-Encoding: gzip"], gzip.compress(b" " * 10_000_000), 413),
    ("POST", f"{EVENTS}/pause", [f"{FORM}; charset=unheard-of"], b"a=1", 400),
    ("POST", f"{EVENTS}/pause", [f"{FORM}; charset=utf-16"], b"a=1", 400),
    ("POST", f"{EVENTS}/pause", [FORM], b"form_token=\xff", 400),
    ("POST", f"{EVENTS}/pause", [FORM], b"form_token=%ff", 403),
    ("POST", f"{EVENTS}/backfills/k", [f"{FORM}; charset=rot13"], b"method=DELETE", 400),
]

UNREADABLE = [
    head(f"GET {EVENTS}", token="a\0b"),
    head(f"GET {EVENTS}", "Content-Length: -5"),
    head(f"GET {EVENTS}", "Content-Length: 5", "Content-Length: 6"),
    head(f"POST {EVENTS}/pause", "Transfer-Encoding: chunked", token="a-wrong-token") + b"ZZ\r\n",
    head(f"POST {EVENTS}/pause", "Content-Encoding: br", "Content-Length: 1") + b"x",
    head(f"GET {EVENTS}/\udcff"),
]
"""What is no HTTP."""


def test_a_request_that_is_broken_is_refused_and_no_defect_x1(tmp_path, monkeypatch, caplog):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with api(tmp_path, monkeypatch) as (ask, _heard):
            for method, path, lines, body, status in BROKEN:
                own = any(line.startswith("Authorization") for line in lines)
                more = [*lines, "Connection: close", f"Content-Length: {len(body)}"]
                started = [f"{method} {path} HTTP/1.1", "Host: x", *([] if own else [BEARER]), *more, "", ""]
                answer = await raw(port_of(ask), "\r\n".join(started).encode(errors="surrogateescape") + body)
                assert answer.split(b" ", 2)[1] == str(status).encode(), (lines, body[:20], answer)
                assert b"Traceback" not in answer
            for request in UNREADABLE:
                assert (await raw(port_of(ask), request)).split(b" ", 2)[1] == b"400", request

    asyncio.run(go())
    assert "a request could not be read: BadHttpMessage" in caplog.text
    assert not [one for one in caplog.records if one.levelno > logging.WARNING or one.exc_info]
    assert "a-wrong-token" not in caplog.text


def test_a_body_that_is_too_large_or_never_ends_holds_nobody_up_x1(tmp_path, monkeypatch):
    enrol(tmp_path, world(tmp_path, "events"))
    post, kind = f"POST {EVENTS}/backfills", "Content-Type: application/json"

    async def go():
        async with api(tmp_path, monkeypatch) as (ask, _heard):
            port = port_of(ask)
            slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]
            for _reader, writer in slow:
                writer.write(head(post, kind, "Content-Length: 60") + b'{"from": ')
            assert (await ask("GET", EVENTS))[0] == 200
            chunked = head(post, kind, "Transfer-Encoding: chunked") + b"11000\r\n" + b"[" * 0x11000 + b"\r\n"
            assert (await raw(port, chunked)).split(b" ", 2)[1] == b"413"
            whole = head(post, kind, "Content-Length: 70000") + b"[" * 70_000
            assert (await raw(port, whole)).split(b" ", 2)[1] == b"413"
            for _reader, writer in slow:
                writer.close()
                await writer.wait_closed()

    asyncio.run(go())


def test_no_secret_of_any_setting_is_in_any_answer_x4_x9(tmp_path, monkeypatch):
    """A canary behind every reference of the pipeline and of daemon.yaml; errors repeat what was sent at most."""
    canaries = {name: f"canary-{name}-5b1c" for name in ("SLACK", "HOOK", "HEADER", "SMTP", "READ2", "OPERATE2")}
    for name, value in canaries.items():
        monkeypatch.setenv(name, f"https://h.invalid/{value}" if name in ("SLACK", "HOOK") else value)
    told = {
        "slack_webhook": {"env": "SLACK"},
        "webhook": {"url": {"env": "HOOK"}, "headers": {"X-Key": {"env": "HEADER"}}},
        "on": ["quarantined"],
    }
    one = world(tmp_path, "events", pipeline_metadata={"pipeline_name": "events", "notifications": told})
    enrol(tmp_path, one)
    admin = {"port": 0, "read_tokens": [{"env": "READ2"}], "operate_tokens": [{"env": "OPERATE2"}]}

    async def go():
        async with api(tmp_path, monkeypatch, admin=admin) as (ask, _heard):
            token = canaries["OPERATE2"]
            _, document, _ = await ask("GET", "/v1/openapi.json", token=token)
            said = []
            for path, methods in document["paths"].items():
                filled = path.format(pipeline="events", run="events_20251115_00h_run1", key="k")
                for method in methods:
                    for body in (None, {}, {"from": "2025-11-15T00:00:00Z", "to": "2025-11-15T01:00:00Z"}):
                        for holder in (token, token[:-1], None):
                            _, answer, headers = await ask(method.upper(), filled, body, token=holder)
                            said.append(json.dumps([answer, dict(headers)]))
            assert len(said) > 100
            for name, value in canaries.items():
                assert not any(value[:-1] in text for text in said), name

    asyncio.run(go())


def test_the_ports_that_were_taken_are_told(tmp_path, monkeypatch):
    """Port 0 takes a free one: which, only the log can say."""
    (tmp_path / "configs").mkdir()

    async def go():
        async with api(tmp_path, monkeypatch, wait=lambda heard: heard.of(DaemonStarted)) as (ask, heard):
            told = {event.what: event.address for event in heard.of(Listening)}
            assert told["admin"] == f"{ask._base}/"
            async with aiohttp.request("GET", f"{told['health']}healthz") as answer:
                assert answer.status == 200

    asyncio.run(go())
    assert url("::1", 8081) == "http://[::1]:8081/"


def test_the_admin_port_is_off_the_net_unless_somebody_opens_it_x1():
    assert Admin().host == "127.0.0.1"
    assert Admin().read_tokens == Admin().operate_tokens == ()
