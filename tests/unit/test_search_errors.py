"""What a failed request means: the table of reliability.md §12.2, row by row, as a test each."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from connectors.elasticsearch.connector import ElasticsearchConnector
from connectors.elasticsearch.errors import RULES, UNKNOWN, refusal, retry_after, shard_failure
from connectors.elasticsearch.settings import ElasticsearchSettings
from connectors.elasticsearch.wire import Wire
from state.errors import (
    ConfigurationError,
    PermanentError,
    RestartAttempt,
    SluicewayError,
    TransientError,
    Unreachable,
)
from tests.unit.search_script import SPAN, SearchScript, connected, documents, read, serving
from tests.unit.search_tls import CERTIFICATE, KEY

NOW = datetime(2025, 1, 1, tzinfo=UTC)

TABLE: list[tuple[int, str, type[SluicewayError], bool]] = [
    (429, "es_rejected_execution_exception", TransientError, True),
    (429, "rejected_execution_exception", TransientError, True),
    (429, "circuit_breaking_exception", TransientError, True),
    (503, "circuit_breaking_exception", TransientError, True),
    (429, "too_many_requests", TransientError, True),
    (502, "", TransientError, False),
    (503, "", TransientError, False),
    (504, "", TransientError, False),
    (408, "", TransientError, False),
    (503, "cluster_block_exception", TransientError, False),
    (503, "no_shard_available_action_exception", TransientError, False),
    (500, "task_cancelled_exception", TransientError, False),
    (404, "search_context_missing_exception", RestartAttempt, False),
    (404, "index_not_found_exception", ConfigurationError, False),
    (400, "index_closed_exception", ConfigurationError, False),
    (400, "parsing_exception", ConfigurationError, False),
    (400, "x_content_parse_exception", ConfigurationError, False),
    (400, "parse_exception", ConfigurationError, False),
    (400, "query_shard_exception", ConfigurationError, False),
    (400, "illegal_argument_exception", ConfigurationError, False),
    (400, "media_type_header_exception", ConfigurationError, False),
    (400, "some_other_exception", PermanentError, False),
    (401, "security_exception", ConfigurationError, False),
    (403, "security_exception", ConfigurationError, False),
    (401, "", ConfigurationError, False),
    (403, "cluster_block_exception", ConfigurationError, False),
    (500, "security_exception", ConfigurationError, False),
    (404, "", ConfigurationError, False),
    (405, "", ConfigurationError, False),
    (406, "", ConfigurationError, False),
    (407, "", ConfigurationError, False),
    (415, "", ConfigurationError, False),
    (413, "", PermanentError, False),
    (414, "", PermanentError, False),
    (400, "too_long_http_line_exception", PermanentError, False),
    (400, "too_long_frame_exception", PermanentError, False),
]


def body(type_: str, **more: object) -> bytes:
    return json.dumps({"error": {"type": type_, "reason": f"because of {type_}", **more}, "status": 0}).encode()


@pytest.mark.parametrize(("status", "type_", "class_", "shrink"), TABLE)
def test_each_row_of_the_table(status, type_, class_, shrink):
    error = refusal(status, {}, body(type_) if type_ else b"", "reading a page")
    assert type(error) is class_
    assert getattr(error, "shrink", False) is shrink
    assert error.hint
    assert f"HTTP {status}" in error.message
    assert type_ in error.message


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.status} {rule.type}")
def test_each_rule_decides_some_row_and_gives_its_code(rule):
    codes = {refusal(status, {}, body(type_) if type_ else b"", "").code for status, type_, *_ in TABLE}
    assert (rule.type or str(rule.status)) in codes


def test_an_unknown_answer_is_transient_and_counted_as_other():
    error = refusal(500, {}, body("nobody_knows_exception"), "reading a page")
    assert (type(error), error.code, error.hint) == (TransientError, "other", UNKNOWN.hint)
    assert error.at_most == 3
    assert refusal(503, {}, b"", "reading a page").at_most is None
    assert "nobody_knows_exception" in error.message


@pytest.mark.parametrize("inner", ["root_cause", "failed_shards"])
def test_the_cause_is_found_below_search_phase_failed(inner):
    cause = {"type": "query_shard_exception", "reason": "no mapping"}
    below = [cause] if inner == "root_cause" else [{"shard": 0, "index": "a", "reason": cause}]
    error = refusal(400, {}, body("search_phase_execution_exception", **{inner: below}), "reading a page")
    assert (type(error), error.code) == (ConfigurationError, "query_shard_exception")
    assert error.message.endswith("query_shard_exception: no mapping")


def test_a_deeply_caused_lost_context_restarts_the_attempt_e4():
    cause = {"type": "outer", "reason": "x", "caused_by": {"type": "search_context_missing_exception"}}
    assert type(refusal(404, {}, body("search_phase_execution_exception", caused_by=cause), "")) is RestartAttempt


@pytest.mark.parametrize("type_", ["index_not_found_exception", "index_closed_exception"])
def test_an_index_that_vanishes_inside_a_snapshot_restarts_the_attempt_e16(type_):
    assert type(refusal(404, {}, body(type_), "", underway=True)) is RestartAttempt


@pytest.mark.parametrize(
    ("durability", "code"),
    [("TRANSIENT", "circuit_breaking_exception"), ("PERMANENT", "circuit_breaker_permanent")],
)
def test_a_circuit_breaker_says_whether_waiting_helps(durability, code):
    error = refusal(429, {}, body("circuit_breaking_exception", durability=durability), "")
    assert (error.code, error.shrink) == (code, True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("Wed, 01 Jan 2025 00:00:30 GMT", 30.0),
        ("Tue, 31 Dec 2024 23:59:30 GMT", 0.0),
        ("86401", 86_400.0),
        ("99999999999999999", 86_400.0),
        ("9" * 5000, 86_400.0),
        ("Fri, 03 Jan 2025 00:00:00 GMT", 86_400.0),
        ("Fri, 31 Dec 9999 23:59:59 -1200", 86_400.0),
        ("Mon, 01 Jan 0001 00:00:00 +1200", 0.0),
        ("Wed, 01 Jan 2025 00:00:30 -0000", 30.0),
        ("Wed, 01 Jan 2025 99999999999999999999:00:30 GMT", None),
        ("soon", None),
        ("-3", None),
        ("", None),
    ],
)
def test_retry_after_in_seconds_or_as_a_date_e10(text, seconds):
    assert retry_after({"retry-after": text}, NOW) == seconds


def test_the_wait_that_a_server_asks_for_reaches_the_error_e10():
    error = refusal(429, {"retry-after": "11"}, body("es_rejected_execution_exception"), "")
    assert error.retry_after == 11.0
    assert refusal(503, {}, b"", "").retry_after is None
    endless = refusal(503, {"retry-after": "99999999999999999"}, b"", "")
    assert NOW + timedelta(seconds=endless.retry_after) == datetime(2025, 1, 2, tzinfo=UTC)


def test_a_failed_shard_of_a_good_answer_is_transient_only_if_it_was_busy():
    assert type(shard_failure("task_cancelled_exception", "r", "m")) is TransientError
    assert shard_failure("es_rejected_execution_exception", "r", "m").shrink
    assert type(shard_failure("i_o_exception", "disk", "m")) is RestartAttempt
    assert type(shard_failure("illegal_argument_exception", "r", "m")) is RestartAttempt
    assert shard_failure("i_o_exception", "disk", "1 of 3").message == "1 of 3: i_o_exception: disk"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"<html>\n <b>Bad   Gateway</b></html>", "HTTP 502: <html> <b>Bad Gateway</b></html>"),
        (b'{"error": "Incorrect method", "status": 502}', "HTTP 502: error: Incorrect method"),
        (b"[1]", "HTTP 502: [1]"),
        (b"", "HTTP 502"),
    ],
)
def test_bodies_that_are_no_search_server_s_are_shown_as_they_are(text, shown):
    assert refusal(502, {}, text, "asking").message == f"asking: {shown}"


def test_long_reasons_are_cut():
    long = refusal(400, {}, body("some_exception", caused_by={"type": "x", "reason": "y" * 5000}), "")
    assert len(long.message) < 500
    assert len(refusal(502, {}, b"z" * 10_000, "").message) < 500


async def test_a_secret_that_a_server_sends_back_is_not_shown_e22(monkeypatch):
    monkeypatch.setenv("SEARCH_SECRET", "canary-8131")
    script = SearchScript(documents(1))
    script.at("settings", 1, lambda _: web.Response(status=401, text="bad: ApiKey canary-8131"))
    async with connected(script, auth={"api_key": {"env": "SEARCH_SECRET"}}) as connector:
        with pytest.raises(ConfigurationError) as caught:
            await connector.contract()
    assert "canary" not in f"{caught.value} {caught.value!r} {caught.value.args} {caught.value.__context__}"
    assert "ApiKey ***" in str(caught.value)
    assert script.headers[0]["authorization"] == "ApiKey canary-8131"
    assert len(script.seen) == 1, "one attempt"


SECRET = 'canary"8131/+' + "0123456789" * 4
ECHOES = [("api_key", SECRET), ("bearer", SECRET), ("password", SECRET)]
ECHOES.append(("password", base64.b64encode(f"u:{SECRET}".encode()).decode()))


def echoing_auth(monkeypatch, name):
    monkeypatch.setenv("SEARCH_SECRET", SECRET)
    return {name: {"env": "SEARCH_SECRET"}} | ({"user": "u"} if name == "password" else {})


@pytest.mark.parametrize(
    "answered",
    [
        lambda echo: web.Response(status=401, text="x" * 290 + echo),
        lambda echo: web.Response(status=401, text="bad " + " " * 1186 + echo),
        lambda echo: web.json_response({"error": "x" * 290 + echo}, status=401),
        lambda echo: web.json_response({"error": {"type": "t", "reason": "x" * 290 + echo}}, status=401),
        lambda echo: web.Response(status=401, text=json.dumps({"error": "x" * 285 + echo}).replace("/", "\\/")),
    ],
    ids=["text", "raw", "said", "reason", "slashes"],
)
@pytest.mark.parametrize(("name", "echo"), ECHOES)
async def test_a_secret_at_the_edge_of_what_is_shown_leaves_no_prefix_e22(answered, name, echo, monkeypatch):
    script = SearchScript(documents(1))
    script.at("settings", 1, lambda _: answered(echo))
    async with connected(script, auth=echoing_auth(monkeypatch, name)) as connector:
        with pytest.raises(ConfigurationError) as caught:
            await connector.contract()
    told = str(caught.value)
    assert echo[:5] not in told
    assert "HTTP 401" in told


@pytest.mark.parametrize(("name", "echo"), ECHOES)
async def test_a_secret_in_an_answer_that_is_looked_into_is_not_shown_e22(name, echo, monkeypatch):
    script = SearchScript(documents(1))
    script.at("probe", 1, lambda _: web.json_response({"error": "x" * 290 + echo}, status=400))
    async with connected(script, auth=echoing_auth(monkeypatch, name)) as connector:
        with pytest.raises(PermanentError) as caught:
            await read(connector)
    assert echo[:5] not in str(caught.value)


@pytest.mark.parametrize(
    "said", ["HTTP/1.1 {} x\r\n\r\n", f"HTTP/1.1 200 {'x' * 80}{{}}{'y' * 9000}\r\n\r\n"], ids=["quoted", "cut"]
)
@pytest.mark.parametrize(("name", "echo"), ECHOES)
async def test_a_secret_in_an_answer_that_is_no_http_is_not_shown_e22(said, name, echo, monkeypatch):
    async def answer(_reader, writer):
        writer.write(said.format(echo).encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    auth = echoing_auth(monkeypatch, name)
    settings = ElasticsearchSettings(type="elasticsearch", endpoint=url, index="i", cursor="at", auth=auth)
    connector = ElasticsearchConnector(settings)
    with pytest.raises(TransientError) as caught:
        await connector.now()
    await connector.aclose()
    server.close()
    await server.wait_closed()
    assert echo[:5] not in str(caught.value)
    assert "the answer is broken" in str(caught.value)


async def test_a_document_that_holds_the_secret_is_read_as_it_is(monkeypatch):
    monkeypatch.setenv("SEARCH_SECRET", "day")
    text = json.dumps({"id": "d", "at": "2025-01-01T00:00:00Z", "s": "a day"})
    script = SearchScript([text], mapping={"at": {"type": "date"}, "s": {"type": "keyword"}})
    auth = {"api_key": {"env": "SEARCH_SECRET"}}
    async with connected(script, auth=auth) as connector, connector.open(SPAN) as snapshot:
        assert [v async for batch in snapshot.batches() for v in batch.column("s").to_pylist()] == ["a day"]


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ({"user": "u", "password": {"env": "SEARCH_SECRET"}}, "Basic dTpwdw=="),
        ({"bearer": {"env": "SEARCH_SECRET"}}, "Bearer pw"),
    ],
)
async def test_who_reads_is_said_on_every_request(auth, header, monkeypatch):
    monkeypatch.setenv("SEARCH_SECRET", "pw")
    script = SearchScript(documents(1))
    async with connected(script, auth=auth) as connector:
        await connector.contract()
    assert {one["authorization"] for one in script.headers} == {header}


async def test_plain_headers_that_every_version_and_product_takes_e20():
    script = SearchScript(documents(3))
    async with connected(script) as connector:
        await connector.contract()
    for headers in script.headers:
        assert headers["accept"] == "application/json"
        assert headers["content-type"] == "application/json"
        assert headers["accept-encoding"] == "identity"
        assert "x-elastic-client-meta" not in headers


@pytest.mark.parametrize(("compression", "encoding"), [(True, "gzip"), (False, "identity"), ("auto", "identity")])
async def test_compression_is_asked_for_as_configured(compression, encoding):
    script = SearchScript(documents(3))
    async with connected(script, compression=compression) as connector:
        await connector.contract()
    assert script.headers[0]["accept-encoding"] == encoding


async def test_pages_that_travel_slowly_are_asked_for_compressed():
    script = SearchScript(documents(30))
    async with connected(script) as connector:
        await read(connector)
        assert {headers["accept-encoding"] for headers in script.headers} == {"identity"}
        connector._transport.wire.came(20 << 20, 4.0, 0.1, compressed=False)
        assert len(await read(connector)) == 30
    assert script.headers[-2]["accept-encoding"] == "gzip"


def told(wire: Wire, rate: float, made_in: float = 0.0) -> bool:
    """Whether to compress, after 20 answers of 1 MiB that travelled at this rate of MiB per second."""
    for _ in range(20):
        wire.came(1 << 20, 1 / rate + made_in, made_in, compressed=wire.compressed)
    return wire.compressed


@pytest.mark.parametrize(
    ("compression", "rate", "compressed"),
    [("auto", 5, True), ("auto", 40, False), (False, 1, False), (True, 1000, True)],
)
def test_compression_is_tried_where_answers_travel_slowly(compression, rate, compressed):
    assert told(Wire(compression), rate) is compressed


def test_it_is_kept_where_documents_come_faster_so_and_is_not_tried_again_where_they_do_not():
    kept, dropped = Wire("auto"), Wire("auto")
    assert told(kept, 5)
    assert told(dropped, 5)
    assert told(kept, 20)
    assert told(kept, 5)
    assert not told(dropped, 5.5)
    assert not told(dropped, 5)


def test_a_server_that_takes_its_time_is_no_slow_network():
    assert not told(Wire("auto"), 40, made_in=2.0)


def test_answers_that_were_asked_for_before_a_change_tell_nothing_of_it():
    wire = Wire("auto")
    assert told(wire, 5)
    for _ in range(40):
        wire.came(1 << 20, 1.0, 0.0, compressed=False)
    assert wire.compressed


def test_a_few_slow_answers_are_no_slow_network():
    wire = Wire("auto")
    wire.came(1000, 1.0, 0.0, compressed=False)
    assert not wire.compressed
    assert not told(wire, 400)


async def test_nobody_at_the_address_is_to_blame_on_no_window():
    settings = ElasticsearchSettings(type="elasticsearch", endpoint="http://127.0.0.1:9", index="i", cursor="at")
    connector = ElasticsearchConnector(settings)
    with pytest.raises(Unreachable) as caught:
        await connector.now()
    await connector.aclose()
    assert caught.value.code == "connection"


async def test_no_answer_in_time_is_transient_e21():
    script = SearchScript(documents(1))

    async def stuck(_number, moment):
        await asyncio.sleep(30 if moment == "before" else 0)

    script.gate = stuck
    async with connected(script, request_timeout_seconds=0.2) as connector:
        with pytest.raises(TransientError) as caught:
            await connector.now()
    assert caught.value.code == "timeout"


async def test_a_failing_request_is_sent_once_e10():
    script = SearchScript(documents(1))
    for number in range(1, 5):
        script.at("settings", number, lambda _: web.Response(status=503))
    async with connected(script) as connector:
        with pytest.raises(TransientError):
            await connector.contract()
    assert len(script.seen) == 1


async def test_redirects_are_not_followed():
    script = SearchScript(documents(1))
    script.at("settings", 1, lambda _: web.Response(status=302, headers={"location": "http://127.0.0.1:9/"}))
    async with connected(script) as connector:
        with pytest.raises(TransientError, match="HTTP 302"):
            await connector.contract()


async def serve_tls(script: SearchScript, folder):
    (folder / "cert.pem").write_text(CERTIFICATE)
    (folder / "key.pem").write_text(KEY)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return serving(script, context)


async def test_a_self_signed_certificate_is_refused_x12(tmp_path):
    async with await serve_tls(SearchScript(documents(1)), tmp_path) as url:
        settings = ElasticsearchSettings(type="elasticsearch", endpoint=url, index="events", cursor="at")
        connector = ElasticsearchConnector(settings)
        with pytest.raises(ConfigurationError) as caught:
            await connector.now()
        await connector.aclose()
    assert caught.value.code == "tls"
    assert "ca_file" in caught.value.hint


async def test_a_certificate_of_the_ca_file_is_trusted_x12(tmp_path):
    async with await serve_tls(SearchScript(documents(1)), tmp_path) as url:
        settings = ElasticsearchSettings(
            type="elasticsearch", endpoint=url, index="events", cursor="at", ca_file=tmp_path / "cert.pem"
        )
        connector = ElasticsearchConnector(settings)
        assert (await connector.now()).year == 2025
        await connector.aclose()


async def test_tls_to_a_server_without_it_is_a_setting_to_change():
    async with serving(SearchScript(documents(1))) as url:
        secure = url.replace("http:", "https:")
        settings = ElasticsearchSettings(type="elasticsearch", endpoint=secure, index="events", cursor="at")
        connector = ElasticsearchConnector(settings)
        with pytest.raises(ConfigurationError) as caught:
            await connector.now()
        await connector.aclose()
    assert caught.value.code == "tls"


async def test_a_ca_file_that_cannot_be_read_is_named(tmp_path):
    settings = ElasticsearchSettings(
        type="elasticsearch", endpoint="https://127.0.0.1:9", index="i", cursor="at", ca_file=tmp_path / "none.pem"
    )
    with pytest.raises(ConfigurationError, match=r"none\.pem") as caught:
        await ElasticsearchConnector(settings).now()
    assert caught.value.path == "source_system.ca_file"


async def test_an_endpoint_with_a_wrong_port_is_named():
    settings = ElasticsearchSettings(type="elasticsearch", endpoint="http://host:port", index="i", cursor="at")
    with pytest.raises(ConfigurationError) as caught:
        await ElasticsearchConnector(settings).now()
    assert caught.value.path == "source_system.endpoint"
