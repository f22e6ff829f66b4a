"""The commands of the README, run as a reader would: one after another, in an empty folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb

from service.demo.server import search_server
from tests.docs.markdown import README, ROOT, blocks
from tests.servers.mariadb import free_port

FILES = "Your own data: files into DuckDB"
DAEMON = "As a daemon"
SEARCH = "Your own data: Elasticsearch or OpenSearch into DuckDB"
ORDERS = [
    {"customer": "Ada", "amount": 12.5, "updated_at": "2025-03-01T09:00:00Z"},
    {"customer": "Ben", "amount": 8, "updated_at": "2025-03-02T10:30:00Z", "lines": [{"sku": "x"}]},
]


def typed(commands: str, folder: Path) -> str:
    """What a shell in `folder` says to the commands; the first that fails ends it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-euc", commands],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{commands}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def commands_below(heading: str) -> list[str]:
    found = [block.text for block in blocks(README) if block.language == "sh" and block.heading == heading]
    assert found
    return found


def answers_below(heading: str) -> list[str]:
    return [block.text for block in blocks(README) if block.language == "text" and block.heading == heading]


def plain(text: str) -> list[str]:
    """Lines without what differs from time to time: times, and how many checks there are."""
    text = re.sub(r"\d+\.\d\b", "#.#", text)
    text = re.sub(r"all \d+ checks", "all # checks", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def assert_said(answer: str, output: str) -> None:
    missing = [line for line in plain(answer) if line not in plain(output)]
    assert not missing, f"not said: {missing}\n{output}"


def test_files_into_duckdb(tmp_path):
    said = typed("\n".join(commands_below(FILES)), tmp_path)
    answers = answers_below(FILES)
    assert len(answers) == 2
    for answer in answers:
        assert_said(answer, said)
    with duckdb.connect(tmp_path / "shop/warehouse.duckdb") as connection:
        found = connection.execute("SELECT order_id, customer, amount::VARCHAR FROM orders ORDER BY 1").fetchall()
    assert found == [(1, "Ada", "14.00"), (2, "Ben", "8.00")]


def test_the_daemon_is_asked_and_told_to_stop(tmp_path):
    commands = "\n".join([commands_below(FILES)[0], *commands_below(DAEMON)])
    for port in ("8080", "8081"):
        assert commands.count(port) >= 2
        commands = commands.replace(port, str(free_port()))
    said = typed(commands, tmp_path)
    assert '"name":"orders","paused":false,"is_well":true' in said
    assert 'sluiceway_looks_total{pipeline="orders",result="ok"}' in said


def test_a_search_server_into_duckdb(tmp_path):
    with search_server(tmp_path / "server.log") as server:
        mapping = {"updated_at": {"type": "date"}, "customer": {"type": "keyword"}, "amount": {"type": "double"}}
        server.call("PUT", "/orders", {"mappings": {"properties": {**mapping, "lines": {"type": "object"}}}})
        for number, order in enumerate(ORDERS):
            server.call("PUT", f"/orders/_doc/{number}?refresh=true", order)
        commands = "\n".join(commands_below(SEARCH))
        assert commands.count("http://localhost:9200") == 2
        (tmp_path / "shop").mkdir()
        said = typed(commands.replace("http://localhost:9200", server.url), tmp_path / "shop")
    answers = answers_below(SEARCH)
    assert len(answers) == 2
    for answer in answers:
        assert_said(answer, said)
    with duckdb.connect(tmp_path / "search/warehouse.duckdb") as connection:
        found = connection.execute("SELECT _id, customer, amount, lines FROM orders ORDER BY 1").fetchall()
    assert [row[:3] for row in found] == [("0", "Ada", 12.5), ("1", "Ben", 8.0)]
    assert json.loads(found[1][3]) == [{"sku": "x"}]


def test_what_it_says_of_make_is_there():
    [commands] = [block.text for block in blocks(README) if block.language == "console"]
    targets = re.findall(r"make (\w[\w-]*)", commands) + re.findall(r"`make ([\w-]+)`", README.read_text())
    makefile = (ROOT / "Makefile").read_text()
    assert "demo" in targets
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
