"""`/v1` of a running daemon, tested by its own OpenAPI document."""

from __future__ import annotations

import asyncio

from service.admin import auth
from service.cli.reference_api import openapi
from tests.integration.test_admin_api import OPERATE, api
from tests.lifecycle.test_daemon import enrol, world
from tests.lifecycle.world import HOUR, START
from tests.servers.fuzzer import fuzzed, invalid

SETTINGS = """
[parameters]
pipeline = "events"
run = "events_20251115_00h_run1"
key = "k"

[checks]
# 422: well formed and impossible, such as a span that ends before it begins; no schema can say that
positive_data_acceptance.expected-statuses = [200, 404, 409, 422]
# a form of the status page posts to a path that has only DELETE for programs
allow_header_conformance.enabled = false
"""


def test_the_document_is_openapi_3_1():
    document = openapi()
    assert document["openapi"].startswith("3.1")
    assert asyncio.run(invalid(document)) == ""
    del document["info"]
    assert '"info" is a required property' in asyncio.run(invalid(document))


def test_every_answer_is_as_the_document_says_and_none_is_a_defect(tmp_path, monkeypatch):
    """Statuses, headers and schemas, for requests that are valid, nearly valid and neither; first with names that
    exist, then with any."""
    monkeypatch.setattr(auth, "MOST_FAILURES", 1_000_000)  # the fuzzer tries wrong tokens as well
    enrol(tmp_path, world(tmp_path, "events"))
    kept = openapi()

    async def go():
        async with api(tmp_path, monkeypatch) as (ask, _heard):
            _, document, _ = await ask("GET", "/v1/openapi.json")
            assert document == kept
            span = {"from": START.isoformat(), "to": (START + HOUR).isoformat(), "dry_run": False}
            assert (await ask("POST", "/v1/pipelines/events/backfills", span, key="k"))[0] == 200
            url = f"{ask._base}/v1/openapi.json"
            common = ("--phases", "examples,coverage,fuzzing", "--seed", "1", "--no-color")
            for settings, examples in ((SETTINGS, "15"), (SETTINGS[SETTINGS.index("[checks]") :], "5")):
                code, told = await fuzzed(url, OPERATE, tmp_path, settings, *common, "--max-examples", examples)
                assert code == 0, told
                assert f"Tested: {sum(map(len, document['paths'].values()))}" in told

    asyncio.run(go())
