"""The wheel: what it holds, and that it works where nothing but it and its dependencies is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from tests.lifecycle.world import HOUR, START, defaults, events

ROOT = Path(__file__).parents[2]
PACKAGES = ("service", "connectors", "loaders", "state")
DATA = (
    "service/admin/page/assets/",
    "service/admin/page/templates/",
    "service/templates/",
    "state/mysql/migrations/",
    "state/snowflake/sql/",
    "state/snowflake/sql/queries/",
    "state/sqlite/migrations/",
)
DEVELOPMENT = {"pytest", "hypothesis", "mypy", "ruff", "hatchling", "import-linter", "osmem-server"}


def run(*command: str | Path, **more) -> subprocess.CompletedProcess:
    return subprocess.run(command, check=False, capture_output=True, text=True, **more)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built with the build backend of the development environment: no network."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = run(*pip, "--wheel-dir", folder, ROOT)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """`bin` of a new environment that holds the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=True)
    done = run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", wheel)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


@pytest.fixture
def command(installed, tmp_path):
    """Runs `sluiceway` in a folder where modules of the same names as ours lie about."""
    for package in PACKAGES:
        (tmp_path / f"{package}.py").write_text("raise SystemExit('a stranger was imported')\n")
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}

    def call(*arguments: str) -> subprocess.CompletedProcess:
        environment = {**keep, "PYTHONSAFEPATH": "1", "NO_COLOR": "1"}
        return run(installed / "sluiceway", *arguments, cwd=tmp_path, env=environment)

    return call


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel):
    names = [name for name in names_in(wheel) if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in names} == set(PACKAGES)
    sources = [file for package in PACKAGES for file in (ROOT / package).rglob("*") if file.is_file()]
    expected = {file.relative_to(ROOT).as_posix() for file in sources if file.suffix != ".pyc"}
    assert set(names) == expected


def test_the_wheel_holds_types_templates_migrations_and_the_license(wheel):
    names = names_in(wheel)
    data = [name for name in names if ".dist-info/" not in name and not name.endswith(".py")]
    assert {name for name in data if name.endswith("py.typed")} == {f"{package}/py.typed" for package in PACKAGES}
    assert {name.rpartition("/")[0] + "/" for name in data if not name.endswith("py.typed")} == set(DATA)
    assert [name for name in names if name.endswith("dist-info/licenses/LICENSE")]


def test_the_clean_environment_holds_no_development_tools(installed):
    done = run(installed / "python", "-m", "pip", "list", "--format", "json")
    there = {package["name"].lower() for package in json.loads(done.stdout)}
    assert "sluiceway" in there
    assert there & DEVELOPMENT == set()
    assert run(installed / "python", "-m", "pip", "check").returncode == 0


def test_the_command_tells_its_version(command, wheel):
    done = command("--version")
    assert done.stdout.split() == ["sluiceway", wheel.name.split("-")[1]]


@pytest.mark.parametrize("source", ["elasticsearch", "files"])
def test_a_new_configuration_is_valid(command, source):
    assert command("init", "--source", source, "--phases").returncode == 0
    done = command("validate")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("script", sorted((ROOT / "deploy" / "sql").rglob("*.sql")), ids=lambda path: path.stem)
def test_the_scripts_for_snowflake_are_printed_by_their_names(command, script):
    done = command("drive", "sql", script.stem)
    assert (done.returncode, done.stdout) == (0, script.read_text())


def test_the_schema_is_json(command):
    schema = json.loads(command("schema").stdout)
    assert {"pipeline_metadata", "source_system", "target_system"} <= set(schema["properties"])


def test_a_strangers_module_in_the_folder_would_be_seen(installed, tmp_path):
    """What the tests above rely on: without PYTHONSAFEPATH, `-m` finds the module that lies about."""
    (tmp_path / "state.py").write_text("raise SystemExit('a stranger was imported')\n")
    done = run(installed / "python", "-m", "service", "--version", cwd=tmp_path)
    assert "a stranger was imported" in done.stderr


def test_files_are_loaded_into_duckdb(command, tmp_path):
    (tmp_path / "source").mkdir()
    for hour in range(2):
        pq.write_table(events(60, START + hour * HOUR), tmp_path / "source" / f"{hour}.parquet")
    (tmp_path / "sluiceway.yaml").write_text(json.dumps(defaults(tmp_path)))
    assert command("drive", "init").returncode == 0
    done = command("run", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True) as warehouse:
        assert warehouse.execute("SELECT count(*), count(DISTINCT id) FROM events").fetchall() == [(120, 120)]
        receipts = warehouse.execute("SELECT count(*) FROM SLUICEWAY_LOADS WHERE kind = 'receipt'").fetchall()
    assert receipts == [(2,)]
    ledger = json.loads(command("windows", "--json").stdout)
    assert [entry["fate"] for entry in ledger["entries"]] == ["loaded", "loaded"]
