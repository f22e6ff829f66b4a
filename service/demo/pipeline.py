"""The demo's pipeline, as a configuration file that stays, so that one can go on with the command line."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from loaders.duckdb.settings import DuckDBTarget
from service.demo.flights import START
from service.demo.server import INDEX
from service.settings import PipelineConfig
from state.errors import ConfigurationError

CONFIG = """\
# The pipeline of the demo: from a search server into DuckDB, one window for each day in New York.
config_version: 1

pipeline_metadata:
  pipeline_name: flights

windows:
  start: "{start}"
  end: "{end}"
  width: day                     # 23 hours on 10 March, 25 hours on 3 November
  timezone: America/New_York
  max_open: {max_open}                    # windows loaded at the same time

source_system:
  type: opensearch
  endpoint: {endpoint}
  index: {index}
  cursor: time_hour              # windows are cut by it
  key: [flight_id]

stage_system:
  directory: {stage}

target_system:
  type: duckdb
  database: {database}
  table: flights
  mode: merge
  key: [flight_id]
  memory_limit: 512MB
  threads: 1                     # windows are small, and four of them are at work

phases:
  source_to_stage_transfer:
    rows_per_part: 500           # tiny on purpose: a day has two parts or three, so that a crash falls between
    parallel_parts: 1            # one after the other: four windows at a time are parallel enough

drive_table:
  type: sqlite
  path: {drive}

limits:
  spool_directory: {spool}
  catch_up_windows: 400          # a whole year at once
"""

MANY = timedelta(days=12)
"""From so many windows on, several are loaded at a time; fewer would all be read before the first is killed."""

PROPOSED = "nyc"
"""Folder of what was proposed for the MariaDB."""
WAREHOUSE = "warehouse.duckdb"

MADE = (
    *("flights.yaml", "warehouse.duckdb", "warehouse.duckdb.wal", "server.log"),
    *("drive.sqlite", "drive.sqlite-wal", "drive.sqlite-shm", "run-1.log", "run-2.log"),
    *("sluiceway.sqlite", "sluiceway.sqlite-wal", "sluiceway.sqlite-shm", "mariadb.log"),
)
"""Files of a demo, and of nothing else that may lie in its folder."""
MADE_FOLDERS = ("stage", "spool", "warehouse.duckdb.tmp", PROPOSED)


def config_file(folder: Path) -> Path:
    return folder / "flights.yaml"


def database_of(config: PipelineConfig) -> Path:
    """The DuckDB file that the demo loads into."""
    assert isinstance(config.target_system, DuckDBTarget)
    return config.target_system.database


def write_config(folder: Path, endpoint: str, end: datetime) -> Path:
    """Write the configuration for the flights before `end`; returns its path."""
    path = config_file(folder)
    paths = {
        name: json.dumps(str(folder / file))
        for name, file in (
            ("stage", "stage"),
            ("database", WAREHOUSE),
            ("drive", "drive.sqlite"),
            ("spool", "spool"),
        )
    }
    start, until = START.isoformat(), end.isoformat()
    max_open = 4 if end - START >= MANY else 1
    text = CONFIG.format(start=start, end=until, endpoint=endpoint, index=INDEX, max_open=max_open, **paths)
    path.write_text(text)
    return path


@contextmanager
def demo_folder(folder: Path) -> Iterator[None]:
    """The folder for one demo alone, without what an earlier one left. Raises `ConfigurationError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise ConfigurationError(
            f"the demo cannot write to {folder}: {(error.strerror or 'error').lower()}",
            hint="Name another folder.",
            code="not_writable",
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"another demo works in {folder}",
                hint="Wait for it, or name another folder: sluiceway demo DIR.",
                code="in_use",
            ) from None
        start_afresh(folder)
        yield


def start_afresh(folder: Path) -> None:
    """Remove what an earlier demo left."""
    for name in MADE:
        (folder / name).unlink(missing_ok=True)
    for name in MADE_FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
