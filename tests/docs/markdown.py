"""The pieces of a page that can be tested: fenced blocks, links, and names of tests."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = (README, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))


@dataclass(frozen=True)
class Block:
    """A fenced block, the word behind its fence, and the heading it stands below."""

    language: str
    text: str
    heading: str


def blocks(page: Path) -> list[Block]:
    found, heading, language, lines = [], "", None, []
    for line in page.read_text().splitlines():
        if language is None and line.startswith("#"):
            heading = line.lstrip("# ")
        if line.startswith("```"):
            if language is None:
                language, lines = line[3:], []
            else:
                found.append(Block(language, "\n".join(lines), heading))
                language = None
        elif language is not None:
            lines.append(line)
    return found


def links(page: Path) -> list[str]:
    """Targets inside the repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    return [target.partition("#")[0] for target in targets if not target.startswith(("http", "#", "mailto:"))]


def named_tests(page: Path) -> list[str]:
    """`tests/x.py` and `tests/x.py::test_y` in backquotes."""
    return re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", page.read_text())


def functions(file: Path) -> set[str]:
    """Names of the tests in a module."""
    tree = ast.parse(file.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
