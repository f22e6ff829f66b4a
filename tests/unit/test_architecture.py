"""The direction of imports, the homes of vendors, and the budgets of functions and modules (design §2)."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("service", "connectors", "loaders", "state")
SOURCES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))

HOMES = {
    "aiohttp.web": ("service/admin",),
    "jinja2": ("service/admin/page",),
    "snowflake.connector": ("loaders/snowflake", "state/snowflake"),
}
"""Parts of packages that import-linter cannot tell from the rest of them."""

FUNCTION_LINES, MODULE_LINES = 50, 350
BOUNDARIES = {
    ("service/functions.py", "except Exception"),  # a user's function may raise anything
    ("service/admin/app.py", "except Exception"),  # a defect ends this request, not the daemon
    ("service/walk.py", "except Exception"),  # a defect ends this run, not the process
    ("service/cli/main.py", "except Exception"),  # a defect is told like any other error
}


def name_of(file: Path, root: Path = ROOT) -> str:
    return file.relative_to(root).as_posix()


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that a file may import, `from a import b` also as `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def strangers(name: str, text: str) -> list[str]:
    """Parts of vendors that the file `name` imports without being their home."""
    found = {
        part
        for module in imported(ast.parse(text))
        for part in HOMES
        if module == part or module.startswith(f"{part}.")
    }
    return sorted(part for part in found if not name.startswith(HOMES[part]))


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_parts_of_vendors_have_one_home(file):
    assert strangers(name_of(file), file.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "import aiohttp.web",
        "from aiohttp import ClientSession, web",
        "from aiohttp.web import Application",
        "def f():\n    import aiohttp.web_app, aiohttp.web as w",
        "if True:\n    from snowflake.connector.aio import connect",
        "from snowflake import connector",
    ],
)
def test_every_way_to_import_such_a_part_is_seen(text):
    assert len(strangers("connectors/files/connector.py", text)) == 1
    assert strangers("connectors/files/connector.py", text) != strangers(
        "service/admin/app.py" if "aiohttp" in text else "loaders/snowflake/stage.py", text
    )


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, docstring and comments included."""
    return function.end_lineno - function.lineno + 1


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(file.read_text())
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_modules_and_functions_stay_in_their_budget(file):
    assert len(file.read_text().splitlines()) <= MODULE_LINES
    long = {
        f.name: f.end_lineno - f.lineno + 1 for f in functions(file) if f.end_lineno - f.lineno >= FUNCTION_LINES
    }
    assert long == {}


def test_the_median_function_is_short():
    lengths = sorted(length(f) for file in SOURCES for f in functions(file))
    assert lengths[len(lengths) // 2] <= 9


def swallowed(text: str) -> list[str]:
    """Handlers that catch everything and do not end by raising it again."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = ast.unparse(node.type) if node.type else ""
        again = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
        if caught in ("", "Exception", "BaseException") and not again:
            found.append(f"except {caught}".strip())
    return found


def test_only_the_named_boundaries_catch_everything():
    found = {(name_of(file), handler) for file in SOURCES for handler in swallowed(file.read_text())}
    assert found == BOUNDARIES


@pytest.mark.parametrize("handler", ["except:", "except Exception:", "except BaseException as error:"])
def test_a_handler_that_catches_everything_is_seen_unless_it_raises_again(handler):
    assert len(swallowed(f"try:\n    f()\n{handler}\n    log()\n")) == 1
    assert swallowed(f"try:\n    f()\n{handler}\n    log()\n    raise\n") == []


def test_no_module_is_called_utils():
    assert [name_of(file) for file in SOURCES if file.stem in ("utils", "util", "helpers", "common")] == []


FORBIDDEN = [
    ("connectors/base.py", "import loaders.base", "side by side"),
    ("loaders/base.py", "from connectors import base", "side by side"),
    ("state/model.py", "import service.retry", "side by side"),
    ("state/windows.py", "import loaders.spool", "side by side"),
    ("connectors/files/settings.py", "from service import settings", "side by side"),
    ("service/walk.py", "import tenacity", "tenacity only"),
    ("service/app.py", "import duckdb", "duckdb only"),
    ("connectors/files/settings.py", "import duckdb", "duckdb only"),
    ("service/doctor.py", "from elasticsearch import Elasticsearch", "search client only"),
    ("connectors/files/settings.py", "import elastic_transport", "search client only"),
    ("service/tick.py", "import apscheduler", "only at home"),
    ("service/events.py", "from prometheus_client import Counter", "only at home"),
    ("loaders/base.py", "import pymysql", "only at home"),
]


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    """The packages and the configuration, apart from the working tree."""
    folder = tmp_path_factory.mktemp("architecture")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def lint(folder: Path) -> subprocess.CompletedProcess:
    linter = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([linter], cwd=folder, check=False, capture_output=True, text=True)


def test_the_packages_as_they_are_keep_every_contract(copied):
    done = lint(copied)
    assert (done.returncode, "0 broken" in done.stdout) == (0, True), done.stdout


@pytest.mark.parametrize(("file", "line", "contract"), FORBIDDEN)
def test_a_forbidden_import_fails(copied, file, line, contract):
    path = copied / file
    faithful = path.read_text()
    try:
        path.write_text(f"{faithful}\n{line}\n")
        done = lint(copied)
    finally:
        path.write_text(faithful)
    assert done.returncode == 1
    broken = [text for text in done.stdout.splitlines() if " BROKEN" in text]
    assert any(contract in text for text in broken), done.stdout
