"""`sluiceway init --from` a real search server: what it proposes is valid and loses nothing."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import duckdb
import pytest
import yaml

from service import exit_codes
from tests.cli.shell import sluiceway
from tests.servers.search import ES8

DATE = {"type": "date"}
ORDERS = {"updated_at": DATE, "created_at": DATE, "customer": {"type": "keyword"}, "lines": {"type": "object"}}


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("SLUICEWAY_CONFIG", raising=False)
    return tmp_path


def earlier() -> datetime:
    """In a window that is closed, also in the first minutes of an hour."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)


def proposed(file: Path) -> dict:
    return yaml.safe_load(file.read_text())


def comments(file: Path) -> str:
    return " ".join(line.strip(" #") for line in file.read_text().splitlines() if line.lstrip().startswith("#"))


def loaded(table: str, columns: str) -> list[tuple]:
    with duckdb.connect("warehouse.duckdb") as connection:
        return connection.execute(f"SELECT {columns} FROM {table} ORDER BY ALL").fetchall()


def run_all(file: Path) -> None:
    for command in ("drive init", "doctor", "run"):
        answer = sluiceway(*command.split(), "-c", file)
        assert answer.code == exit_codes.OK, answer.said


def test_what_init_proposes_for_indices_runs_and_every_document_arrives(server, here: Path):
    client, mine, at = server.client, f"w{uuid4().hex[:8]}", earlier()
    orders, days = f"{mine}-orders", (f"{mine}-logs-2025.01.01", f"{mine}-logs-2025.01.02")
    client.call("PUT", f"/{orders}", {"mappings": {"properties": ORDERS}})
    client.call("PUT", f"/{days[0]}", {"mappings": {"properties": {"@timestamp": DATE, "code": {"type": "long"}}}})
    client.call(
        "PUT", f"/{days[1]}", {"mappings": {"properties": {"@timestamp": DATE, "code": {"type": "keyword"}}}}
    )
    client.call("PUT", f"/{mine}-timeless", {"mappings": {"properties": {"customer": {"type": "keyword"}}}})
    client.put(f"{mine}-timeless", {"7": {"customer": "Ada"}})
    client.call("PUT", f"/{mine}-blind", {"mappings": {"_source": {"enabled": False}, "properties": {"at": DATE}}})
    stamps = [(at - timedelta(minutes=7 * number)).isoformat() for number in range(10)]
    client.put(orders, {str(n): {"updated_at": one, "customer": "Ærø 😀"} for n, one in enumerate(stamps)})
    for number, day in enumerate(days):
        client.put(day, {"1": {"@timestamp": stamps[number], "code": 7 if number == 0 else "x7"}})

    answer = sluiceway("init", "--from", server.url, "--indices", f"{mine}-*")
    assert answer.code == exit_codes.OK, answer.said
    assert f"{mine}-blind index {mine}-blind does not keep the documents" in " ".join(answer.out.split())
    assert sluiceway("validate", "pipelines").code == exit_codes.OK
    files = {path.name for path in Path("pipelines").iterdir()}
    assert files == {f"{mine}_{name}.yaml" for name in ("orders", "logs", "timeless")} | {"shared.yaml"}

    file = Path("pipelines", f"{mine}_orders.yaml")
    assert proposed(file)["source_system"] == {
        "connection": "source", "index": orders, "cursor": "updated_at", "key": ["_id"],
    }  # fmt: skip
    assert proposed(file)["target_system"]["version"] == "updated_at"
    assert "Other dates: created_at (10 documents have none)." in comments(file)
    run_all(file)
    assert loaded(f"{mine}_orders", "_id, customer") == [(str(n), "Ærø 😀") for n in range(10)]

    file = Path("pipelines", f"{mine}_timeless.yaml")
    assert proposed(file)["target_system"]["mode"] == "snapshot"
    assert "cursor" not in proposed(file)["source_system"]
    run_all(file)
    assert loaded(f"{mine}_timeless", "_id, customer") == [("7", "Ada")]

    file = Path("pipelines", f"{mine}_logs.yaml")
    source = proposed(file)["source_system"]
    assert (source["index"], source["key"]) == (f"{mine}-logs-*", ["_index", "_id"])
    run_all(file)
    assert loaded(f"{mine}_logs", "_index, _id, code") == [(days[0], "1", "7"), (days[1], "1", "x7")]


@pytest.mark.parametrize("server", [ES8], indirect=True, ids=str)
def test_files_that_exist_are_kept_and_new_indices_join_them_later(server, here: Path):
    mine = f"w{uuid4().hex[:8]}"
    client = server.client
    client.call("PUT", f"/{mine}-a", {"mappings": {"properties": {"at": DATE}}})
    command = ("init", "--from", server.url, "--indices", f"{mine}-*", "--out", "folder")
    assert sluiceway(*command).code == exit_codes.OK
    first, shared = Path("folder", f"{mine}_a.yaml"), Path("folder", "shared.yaml")
    first.write_text(first.read_text() + "# mine\n")
    shared.write_text(shared.read_text() + "# mine\n")
    client.call("PUT", f"/{mine}-b", {"mappings": {"properties": {"at": DATE}}})
    answer = sluiceway(*command)
    assert answer.code == exit_codes.OK
    assert f"{mine}_a.yaml exists, kept" in answer.out
    assert first.read_text().endswith("# mine\n")
    assert shared.read_text().endswith("# mine\n")
    assert Path("folder", f"{mine}_b.yaml").exists()
    shared.write_text("connections: {source: {type: elasticsearch, endpoint: 'https://other'}}\n")
    answer = sluiceway(*command)
    assert answer.code == exit_codes.CONFIG
    assert "its connection source is another one" in answer.said
    assert "--out" in answer.said
    assert sluiceway(*command, "--force").code == exit_codes.OK
    assert "# mine" not in first.read_text() + shared.read_text()
    answer = sluiceway("init", "--from", server.url, "--indices", f"{mine}-z*")
    assert answer.code == exit_codes.CONFIG
    assert f"nothing that is named like {mine}-z*" in answer.said
