"""What an operator does with our SQL scripts: change the names in them, and run them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

SQL = Path(__file__).parents[2] / "deploy" / "sql"


def renamed(text: str, names: Mapping[str, str]) -> str:
    """A script with other values in its SET lines."""
    for name, value in names.items():
        text, found = re.subn(rf"(?m)^(SET {name} = )'[^']*';", rf"\1'{value}';", text)
        assert found == 1, name
    return text


def named(script: Path, folder: Path, **names: str) -> Path:
    """A copy of the script with other values in its SET lines, as an operator would write them there."""
    copy = folder / script.name
    copy.write_text(renamed(script.read_text(), names))
    return copy
