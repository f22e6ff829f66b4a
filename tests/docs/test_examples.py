"""The examples are valid, and the one that needs nothing runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from service.config import validate_config
from tests.docs.markdown import ROOT

EXAMPLES = ROOT / "examples"


@pytest.fixture
def examples(tmp_path) -> Path:
    return Path(
        shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("out", "__pycache__"))
    )


def sluiceway(folder: Path, *arguments: str) -> dict:
    command = [sys.executable, "-m", "service", *arguments]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "left something behind" not in ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
def test_an_example_is_valid_without_a_warning(file):
    assert validate_config(file) == []


def test_the_orders_run_and_the_newest_version_of_each_is_there(examples):
    sluiceway(examples, "drive", "init", "-c", "orders.yaml", "--json")
    ended = sluiceway(examples, "run", "-c", "orders.yaml", "--json")["runs"]
    assert [run["validation_status"] for run in ended] == ["PASSED"] * 4
    assert [run["phases"][6]["figures"]["rows_removed"] for run in ended] == [0] * 4
    with duckdb.connect(examples / "out/warehouse.duckdb") as connection:
        newest = connection.execute(
            "SELECT order_id, max_by(status, updated_at) FROM read_csv(?) GROUP BY 1 ORDER BY 1",
            [str(examples / "orders-*.csv")],
        ).fetchall()
        found = connection.execute("SELECT order_id, status FROM orders ORDER BY 1").fetchall()
    assert found == newest
    assert len(found) == 37


def test_the_function_for_retention_removes_what_is_older_and_nothing_else(examples, monkeypatch):
    monkeypatch.syspath_prepend(examples)
    import retention

    database = examples / "w.duckdb"
    with duckdb.connect(database) as connection:
        connection.execute("CREATE TABLE orders (order_id INT, updated_at TIMESTAMPTZ)")
        connection.execute(
            "INSERT INTO orders VALUES (1, '2020-01-01 00:00Z'), (2, '2025-01-01 00:00Z'), (3, NULL)"
        )
    config = {"target_system": {"database": str(database), "table": "orders"}}
    record = {"query_window_end_timestamp": datetime(2025, 3, 1, tzinfo=UTC)}
    assert retention.run(config, record) == {"transfer_completed": True, "rows_removed": 1}
    with duckdb.connect(database) as connection:
        assert connection.execute("SELECT order_id FROM orders ORDER BY 1").fetchall() == [(2,), (3,)]
    monkeypatch.delitem(sys.modules, "retention")
