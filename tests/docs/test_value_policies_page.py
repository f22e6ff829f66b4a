"""docs/value-policies.md names every policy and every column of the quarantine table, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from connectors.policies import Policy
from loaders.aside import PIPELINE, READ_END, READ_START, TABLE
from state.contract import LOADED_AT, QUARANTINED, READ_AT, RUN

PAGE = (Path(__file__).parents[2] / "docs" / "value-policies.md").read_text()


def first_cells(heading: str) -> list[str]:
    """The names in the first column of the table that begins so."""
    rows = PAGE.split(heading)[1].split("\n\n")[0].splitlines()[1:]
    return [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]


def test_every_policy_is_explained():
    assert first_cells("| policy |") == list(get_args(Policy))


def test_every_column_of_the_quarantine_table_is_explained():
    own = [PIPELINE, READ_START, READ_END, RUN, READ_AT, LOADED_AT]
    assert sorted(first_cells("| column | |")) == sorted([*QUARANTINED.names, *own])
    assert f"<target>{TABLE}" in PAGE
