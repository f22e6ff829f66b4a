"""The fault proxy does what its rules say, so that the tests that stand on it prove something."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import aiohttp
import pytest

from tests.servers.proxy import FaultProxy, answer, change, cut, first, path, reset_after, reset_before, stall

BODY = b'{"numbers":[1,2,3],"asked":true}'


ASKED: list[str] = []


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        ASKED.append(self.path)
        self.send_response(200)
        self.send_header("content-length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_words):
        pass


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    ASKED.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    thread = Thread(target=server.serve_forever)
    thread.start()
    with FaultProxy(f"http://127.0.0.1:{server.server_port}") as proxy:
        yield proxy
    server.shutdown()
    server.server_close()
    thread.join()


async def post(proxy: FaultProxy, where: str, body: object = None) -> tuple[int, object]:
    async with aiohttp.ClientSession() as session, session.post(proxy.url + where, json=body) as got:
        return got.status, await got.json()


async def test_without_a_rule_the_proxy_only_records(proxy):
    assert await post(proxy, "/a?x=1", {"b": 2}) == (200, {"numbers": [1, 2, 3], "asked": True})
    [seen] = proxy.requests
    assert (seen.method, seen.path, seen.query, seen.body) == ("POST", "/a", {"x": "1"}, {"b": 2})
    assert ASKED == ["/a?x=1"]


async def test_a_rule_acts_on_the_nth_match_and_as_many_times_as_it_says(proxy):
    proxy.on(path("/a"), answer(503), nth=2, times=2)
    assert [(await post(proxy, where))[0] for where in ("/a", "/b", "/a", "/a", "/a")] == [200, 200, 503, 503, 200]
    assert ASKED == ["/a", "/b", "/a"]


async def test_an_answer_is_changed(proxy):
    proxy.on(path("/a"), change(lambda got: got.update(asked=False)), times=math.inf)
    assert (await post(proxy, "/a"))[1] == {"numbers": [1, 2, 3], "asked": False}


@pytest.mark.parametrize(
    ("act", "asked"),
    [(reset_before, []), (reset_after, ["/a"]), (cut(5), ["/a"]), (cut(5, reset=True), ["/a"])],
    ids=["reset before", "reset after", "cut", "cut with a reset"],
)
async def test_a_lost_answer_is_an_error_whether_the_effect_happened_or_not(proxy, act, asked):
    proxy.on(path("/a"), act)
    with pytest.raises(aiohttp.ClientError):
        await post(proxy, "/a")
    assert asked == ASKED
    assert (await post(proxy, "/a"))[0] == 200


async def test_something_happens_behind_the_clients_back_before_the_server_is_asked(proxy):
    proxy.on(path("/a"), first(lambda request: ASKED.append(f"behind {request.path}")))
    await post(proxy, "/a")
    assert ASKED == ["behind /a", "/a"]


async def test_a_stalled_request_gets_no_answer_and_does_not_keep_the_proxy_open(proxy):
    proxy.on(path("/a"), stall)
    waiting = asyncio.create_task(post(proxy, "/a"))
    await post(proxy, "/b")
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ASKED == ["/b"]
