"""docs/snapshot-mode.md: its configuration loads a table, and the codes that it explains are codes."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import duckdb
import pytest

from service.app import opened
from service.config import load_config, validate_config
from service.error_codes import CODES
from state.model import RunStatus
from state.sqlite import SqliteDrive
from tests.docs.markdown import ROOT, blocks

PAGE = ROOT / "docs/snapshot-mode.md"


@pytest.fixture
def config(tmp_path, monkeypatch) -> Path:
    """The page's configuration as a file, beside a source."""
    [text] = [block.text for block in blocks(PAGE) if block.language == "yaml"]
    (tmp_path / "countries.csv").write_text("code,name,tax\nat,Austria,20\nbe,Belgium,21\n")
    file = tmp_path / "countries.yaml"
    file.write_text(text.replace("/data/", f"{tmp_path}/"))
    monkeypatch.chdir(tmp_path)
    return file


def test_its_configuration_is_valid_and_loads_the_table(config):
    assert validate_config(config) == []

    async def run():
        await SqliteDrive.init(Path("sluiceway.sqlite"))
        async with opened(load_config(config), lambda _event: None) as worker:
            return await worker.run_due()

    assert [run.status for run in asyncio.run(run())] == [RunStatus.COMPLETED]
    with duckdb.connect("warehouse.duckdb") as connection:
        rows = connection.execute("SELECT code, name, tax FROM countries ORDER BY 1").fetchall()
    assert rows == [("at", "Austria", 20.0), ("be", "Belgium", 21.0)]


def test_every_code_of_its_table_is_one():
    [table] = re.findall(r"\| code \|.*?\n\n", PAGE.read_text(), re.DOTALL)
    named = {
        code for line in table.strip().splitlines()[2:] for code in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert len(named) == 5
    assert named <= CODES
