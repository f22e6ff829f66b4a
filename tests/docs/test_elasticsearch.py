"""The quick start of docs/elasticsearch.md, run as a reader would."""

from __future__ import annotations

import json

import duckdb
import pytest

from tests.docs.markdown import ROOT, blocks
from tests.docs.test_readme import assert_said, typed
from tests.servers.search import ES8

PAGE = ROOT / "docs/elasticsearch.md"
QUICK = "Quick start"


def below(language: str) -> list[str]:
    return [block.text for block in blocks(PAGE) if (block.language, block.heading) == (language, QUICK)]


@pytest.mark.parametrize("server", [ES8], indirect=True, ids=str)
def test_the_quick_start_runs_and_every_document_is_there(server, tmp_path):
    commands = "\n".join(below("sh"))
    assert commands.count("http://localhost:9200") == 2
    try:
        said = typed(commands.replace("http://localhost:9200", server.url), tmp_path)
    finally:
        for name in ("shop-orders", "shop-clicks-2025.11"):
            server.client.call("DELETE", f"/{name}?ignore_unavailable=true")
    [answer] = below("text")
    assert_said(answer, said)
    with duckdb.connect(tmp_path / "warehouse.duckdb") as connection:
        [(customer, lines)] = connection.execute("SELECT customer, lines FROM shop_orders").fetchall()
        clicks = connection.execute("SELECT _index, page FROM shop_clicks").fetchall()
    assert (customer, json.loads(lines)) == ("Ada 🦅", [{"sku": "x", "pieces": 2}])
    assert clicks == [("shop-clicks-2025.11", "/")]


def test_the_key_that_it_makes_is_json():
    [body] = below("json")
    [role] = json.loads(body)["role_descriptors"].values()
    assert role["indices"][0]["privileges"] == ["read", "view_index_metadata"]
